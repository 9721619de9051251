"""Prodigy and D-Adaptation, from the authors' packages."""

from importlib.metadata import version

import torch
from dadaptation import DAdaptAdam, DAdaptSGD
from prodigyopt import Prodigy

from .case import Cases

cases = Cases()
case = cases.add
versions = {name: version(name) for name in ["dadaptation", "prodigyopt"]}


def recording(optimizer, *names):
    """With the numbers that all parameters share among the slots of each, and gradients negated on demand."""

    class Recording(optimizer):
        def __init__(self, params, maximize=False, **options):
            super().__init__(params, **options)
            self.maximize = maximize

        def step(self):
            group = self.param_groups[0]
            numbers = {"d_before": group["d"]}
            if self.maximize:
                for param in group["params"]:
                    param.grad.neg_()
            super().step()
            numbers.update(group)
            self.numbers = {name: torch.tensor(float(numbers[name]), dtype=torch.float64) for name in names}

        def slots(self, param):
            kept = {name: slot for name, slot in self.state[param].items() if name != "z"}
            return {**kept, **self.numbers}

    return Recording


prodigy = recording(Prodigy, "d", "d_max", "d_numerator", "d_before", "k")
dadapt_adam = recording(DAdaptAdam, "d", "numerator_weighted", "d_before", "k")
dadapt_sgd = recording(DAdaptSGD, "d", "numerator_weighted", "g0_norm", "k")


def decays(kind, amount):
    return {"weight_decay": {kind: amount}, "decouple": None}


# The common gradients average to nothing, from which no distance is learned: a strong L2 decay gives them a direction.
# The first distance is large enough for f32 to tell θ₀ − θ by.
case("prodigy", "prodigy", prodigy)
case(
    "prodigy_all", "prodigy", prodigy, decays("l2", 4.0), lr=0.5, betas=(0.8, 0.99), beta3=0.9, eps=1e-2, weight_decay=4.0,
    decouple=False, use_bias_correction=True, safeguard_warmup=True, d0=1e-2, d_coef=2.0, growth_rate=1.05,
)
case("prodigy_l2", "prodigy", prodigy, decays("l2", 4.0), eps=1e-2, weight_decay=4.0, decouple=False, d0=1e-2, d_coef=0.5)
# The reference sums in f32 what d follows, where a strong decay makes d grow: 1.2e-6 off, and 7e-6 where d
# is not limited.
cases.tolerance("prodigy_all", f32=5e-6)
cases.tolerance("prodigy_l2", f32=2e-5)
case("prodigy_decoupled", "prodigy", prodigy, decays("decoupled", 0.1), weight_decay=0.1, use_bias_correction=True, d0=1e-2)
case("prodigy_maximize", "prodigy", prodigy, maximize=True, d0=1e-4)
case("dadapt_adam", "dadapt_adam", dadapt_adam)
case(
    "dadapt_adam_all", "dadapt_adam", dadapt_adam, decays("l2", 4.0), lr=0.5, betas=(0.8, 0.99), eps=1e-4,
    weight_decay=4.0, decouple=False, use_bias_correction=True, d0=1e-2, growth_rate=1.02,
)
case("dadapt_adam_l2", "dadapt_adam", dadapt_adam, decays("l2", 4.0), eps=1e-2, weight_decay=4.0, decouple=False, d0=1e-2)
case(
    "dadapt_adam_decoupled", "dadapt_adam", dadapt_adam, decays("decoupled", 0.1), weight_decay=0.1, decouple=True, d0=1e-2,
    use_bias_correction=True,
)
case("dadapt_adam_maximize", "dadapt_adam", dadapt_adam, maximize=True, d0=1e-4)
case("dadapt_sgd", "dadapt_sgd", dadapt_sgd)
case("dadapt_sgd_all", "dadapt_sgd", dadapt_sgd, lr=0.5, momentum=0.9, weight_decay=4.0, d0=1e-2, growth_rate=1.02)
case("dadapt_sgd_decay", "dadapt_sgd", dadapt_sgd, weight_decay=4.0, d0=1e-2)
case("dadapt_sgd_maximize", "dadapt_sgd", dadapt_sgd, maximize=True, momentum=0.5)
