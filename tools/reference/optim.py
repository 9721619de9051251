"""Writes the fixtures of dl-optim: what torch's optimizers and schedulers, and transformers' schedules, do.

    pip install torch safetensors transformers
    python tools/reference/optim.py            # from the root of the repository

optimizers.safetensors: for every case and dtype, the parameters after some steps and the slots after the
last. Gradients do not depend on the parameters, so that a difference is not amplified, and are computed from
integers, so that Rust computes the same ones. schedules.json: the factor at every step.
"""

import json
import math
import pathlib
import warnings

import safetensors.torch
import torch
import transformers

FOLDER = pathlib.Path(__file__).parents[2] / "crates/dl-optim/tests/fixtures"
# In name order. A matrix, a vector, a scalar, three dimensions.
SHAPES = {"bias": [5], "conv": [2, 3, 2], "gain": [], "weight": [4, 5]}
STEPS = 100
KEPT = [1, 2, 10, 100]

# (label, our rule, our options, torch's class, torch's options)
CASES = []


def case(label, rule, torch_class, ours=None, **options):
    CASES.append((label, rule, {**options, **(ours or {})}, torch_class, options))


optim = torch.optim
case("sgd", "sgd", optim.SGD)
case("sgd_decay", "sgd", optim.SGD, lr=0.01, weight_decay=0.1)
case("sgd_momentum", "sgd", optim.SGD, lr=0.01, momentum=0.9)
case("sgd_dampening", "sgd", optim.SGD, lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.05)
case("sgd_nesterov", "sgd", optim.SGD, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.05)
case("sgd_maximize", "sgd", optim.SGD, lr=0.01, momentum=0.9, maximize=True, weight_decay=0.05)
case("adam", "adam", optim.Adam)
case("adam_l2", "adam", optim.Adam, {"weight_decay": {"l2": 0.1}}, lr=0.01, weight_decay=0.1)
case(
    "adam_decoupled", "adam", optim.Adam, {"weight_decay": {"decoupled": 0.1}},
    lr=0.01, weight_decay=0.1, decoupled_weight_decay=True,
)
case("adam_betas", "adam", optim.Adam, lr=0.01, betas=(0.4, 0.9), eps=1e-3)
case("adam_amsgrad", "adam", optim.Adam, lr=0.01, betas=(0.9, 0.8), amsgrad=True)
case("adam_maximize", "adam", optim.Adam, lr=0.01, maximize=True)
case("adamw", "adamw", optim.AdamW)
case("adamw_amsgrad", "adamw", optim.AdamW, lr=0.01, weight_decay=0.2, amsgrad=True, betas=(0.8, 0.7))
case("rmsprop", "rmsprop", optim.RMSprop)
case("rmsprop_momentum", "rmsprop", optim.RMSprop, lr=1e-3, momentum=0.9, weight_decay=0.1)
case("rmsprop_centered", "rmsprop", optim.RMSprop, lr=1e-3, centered=True, alpha=0.9, eps=1e-5)
case("rmsprop_both", "rmsprop", optim.RMSprop, lr=1e-3, centered=True, momentum=0.5, weight_decay=0.1, eps=1e-5)
case("rmsprop_maximize", "rmsprop", optim.RMSprop, lr=1e-3, maximize=True)
case("adagrad", "adagrad", optim.Adagrad)
case(
    "adagrad_all", "adagrad", optim.Adagrad,
    lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.1, eps=1e-6,
)
case("adagrad_maximize", "adagrad", optim.Adagrad, lr=0.1, maximize=True)


def start(index, count, dtype):
    return torch.tensor([((index * 31 + i * 17) % 23 - 11) / 8 for i in range(count)], dtype=dtype)


def gradient(index, count, step, dtype):
    """One element in five is always 0, one is tiny, one is large; all change sign."""
    sizes = [1.0, 2.0**-20, 0.0, 16.0, 0.5]
    noise = [((step * 131 + index * 71 + i * 37) % 101 - 50) / 64 for i in range(count)]
    return torch.tensor([x * sizes[i % 5] for i, x in enumerate(noise)], dtype=dtype)


def run(torch_class, options, dtype):
    params = []
    for index, shape in enumerate(SHAPES.values()):
        params.append(torch.nn.Parameter(start(index, math.prod(shape), dtype).reshape(shape)))
    # `foreach=False` is the loop that defines the semantics.
    optimizer = torch_class(params, foreach=False, **options)
    kept = []
    for step in range(1, STEPS + 1):
        for index, param in enumerate(params):
            param.grad = gradient(index, param.numel(), step, dtype).reshape(param.shape)
        optimizer.step()
        if step in KEPT:
            kept.append(torch.cat([param.detach().flatten() for param in params]))
    slots = [name for name in optimizer.state.get(params[0], {}) if name != "step"]
    slots = [name for name in slots if optimizer.state[params[0]][name] is not None]
    states = [torch.cat([optimizer.state[param][name].flatten() for param in params]) for name in slots]
    return torch.stack(kept), slots, states


def write_optimizers():
    tensors, cases = {}, []
    for label, rule, ours, torch_class, options in CASES:
        ours = {key: value for key, value in ours.items() if key != "decoupled_weight_decay"}
        for name, dtype in [("f32", torch.float32), ("f64", torch.float64)]:
            kept, slots, states = run(torch_class, options, dtype)
            tensors[f"{label}/{name}"] = kept
            for slot, state in zip(slots, states):
                tensors[f"{label}/{name}/{slot}"] = state
        cases.append({"label": label, "rule": rule, "options": ours, "slots": slots})
    about = {"torch": torch.__version__, "shapes": SHAPES, "kept": KEPT, "cases": cases}
    path = FOLDER / "optimizers.safetensors"
    safetensors.torch.save_file(tensors, path, {"about": json.dumps(about)})


def factors(make, steps):
    """What a scheduler does with a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def torch_schedules():
    s = torch.optim.lr_scheduler
    sequence = lambda o: s.SequentialLR(  # noqa: E731
        o, [s.ConstantLR(o, 0.1, 100), s.ExponentialLR(o, 0.9), s.StepLR(o, 3, 0.5)], [4, 20]
    )
    warmup = lambda o: s.SequentialLR(  # noqa: E731
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 35)], [5]
    )
    return {
        "constant": (lambda o: s.ConstantLR(o), 40),
        "step": (lambda o: s.StepLR(o, 7), 40),
        "multi_step": (lambda o: s.MultiStepLR(o, [30, 5, 12, 12], 0.5), 40),
        "exponential": (lambda o: s.ExponentialLR(o, 0.9), 40),
        "linear": (lambda o: s.LinearLR(o), 40),
        "linear_down": (lambda o: s.LinearLR(o, 1.0, 0.05, 30), 40),
        "polynomial": (lambda o: s.PolynomialLR(o, 30, 2.5), 40),
        "cosine": (lambda o: s.CosineAnnealingLR(o, 30, 0.1), 40),
        "cosine_restarts": (lambda o: s.CosineAnnealingWarmRestarts(o, 7), 40),
        "cosine_restarts_longer": (lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.05), 40),
        "one_cycle": (lambda o: s.OneCycleLR(o, 1.0, total_steps=41), 41),
        "one_cycle_linear": (lambda o: s.OneCycleLR(o, 1.0, 41, pct_start=0.25, anneal_strategy="linear"), 41),
        "one_cycle_three": (lambda o: s.OneCycleLR(o, 1.0, 41, three_phase=True, div_factor=10), 41),
        "warmup": (warmup, 40),
        "sequence": (sequence, 40),
        "product": (lambda o: s.ChainedScheduler([s.ExponentialLR(o, 0.95), s.LinearLR(o)], o), 40),
        "lambda": (lambda o: s.LambdaLR(o, lambda step: 1 / (1 + step)), 40),
    }


HUGGING_FACE = [
    # name, warm-up, total, transformers' extra options, ours
    ("linear", 5, 35, {}, {}),
    ("cosine", 5, 35, {}, {}),
    ("cosine", 5, 35, {"num_cycles": 1.5}, {"num_cycles": 1.5}),
    ("cosine_with_restarts", 5, 35, {}, {}),
    ("cosine_with_restarts", 5, 35, {"num_cycles": 3}, {"num_cycles": 3.0}),
    ("polynomial", 5, 35, {"power": 2.0, "lr_end": 0.125}, {"power": 2.0, "end_factor": 0.125}),
    ("polynomial", 0, 35, {}, {"end_factor": 1e-7}),
    ("constant", 5, 35, {}, {}),
    ("constant_with_warmup", 5, 35, {}, {}),
    ("inverse_sqrt", 5, 35, {}, {}),
    ("inverse_sqrt", 0, 35, {}, {}),
    ("inverse_sqrt", 5, 35, {"timescale": 20}, {"timescale": 20}),
    ("cosine_with_min_lr", 5, 35, {"min_lr_rate": 0.2}, {"end_factor": 0.2}),
]


def write_schedules():
    torch_rates = {name: factors(make, steps) for name, (make, steps) in torch_schedules().items()}
    named = []
    for name, warmup_steps, total_steps, theirs, ours in HUGGING_FACE:
        make = lambda o: transformers.get_scheduler(  # noqa: E731
            name, o, warmup_steps, total_steps, theirs or None  # noqa: B023
        )
        schedule = {"name": name, "warmup_steps": warmup_steps, "total_steps": total_steps, **ours}
        named.append({"schedule": schedule, "factors": factors(make, 40)})
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    fixture = {"about": about, "torch": torch_rates, "hugging_face": named}
    (FOLDER / "schedules.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_optimizers()
    write_schedules()
