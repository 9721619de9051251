"""Rules that look at norms: LAMB from optax and pytorch_optimizer, LARS and NovoGrad from pytorch_optimizer."""

from importlib.metadata import version

import jax
import optax
import torch
from pytorch_optimizer import LARS, Lamb, NovoGrad

from .case import Cases

jax.config.update("jax_enable_x64", True)
cases = Cases()
case = cases.add
versions = {"optax": version("optax"), "pytorch_optimizer": version("pytorch_optimizer")}


class OptaxLamb:
    """optax.lamb on torch's parameters; it has no `maximize`."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, maximize=False):
        self.rule = optax.lamb(lr, b1=betas[0], b2=betas[1], eps=eps, weight_decay=weight_decay)
        self.params, self.sign, self.state = params, -1 if maximize else 1, {}
        self.inner = self.rule.init([jax.numpy.asarray(param.detach().numpy()) for param in params])

    @torch.no_grad()
    def step(self):
        values = [jax.numpy.asarray(param.numpy()) for param in self.params]
        grads = [jax.numpy.asarray((self.sign * param.grad).numpy()) for param in self.params]
        updates, self.inner = self.rule.update(grads, self.inner, values)
        for i, (param, value) in enumerate(zip(self.params, optax.apply_updates(values, updates))):
            param.copy_(torch.from_dlpack(value))
            moments = {"exp_avg": self.inner[0].mu[i], "exp_avg_sq": self.inner[0].nu[i]}
            self.state[param] = {name: torch.from_dlpack(slot) for name, slot in moments.items()}


class UncorrectedLamb(Lamb):
    """Its ε of 1e-30 is far below the norm that it is added to, so that the ratio is the paper's; `adam_debias`
    keeps it from dividing the rate by 1 − β₁ᵗ."""

    def __init__(self, params, **options):
        super().__init__(params, foreach=False, weight_decouple=False, adam_debias=True, **options)

    def step(self):
        super().step()
        for state in self.state.values():
            for name in ["weight_norm", "adam_norm", "trust_ratio"]:
                state.pop(name)


class LimitedLamb(UncorrectedLamb):
    clamp = 0.7


def loop(optimizer):
    return lambda params, **options: optimizer(params, foreach=False, **options)


lars, novograd = loop(LARS), loop(NovoGrad)
case("lamb", "lamb", OptaxLamb)
case("lamb_all", "lamb", OptaxLamb, lr=0.01, betas=(0.4, 0.9), eps=1e-3, weight_decay=0.1)
case("lamb_maximize", "lamb", OptaxLamb, maximize=True)
case(
    "lamb_uncorrected", "lamb", UncorrectedLamb, {"bias_correction": False, "max_norm": 10.0},
    lr=0.01, eps=1e-30, weight_decay=0.1,
)
case("lamb_limited", "lamb", LimitedLamb, {"bias_correction": False, "max_norm": 0.7}, lr=0.01, eps=1e-30)
case("lars", "lars", lars)
case("lars_decay", "lars", lars, lr=0.5, weight_decay=0.1, dampening=0.3, trust_coefficient=0.01)
case("lars_nesterov", "lars", lars, lr=0.1, weight_decay=0.05, momentum=0.5, nesterov=True)
case("lars_plain", "lars", lars, lr=0.1, momentum=0.0, weight_decay=0.1)
case("lars_maximize", "lars", lars, maximize=True)
case("novograd", "novograd", novograd)
case("novograd_l2", "novograd", novograd, {"weight_decay": {"l2": 0.1}}, lr=0.01, weight_decay=0.1, betas=(0.8, 0.5))
case(
    "novograd_decoupled", "novograd", novograd, {"weight_decay": {"decoupled": 0.1}, "weight_decouple": None},
    lr=0.01, weight_decay=0.1, weight_decouple=True, grad_averaging=True, eps=0.1,
)
case("novograd_maximize", "novograd", novograd, maximize=True)
# Norms in f32 instead of f64 make every step of a parameter longer or shorter by 1e-7, and it goes some units of way.
cases.tolerance("lars_decay", f32=4e-6)
