"""Momentum in Keras's convention: the rate inside the velocity."""

import torch

from .case import Cases

cases = Cases()
case = cases.add


class Momentum(torch.optim.Optimizer):
    """keras.optimizers.SGD.update_step, with the sign of the velocity turned and decay in the gradient."""

    def __init__(self, params, lr=0.01, momentum=0.9, nesterov=False, weight_decay=0.0, maximize=False):
        super().__init__(params, dict(lr=lr, momentum=momentum))
        self.nesterov, self.weight_decay, self.maximize = nesterov, weight_decay, maximize

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for param in group["params"]:
                grad = (-param.grad if self.maximize else param.grad) + self.weight_decay * param
                old = self.state[param].get("velocity", torch.zeros_like(param))
                velocity = self.state[param]["velocity"] = momentum * old + lr * grad
                param.sub_(momentum * velocity + lr * grad if self.nesterov else velocity)


case("momentum", "momentum", Momentum)
case("momentum_decay", "momentum", Momentum, lr=0.02, momentum=0.5, weight_decay=0.1)
case("momentum_nesterov", "momentum", Momentum, nesterov=True, weight_decay=0.05)
case("momentum_maximize", "momentum", Momentum, maximize=True)
