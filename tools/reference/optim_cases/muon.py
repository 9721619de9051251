"""Muon, once with its iteration in the type of the parameter, as ours, and once as torch has it."""

import inspect

import torch
import torch.optim._muon as source

from .case import Cases

# Wide, tall, square, one row.
SHAPES = {"row": [1, 4], "square": [3, 3], "tall": [6, 2], "wide": [4, 5]}

cases = Cases()
case = cases.add

NAME = "_zeropower_via_newtonschulz"


def without_rounding():
    text = inspect.getsource(getattr(source, NAME))
    assert text.count("torch.bfloat16") == 1
    scope = dict(vars(source))
    exec(text.replace("torch.bfloat16", "grad.dtype"), scope)
    return scope[NAME]


class Exact(torch.optim.Muon):
    """torch's Muon but for the one cast."""

    def step(self):
        rounding = getattr(source, NAME)
        setattr(source, NAME, without_rounding())
        super().step()
        setattr(source, NAME, rounding)


case("muon", "muon", Exact)
case("muon_plain", "muon", Exact, lr=0.01, momentum=0.8, nesterov=False, weight_decay=0.0)
case("muon_rms", "muon", Exact, lr=0.01, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
case("muon_spectral", "muon", Exact, lr=0.01, adjust_lr_fn="spectral_unclamped")
case("muon_original", "muon", Exact, lr=0.01, adjust_lr_fn="original", ns_steps=3, ns_coefficients=(2.0, -1.5, 0.5))
# So large an ε that it divides.
case("muon_eps", "muon", Exact, lr=0.01, eps=100.0)
for label in ["muon", "muon_plain", "muon_rms", "muon_spectral", "muon_original", "muon_eps"]:
    # Five iterations enlarge a small singular value by up to 3.4⁵ = 480, and its rounding with it.
    cases.tolerance(label, f32=4e-6)
case("muon_bf16", "muon", torch.optim.Muon)
case("muon_bf16_plain", "muon", torch.optim.Muon, nesterov=False, weight_decay=0.0)
for label in ["muon_bf16", "muon_bf16_plain"]:
    # A hundred steps of 1e-3 (twice that for the tall one), each with several roundings of 2⁻⁹ that add up
    # where the gradient repeats.
    cases.tolerance(label, f32=1e-3, f64=1e-3)
