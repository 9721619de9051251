"""SGD, Adam, AdamW, RMSprop, Adagrad."""

import torch

from .case import Cases

cases = Cases()
case = cases.add


def loop(optimizer):
    """`foreach=False` is the loop that defines the semantics."""
    return lambda params, **options: optimizer(params, foreach=False, **options)


sgd, adam, adamw, rmsprop, adagrad = map(
    loop, [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad]
)
case("sgd", "sgd", sgd)
case("sgd_decay", "sgd", sgd, lr=0.01, weight_decay=0.1)
case("sgd_momentum", "sgd", sgd, lr=0.01, momentum=0.9)
case("sgd_dampening", "sgd", sgd, lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.05)
case("sgd_nesterov", "sgd", sgd, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.05)
case("sgd_maximize", "sgd", sgd, lr=0.01, momentum=0.9, maximize=True, weight_decay=0.05)
case("adam", "adam", adam)
case("adam_l2", "adam", adam, {"weight_decay": {"l2": 0.1}}, lr=0.01, weight_decay=0.1)
case(
    "adam_decoupled", "adam", adam, {"weight_decay": {"decoupled": 0.1}, "decoupled_weight_decay": None},
    lr=0.01, weight_decay=0.1, decoupled_weight_decay=True,
)
case("adam_betas", "adam", adam, lr=0.01, betas=(0.4, 0.9), eps=1e-3)
case("adam_amsgrad", "adam", adam, lr=0.01, betas=(0.9, 0.8), amsgrad=True)
case("adam_maximize", "adam", adam, lr=0.01, maximize=True)
case("adamw", "adamw", adamw)
case("adamw_amsgrad", "adamw", adamw, lr=0.01, weight_decay=0.2, amsgrad=True, betas=(0.8, 0.7))
case("rmsprop", "rmsprop", rmsprop)
case("rmsprop_momentum", "rmsprop", rmsprop, lr=1e-3, momentum=0.9, weight_decay=0.1)
case("rmsprop_centered", "rmsprop", rmsprop, lr=1e-3, centered=True, alpha=0.9, eps=1e-5)
case("rmsprop_both", "rmsprop", rmsprop, lr=1e-3, centered=True, momentum=0.5, weight_decay=0.1, eps=1e-5)
case("rmsprop_maximize", "rmsprop", rmsprop, lr=1e-3, maximize=True)
case("adagrad", "adagrad", adagrad)
case(
    "adagrad_all", "adagrad", adagrad,
    lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.1, eps=1e-6,
)
case("adagrad_maximize", "adagrad", adagrad, lr=0.1, maximize=True)
