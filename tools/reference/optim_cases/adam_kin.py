"""AdaBelief, Yogi, Adan and AdEMAMix, from pytorch_optimizer."""

from importlib.metadata import version

from pytorch_optimizer import AdaBelief, AdEMAMix, Adan, Yogi

from .case import Cases

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


def loop(optimizer):
    return lambda params, **options: optimizer(params, foreach=False, **options)


class NamedAdan(Adan):
    """With the authors' name for the memory, and with gradients that are turned before the memory begins: the
    package's `maximize` turns the first one after it, and so sees a difference of twice the gradient."""

    def __init__(self, params, maximize=False, **options):
        super().__init__(params, foreach=False, **options)
        self.turned = maximize

    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = -param.grad if self.turned else param.grad
        for state in self.state.values():
            state["previous_grad"] = state.pop("neg_pre_grad")
        super().step()
        for state in self.state.values():
            state["neg_pre_grad"] = state.pop("previous_grad")


def l2(amount):
    """Our options, and theirs for them."""
    return {"weight_decay": {"l2": amount}, "weight_decouple": None}


def decoupled(amount):
    return {"weight_decay": {"decoupled": amount}, "weight_decouple": None}


# As in torch_rules.py, where decay goes through the moments ε is large.
adabelief, yogi, ademamix = loop(AdaBelief), loop(Yogi), loop(AdEMAMix)
case("adabelief", "adabelief", adabelief)
case("adabelief_l2", "adabelief", adabelief, l2(0.1), lr=0.01, weight_decay=0.1, weight_decouple=False, eps=1e-2)
case("adabelief_decoupled", "adabelief", adabelief, decoupled(0.1), lr=0.01, weight_decay=0.1, betas=(0.4, 0.9))
case("adabelief_amsgrad", "adabelief", adabelief, {"amsgrad": True, "ams_bound": None}, lr=0.01, betas=(0.8, 0.7), ams_bound=True)
case("adabelief_rectify", "adabelief", adabelief, rectify=True, eps=1e-8)
case(
    "adabelief_rectify_amsgrad", "adabelief", adabelief, {"amsgrad": True, "ams_bound": None},
    lr=0.01, betas=(0.8, 0.9), rectify=True, ams_bound=True, eps=1e-4,
)
case("adabelief_maximize", "adabelief", adabelief, maximize=True)
case("yogi", "yogi", yogi)
case("yogi_l2", "yogi", yogi, l2(0.1), lr=0.01, weight_decay=0.1, weight_decouple=False, eps=1e-2)
case("yogi_decoupled", "yogi", yogi, decoupled(0.1), weight_decay=0.1, betas=(0.4, 0.9), initial_accumulator=0.1)
case("yogi_maximize", "yogi", yogi, maximize=True)
case("adan", "adan", NamedAdan)
case("adan_decay", "adan", NamedAdan, lr=0.01, weight_decay=0.1, betas=(0.9, 0.8, 0.7), eps=1e-3)
case("adan_no_prox", "adan", NamedAdan, {"no_prox": True, "weight_decouple": None}, lr=0.01, weight_decay=0.1, weight_decouple=True)
case("adan_maximize", "adan", NamedAdan, maximize=True)
for label in ["adan", "adan_no_prox", "adan_maximize"]:
    # Theirs takes a step in two parts and rounds the parameter, by 6e-8 of it, after each.
    cases.tolerance(label, f32=5e-6)
# The same, and 1 + ηλ, by which theirs divides, is rounded in another direction than 1 / (1 + ηλ), by which ours
# multiplies: each by up to 6e-8 of the parameter, and all hundred times to the same side.
cases.tolerance("adan_decay", f32=2e-5)
case("ademamix", "ademamix", ademamix)
case("ademamix_l2", "ademamix", ademamix, l2(0.1), lr=0.01, weight_decay=0.1, eps=1e-2, betas=(0.8, 0.9, 0.99), alpha=2.0)
case("ademamix_decoupled", "ademamix", ademamix, decoupled(0.1), lr=0.01, weight_decay=0.1, weight_decouple=True)
case("ademamix_warmup", "ademamix", ademamix, t_alpha_beta3=60.0, alpha=8.0, betas=(0.9, 0.999, 0.999))
case("ademamix_maximize", "ademamix", ademamix, maximize=True)
