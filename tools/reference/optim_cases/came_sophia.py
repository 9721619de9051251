"""CAME and Sophia, from pytorch_optimizer."""

from importlib.metadata import version

import optim
from pytorch_optimizer import CAME, SophiaH

from .case import Cases

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


class Came(CAME):
    """Without the one number that it keeps and never reads."""

    def step(self):
        super().step()
        for state in self.state.values():
            state.pop("RMS")


def came(params, **options):
    return Came(params, foreach=False, **options)


def sophia(hessian):
    """Estimates from outside every tenth step, or none at all."""

    class Sophia(SophiaH):
        def compute_hutchinson_hessian(self, **_):
            pass

        def step(self):
            params, count = self.param_groups[0]["params"], self.param_groups[0].get("step", 0) + 1
            estimate = None
            if hessian and count % 10 == 1:
                estimate = [
                    optim.gradient(index, param.numel(), 7 * count, param.dtype).reshape(param.shape)
                    for index, param in enumerate(params)
                ]
            super().step(hessian=estimate)
            for state in self.state.values():
                state.pop("hessian", None)

    return lambda params, **options: Sophia(params, foreach=False, **options)


case("came", "came", came)
case("came_decay", "came", came, {"weight_decay": {"decoupled": 0.1}}, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9, 0.95))
case(
    "came_l2", "came", came, {"weight_decay": {"l2": 0.1}, "weight_decouple": None},
    lr=0.01, weight_decay=0.1, weight_decouple=False, clip_threshold=0.5, eps1=1e-8, eps2=1e-4,
)
case("came_maximize", "came", came, maximize=True)
case("sophia", "sophia", sophia(False))
case("sophia_hessian", "sophia", sophia(True), p=0.5, eps=1e-3)
case(
    "sophia_decay_hessian", "sophia", sophia(True), {"weight_decay": {"decoupled": 0.1}},
    lr=0.01, weight_decay=0.1, betas=(0.5, 0.8), p=1.0, eps=0.1,
)
case("sophia_maximize_hessian", "sophia", sophia(True), maximize=True, p=0.1, eps=0.01)
