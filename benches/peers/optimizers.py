"""The steps of benches/optimizers.rs in PyTorch, and one table of ours, candle's and PyTorch's times.

    cargo bench --bench optimizers
    python benches/peers/optimizers.py         (torch 2.15, pytorch_optimizer 4.1, two threads)

PyTorch three ways: fused where it has it, foreach, and its default on the CPU, a loop. The median of many
steps, in milliseconds; the ratio is to the best of the three. What PyTorch lacks is
pytorch_optimizer's.
"""

import functools
import json
import os
import pathlib
import statistics
import time

import pytorch_optimizer
import torch

torch.set_num_threads(2)


class Average:
    """torch.optim.swa_utils.AveragedModel's update of all parameters at once, which is foreach's."""

    def __init__(self, params, lr, foreach=False):
        if not foreach:
            raise TypeError("it has one way")
        self.params, self.averages = params, [param.detach().clone() for param in params]
        self.update = torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)

    def step(self):
        self.update(self.averages, [param.detach() for param in self.params], None)


def without_fused(make):
    """pytorch_optimizer takes any option, and does nothing with this one."""

    def made(params, fused=False, **options):
        if fused:
            raise TypeError("it has no fused way")
        return make(params, **options)

    return made


TARGET = pathlib.Path(__file__).parents[2] / os.environ.get("CARGO_TARGET_DIR", "target") / "criterion"
SETS = {"25 M in 50": (50, 500_000), "64 k in 1000": (1000, 64)}
RULES = {
    "sgd": (functools.partial(torch.optim.SGD, momentum=0.9), False),
    "adamw": (torch.optim.AdamW, False),
    "adamw, clipped": (torch.optim.AdamW, True),
    "rmsprop": (torch.optim.RMSprop, False),
    "adagrad": (torch.optim.Adagrad, False),
    "adam": (torch.optim.Adam, False),
    "lion": (without_fused(pytorch_optimizer.Lion), False),
    "adafactor": (torch.optim.Adafactor, False),
    "lamb": (without_fused(pytorch_optimizer.Lamb), False),
    "ema": (Average, False),
}
WAYS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "default": {}}


def torch_ms(make, clipped, count, length, options):
    params = [torch.nn.Parameter(torch.ones(length)) for _ in range(count)]
    for param in params:
        param.grad = torch.full_like(param, 0.25)
    try:
        optimizer = make(params, lr=1e-3, **options)
    except TypeError:  # it does not have this way
        return None
    foreach = options.get("foreach")
    times = []
    while sum(times) < 2 or len(times) < 10:
        start = time.perf_counter()
        if clipped:
            torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=foreach)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:]) * 1e3


def criterion_ms():
    """{group: {"ours": ms, "candle": ms}} of the last run."""
    found = {}
    for path in TARGET.glob("*/*/new/benchmark.json"):
        name = json.loads(path.read_text())
        estimates = json.loads((path.parent / "estimates.json").read_text())
        median = estimates["median"]["point_estimate"] / 1e6
        found.setdefault(name["group_id"], {})[name["function_id"]] = median
    return found


def main():
    ours = criterion_ms()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| step | ours | candle | fused | foreach | default | ours ÷ best |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    show = lambda ms: f"{ms:.2f} ms" if ms else ""  # noqa: E731
    for size, (count, length) in SETS.items():
        for name, (make, clipped) in RULES.items():
            theirs = {way: torch_ms(make, clipped, count, length, options) for way, options in WAYS.items()}
            times = ours.get(f"step of {name}, {size}", {})
            best = min(ms for ms in theirs.values() if ms)
            ratio = f"{times['ours'] / best:.2f}" if "ours" in times else ""
            cells = [times.get("ours"), times.get("candle"), *theirs.values()]
            print(f"| {name}, {size} | {' | '.join(map(show, cells))} | {ratio} |")


if __name__ == "__main__":
    main()
