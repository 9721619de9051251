"""MADGRAD and FTRL, from pytorch_optimizer."""

import inspect
import textwrap
from importlib.metadata import version

import pytorch_optimizer.optimizer.ftrl as source
import torch
from pytorch_optimizer import FTRL, MADGRAD

from .case import Cases

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


def madgrad(params, **options):
    return MADGRAD(params, foreach=False, **options)


def one_power():
    """FTRL.step, with the power of the first line in the last one too."""
    text, root = textwrap.dedent(inspect.getsource(FTRL.step)), "torch.sqrt(n, out=de_nom)"
    assert text.count(root) == 1
    scope = dict(vars(source))
    exec(text.replace(root, "torch.pow(n, -group['lr_power'], out=de_nom)"), scope)
    return scope["step"]


STEP = one_power()


class Ftrl(FTRL):
    """Leaves weights that never had a gradient as they are."""

    def __init__(self, params, **options):
        super().__init__(params, foreach=False, **options)

    def step(self):
        held = {param: param.detach().clone() for group in self.param_groups for param in group["params"]}
        (FTRL.step if self.param_groups[0]["lr_power"] == -0.5 else STEP)(self)
        for param, old in held.items():
            param.data = torch.where(self.state[param]["n"] == 0, old, param.data)


case("madgrad", "madgrad", madgrad)
case("madgrad_l2", "madgrad", madgrad, {"weight_decay": {"l2": 0.1}}, lr=0.01, weight_decay=0.1, momentum=0.5, eps=1e-3)
case(
    "madgrad_decoupled", "madgrad", madgrad, {"weight_decay": {"decoupled": 0.1}, "weight_decouple": None},
    lr=0.01, weight_decay=0.1, weight_decouple=True,
)
case(
    "madgrad_plain", "madgrad", madgrad, {"weight_decay": {"decoupled": 0.1}, "weight_decouple": None},
    lr=0.01, momentum=0.0, weight_decay=0.1, weight_decouple=True,
)
case("madgrad_no_eps", "madgrad", madgrad, lr=0.01, eps=0.0)
case("madgrad_maximize", "madgrad", madgrad, maximize=True)
case("ftrl", "ftrl", Ftrl, lr=0.1)
case("ftrl_all", "ftrl", Ftrl, lr=0.1, beta=1.0, lambda_1=0.5, lambda_2=0.1)
case("ftrl_sparse", "ftrl", Ftrl, lr=0.5, lambda_1=4.0)
case("ftrl_power", "ftrl", Ftrl, lr=0.1, lr_power=-0.8, beta=0.5, lambda_2=0.01)
case("ftrl_maximize", "ftrl", Ftrl, lr=0.1, beta=1.0, maximize=True)
for label in ["ftrl", "ftrl_all", "ftrl_sparse", "ftrl_power", "ftrl_maximize"]:
    # z sums a hundred small differences of roots that are as large as 60, each rounded by 6e-8 of that, divided by η.
    cases.tolerance(label, f32=2e-5)
