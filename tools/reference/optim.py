"""Writes the fixtures of dl-optim: what torch's optimizers and schedulers, and transformers' schedules, do.

    pip install torch safetensors transformers
    python tools/reference/optim.py [FAMILY...]        # all families and the schedules if none is named

rules/FAMILY.safetensors: for every case of optim_cases/FAMILY.py and dtype, the parameters after some steps
and the slots after the last, of SHAPES or the family's own. Gradients do not depend on the parameters, so that a difference is not amplified, and are computed from
integers, so that Rust computes the same ones. schedules.json: the factor at every step.
"""

import importlib
import json
import math
import pathlib
import sys
import warnings

import safetensors.torch
import torch

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "crates/dl-optim/tests/fixtures"
# In name order. A matrix, a vector, a scalar, three dimensions.
SHAPES = {"bias": [5], "conv": [2, 3, 2], "gain": [], "weight": [4, 5]}
STEPS = 100
KEPT = [1, 2, 10, 100]

def start(index, count, dtype):
    return torch.tensor([((index * 31 + i * 17) % 23 - 11) / 8 for i in range(count)], dtype=dtype)


def gradient(index, count, step, dtype):
    """One element in five is always 0, one is tiny, one is large; all change sign."""
    sizes = [1.0, 2.0**-20, 0.0, 16.0, 0.5]
    noise = [((step * 131 + index * 71 + i * 37) % 101 - 50) / 64 for i in range(count)]
    return torch.tensor([x * sizes[i % 5] for i, x in enumerate(noise)], dtype=dtype)


def run(make, options, shapes, dtype):
    torch.set_default_dtype(dtype)  # of the slots that are one number
    params = []
    for index, shape in enumerate(shapes.values()):
        params.append(torch.nn.Parameter(start(index, math.prod(shape), dtype).reshape(shape)))
    optimizer = make(params, **options)
    kept = []
    for step in range(1, STEPS + 1):
        for index, param in enumerate(params):
            param.grad = gradient(index, param.numel(), step, dtype).reshape(param.shape)
        optimizer.step()
        if step in KEPT:
            kept.append(torch.cat([param.detach().flatten() for param in params]))
    states = {}
    for param in params:
        for name, state in optimizer.state.get(param, {}).items():
            if name != "step" and state is not None:
                states.setdefault(name, []).append(state.flatten())
    return torch.stack(kept), {name: torch.cat(parts) for name, parts in states.items()}


def write_rules(family):
    module = importlib.import_module(f"optim_cases.{family}")
    shapes = getattr(module, "SHAPES", SHAPES)
    tensors, cases = {}, []
    for label, rule, ours, reference, options in module.cases:
        for name, dtype in [("f32", torch.float32), ("f64", torch.float64)]:
            kept, states = run(reference, options, shapes, dtype)
            tensors[f"{label}/{name}"] = kept
            for slot, state in states.items():
                tensors[f"{label}/{name}/{slot}"] = state
        about = {"label": label, "rule": rule, "options": ours, "slots": list(states)}
        cases.append({**about, "tolerances": module.cases.tolerances.get(label, {})})
    versions = {"torch": torch.__version__, **getattr(module, "versions", {})}
    about = {"versions": versions, "shapes": shapes, "kept": KEPT, "cases": cases}
    path = FOLDER / "rules" / f"{family}.safetensors"
    safetensors.torch.save_file(tensors, path, {"about": json.dumps(about)})
    print(f"{family}: {len(cases)} cases")


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
    import transformers

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
    (FOLDER / "rules").mkdir(parents=True, exist_ok=True)
    everything = sorted(path.stem for path in (HERE / "optim_cases").glob("*.py") if path.stem != "case")
    for family in sys.argv[1:] or everything:
        write_rules(family)
    if not sys.argv[1:]:
        write_schedules()
