"""Schedule-Free SGD and AdamW, from the authors' package."""

from importlib.metadata import version

from schedulefree import AdamWScheduleFree, SGDScheduleFree

from .case import Cases

cases = Cases()
case = cases.add
versions = {"schedulefree": version("schedulefree")}


def training(optimizer, switches=False):
    """In train mode; with `switches`, the parameters that are kept are those of eval mode."""

    class Training(optimizer):
        def step(self):
            self.train()
            super().step()
            for group in self.param_groups:
                for param in group["params"]:
                    for name in ["weight_sum", "lr_max"]:
                        self.state[param][name] = param.new_tensor(group[name]).double()
            if switches:
                self.eval()

    return lambda params, **options: Training(params, foreach=False, **options)


for name, optimizer in [("sgd", SGDScheduleFree), ("adamw", AdamWScheduleFree)]:
    rule, train = f"{name}_schedule_free", training(optimizer)
    beta = {"momentum": 0.6} if name == "sgd" else {"betas": (0.6, 0.9)}
    case(rule, rule, train)
    case(f"{rule}_warmup", rule, train, lr=0.01, warmup_steps=20, weight_decay=0.1)
    case(f"{rule}_weights", rule, train, lr=0.02, warmup_steps=5, r=1.0, weight_lr_power=1.0, **beta)
    case(f"{rule}_eval", rule, training(optimizer, True), lr=0.01, warmup_steps=7, **beta)
# With the default rate of 1 and gradients of up to 12, z goes hundreds of units away and the sum of
# roundings of 6e-8 of that with it.
cases.tolerance("sgd_schedule_free", f32=1e-4)
