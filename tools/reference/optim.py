"""Writes the fixtures of dl-optim: what torch's optimizers and schedulers, and transformers' schedules, do.

    pip install torch safetensors transformers pytorch_optimizer schedulefree prodigyopt dadaptation galore-torch bitsandbytes
    python tools/reference/optim.py [FAMILY...]        # all families and "schedules" and "driver" if none is named

rules/FAMILY.safetensors: for every case of optim_cases/FAMILY.py and dtype, the parameters after some steps
and the slots after the last, of SHAPES or the family's own. Gradients do not depend on the parameters, so
that a difference is not amplified, and are computed from integers, so that Rust computes the same ones. schedules.json: the factor at every step, chained and in closed
form, momenta, and the rates of the schedules that follow a metric. driver.json: the scales of a GradScaler.
torch_state.pth, torch_state.safetensors: optimizers' state_dicts in the middle of a run, and where the run ends.
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
    slots = getattr(optimizer, "slots", lambda param: optimizer.state.get(param, {}))
    for param in params:
        for name, state in slots(param).items():
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
        about["unchecked"] = module.cases.unchecked.get(label, [])
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


def noam(step):
    """Section 5.3 of Attention Is All You Need, for a width of 64 and a warm-up of 8."""
    return 64**-0.5 * min((step + 1) ** -0.5, (step + 1) * 8**-1.5)


def closed_form(make, steps):
    """What a scheduler with a closed form says of every step, or nothing."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    if not hasattr(scheduler, "_get_closed_form_lr"):
        return None
    for step in range(steps):
        scheduler.last_epoch = step
        rates.append(float(scheduler._get_closed_form_lr()[0]))
    return rates


def momenta(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return found


def torch_momenta():
    s = torch.optim.lr_scheduler
    return {
        "one_cycle": (lambda o: s.OneCycleLR(o, 1.0, total_steps=41), 41),
        "one_cycle_linear": (lambda o: s.OneCycleLR(o, 1.0, 41, pct_start=0.25, anneal_strategy="linear"), 41),
        "one_cycle_three": (lambda o: s.OneCycleLR(o, 1.0, 41, three_phase=True, div_factor=10), 41),
        "cyclic": (lambda o: s.CyclicLR(o, 0.1, 1.0, 7), 40),
        "cyclic_uneven": (lambda o: s.CyclicLR(o, 0.25, 1.0, 3, 8, "triangular2"), 40),
        "cyclic_exp": (lambda o: s.CyclicLR(o, 0.1, 1.0, 5, None, "exp_range", 0.97), 40),
    }


# Falls, stalls, falls by less than the threshold, rises and falls again.
METRICS = [max(1.0, 9.0 - step) + (step % 7) / 16 * (step > 12) - step / 100_000 for step in range(60)]
PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "factor": 0.5, "cooldown": 3},
    {"patience": 0, "factor": 0.25, "min_lr": 0.01},
    {"patience": 0, "factor": 0.5, "eps": 0.05},
    {"patience": 2, "factor": 0.5, "threshold": 1e-5, "threshold_mode": "abs"},
    {"patience": 3, "factor": 0.5, "mode": "max"},
    {"patience": 3, "factor": 0.5, "mode": "max", "threshold_mode": "abs", "threshold": 0.25},
]
GREEDY = [
    {},
    {"patience": 1, "factor": 0.5},
    {"patience": 0, "factor": 0.5, "cooldown": 1, "warmup": 2, "min_lr": 0.1, "max_lr": 1.5},
    {"patience": 0, "factor": 0.25, "min_lr": 0.25, "reset_start": 3, "cooldown": 1},
    {"patience": 1, "factor": 0.8, "threshold_mode": "rel", "threshold": 0.01, "mode": "max"},
    {"patience": 1, "factor": 0.5, "window_size": 4, "reset_start": 2, "min_lr": 0.5},
]


def adaptive(make, cases):
    found = []
    for options in cases:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        theirs = dict(options, smooth=True) if "window_size" in options else options
        scheduler, rates = make(optimizer, **theirs), []
        for metric in METRICS:
            optimizer.step()
            scheduler.step(metric)
            rates.append(optimizer.param_groups[0]["lr"])
        found.append({"options": options, "rates": rates})
    return found


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
        "cyclic": (lambda o: s.CyclicLR(o, 0.1, 1.0, 7, cycle_momentum=False), 40),
        "cyclic_uneven": (lambda o: s.CyclicLR(o, 0.25, 1.0, 3, 8, "triangular2", cycle_momentum=False), 40),
        "cyclic_exp": (lambda o: s.CyclicLR(o, 0.1, 1.0, 5, None, "exp_range", 0.97, cycle_momentum=False), 40),
        "noam": (lambda o: s.LambdaLR(o, noam), 40),
        "swa_anneal": (lambda o: torch.optim.swa_utils.SWALR(o, 0.05), 40),
        "swa_anneal_linear": (lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 4, "linear"), 40),
        "swa_anneal_none": (lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 0), 40),
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
    ("cosine_warmup_with_min_lr", 5, 35, {"min_lr_rate": 0.2}, {"end_factor": 0.2}),
    (
        "cosine_warmup_with_min_lr",
        5,
        35,
        {"min_lr_rate": 0.1, "warmup_lr_rate": 0.3},
        {"end_factor": 0.1, "warmup_lr_rate": 0.3},
    ),
    ("warmup_stable_decay", 5, 35, {"num_decay_steps": 10}, {"decay_steps": 10}),
    (
        "warmup_stable_decay",
        5,
        35,
        {"num_decay_steps": 20, "min_lr_ratio": 0.1, "warmup_type": "cosine", "decay_type": "1-sqrt"},
        {"decay_steps": 20, "end_factor": 0.1, "warmup_type": "cosine", "decay_type": "1-sqrt"},
    ),
    (
        "warmup_stable_decay",
        6,
        35,
        {"num_decay_steps": 7, "warmup_type": "1-sqrt", "decay_type": "linear"},
        {"decay_steps": 7, "warmup_type": "1-sqrt", "decay_type": "linear"},
    ),
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
    closed = {name: closed_form(make, steps) for name, (make, steps) in torch_schedules().items()}
    fixture = {
        "about": about,
        "torch": torch_rates,
        "closed": {name: rates for name, rates in closed.items() if rates},
        "momentum": {name: momenta(make, steps) for name, (make, steps) in torch_momenta().items()},
        "hugging_face": named,
        "metrics": METRICS,
        "plateau": adaptive(torch.optim.lr_scheduler.ReduceLROnPlateau, PLATEAUS),
        "greedy": adaptive(transformers.optimization.GreedyLR, GREEDY),
    }
    (FOLDER / "schedules.json").write_text(json.dumps(fixture) + "\n")


def loss_scales():
    """torch.amp.GradScaler over steps of which some overflow."""
    from torch.amp import GradScaler

    found = []
    overflows = [step in (3, 4, 9, 30) for step in range(40)]
    for options in [{}, {"init_scale": 8.0, "growth_interval": 3}, {"init_scale": 2.0**120, "growth_factor": 256.0, "growth_interval": 2}]:
        scaler, scales = GradScaler("cpu", **options), []
        param = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([param], lr=0.0)
        for overflow in overflows:
            scaler.scale(torch.zeros(1))  # makes the scale a tensor
            param.grad = torch.full([1], float("inf") if overflow else 0.0)
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        found.append({"options": options, "scales": scales})
    return {"overflows": overflows, "cases": found}


RESUMED = {
    # ours → theirs, five steps before and five after
    "adam": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5, centered=True),
    "sgd": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
}


def resumed(make):
    params = []
    for index, shape in enumerate(SHAPES.values()):
        params.append(torch.nn.Parameter(start(index, math.prod(shape), torch.float32).reshape(shape)))
    # Not in name order: a model lists its parameters in the order of its layers.
    optimizer, kept = make(params[::-1]), []
    for step in range(1, 11):
        for index, param in enumerate(params):
            param.grad = gradient(index, param.numel(), step, torch.float32).reshape(param.shape)
        optimizer.step()
        if step == 5:
            state = optimizer.state_dict()["state"]
            state = {f"state.{i}.{slot}": t.clone() for i, slots in state.items() for slot, t in slots.items() if t is not None}
            kept.append(torch.cat([param.detach().flatten() for param in params]))
    kept.append(torch.cat([param.detach().flatten() for param in params]))
    return torch.stack(kept), state, optimizer


def write_driver():
    versions = {"torch": torch.__version__}
    fixture = {"about": versions, "loss_scaling": loss_scales()}
    (FOLDER / "driver.json").write_text(json.dumps(fixture) + "\n")
    tensors = {}
    for name, make in RESUMED.items():
        kept, state, optimizer = resumed(make)
        tensors[f"{name}/kept"] = kept
        tensors.update({f"{name}/{key}": tensor for key, tensor in state.items()})
    safetensors.torch.save_file(tensors, FOLDER / "torch_state.safetensors", {"about": json.dumps(versions)})
    # The last one, SGD, after ten steps, as torch.save writes it beside other things.
    torch.save({"epoch": 3, "optimizer": optimizer.state_dict()}, FOLDER / "torch_state.pth")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    (FOLDER / "rules").mkdir(parents=True, exist_ok=True)
    everything = sorted(path.stem for path in (HERE / "optim_cases").glob("*.py") if path.stem != "case")
    for family in sys.argv[1:] or [*everything, "schedules", "driver"]:
        match family:
            case "schedules":
                write_schedules()
            case "driver":
                write_driver()
            case _:
                write_rules(family)
