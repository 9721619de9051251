"""Adamax, NAdam, RAdam, Adadelta, Rprop, ASGD, Adafactor."""

import torch

from .case import Cases

cases = Cases()
case = cases.add


def loop(optimizer):
    """`foreach=False` is the loop that defines the semantics."""
    return lambda params, **options: optimizer(params, foreach=False, **options)


adamax, nadam, radam, adadelta, rprop, asgd, adafactor = map(
    loop,
    [
        torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adadelta, torch.optim.Rprop,
        torch.optim.ASGD, torch.optim.Adafactor,
    ],
)


def decays(kind, amount):
    """Our option, and torch's for it."""
    return {"weight_decay": {kind: amount}, "decoupled_weight_decay": None}


# Where decay goes through the moments ε is large: an element without a gradient of its own would else step across
# zero for ever, and double every difference as it does.
case("adamax", "adamax", adamax)
case("adamax_all", "adamax", adamax, lr=0.01, betas=(0.4, 0.7), eps=1e-3, weight_decay=0.1)
case("adamax_maximize", "adamax", adamax, lr=0.01, maximize=True)
case("nadam", "nadam", nadam)
case("nadam_l2", "nadam", nadam, decays("l2", 0.1), lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), eps=1e-2)
case(
    "nadam_decoupled", "nadam", nadam, decays("decoupled", 0.1),
    lr=0.01, weight_decay=0.1, decoupled_weight_decay=True, momentum_decay=0.1,
)
case("nadam_maximize", "nadam", nadam, lr=0.01, maximize=True)
case("radam", "radam", radam)
case("radam_l2", "radam", radam, decays("l2", 0.1), lr=0.01, weight_decay=0.1, betas=(0.8, 0.99), eps=1e-2)
case(
    "radam_decoupled", "radam", radam, decays("decoupled", 0.1),
    lr=0.01, weight_decay=0.1, decoupled_weight_decay=True,
)
case("radam_never_adapts", "radam", radam, lr=0.01, betas=(0.9, 0.6))
case("radam_maximize", "radam", radam, lr=0.01, maximize=True)
case("adadelta", "adadelta", adadelta)
case("adadelta_all", "adadelta", adadelta, lr=0.5, rho=0.7, eps=1e-4, weight_decay=0.1)
case("adadelta_maximize", "adadelta", adadelta, maximize=True)
case("rprop", "rprop", rprop)
case("rprop_all", "rprop", rprop, lr=0.1, etas=(0.3, 1.7), step_sizes=(1e-3, 0.2))
case("rprop_maximize", "rprop", rprop, maximize=True)
case("asgd", "asgd", asgd)
case("asgd_all", "asgd", asgd, lr=0.1, lambd=0.02, alpha=0.6, t0=10, weight_decay=0.1)
case("asgd_maximize", "asgd", asgd, t0=50, maximize=True)
case("adafactor", "adafactor", adafactor)
case(
    "adafactor_all", "adafactor", adafactor,
    lr=0.1, beta2_decay=-0.5, eps=(1e-4, 0.05), d=1.5, weight_decay=0.1,
)
case("adafactor_maximize", "adafactor", adafactor, maximize=True)
