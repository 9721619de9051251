"""Caution, from pytorch_optimizer: Lion's own, and AdamW's as that of AdEMAMix whose slow moment counts nothing."""

from importlib.metadata import version

from pytorch_optimizer import AdEMAMix, Lion

from .case import Cases

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


class AdamW(AdEMAMix):
    def __init__(self, params, betas=(0.9, 0.999), **options):
        super().__init__(params, betas=(*betas, 0.5), alpha=0.0, foreach=False, cautious=True, **options)

    def step(self):
        for state in self.state.values():
            state["exp_avg_slow"] = state["exp_avg"].clone()
        super().step()
        for state in self.state.values():
            state.pop("exp_avg_slow")


def lion(params, **options):
    return Lion(params, foreach=False, cautious=True, **options)


def ours(**options):
    return {"cautious": True, "weight_decouple": None, **options}


case("cautious_adamw", "adamw", AdamW, ours(), lr=0.01, weight_decay=0.1, weight_decouple=True)
case("cautious_adam", "adam", AdamW, ours(), lr=0.01, betas=(0.6, 0.9), eps=1e-3)
case("cautious_adam_l2", "adam", AdamW, ours(weight_decay={"l2": 0.1}), lr=0.01, weight_decay=0.1, eps=1e-2)
case("cautious_adam_maximize", "adam", AdamW, ours(), lr=0.01, maximize=True)
case("cautious_lion", "lion", lion, ours())
case("cautious_lion_decay", "lion", lion, ours(), lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)
case("cautious_lion_maximize", "lion", lion, ours(), maximize=True)
