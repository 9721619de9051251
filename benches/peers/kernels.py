"""The kernels of benches/kernels.rs in PyTorch, and one table of ours, candle's and PyTorch's times.

    cargo bench --bench kernels
    python benches/peers/kernels.py            (torch 2.15, two threads)

Each time is forward and backward together, the median of many runs, in milliseconds.
"""

import json
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(2)
TARGET = pathlib.Path(__file__).parents[2] / "target/criterion"

IDS = torch.arange(2048) * 7919 % 30_522

ANGLES = torch.arange(128)[:, None] * 1e4 ** (-torch.arange(0, 64, 2) / 64)
COS, SIN = ANGLES.cos().repeat(1, 2), ANGLES.sin().repeat(1, 2)


def rope(x):
    first, second = x.chunk(2, -1)
    return x * COS + torch.cat((-second, first), -1) * SIN


def recurrent(op, gates):
    """One layer of 256 from 256 in one direction."""
    sizes = [(32, 64, 256), (gates * 256, 256), (gates * 256, 256), (gates * 256,), (gates * 256,)]
    start = torch.zeros(1, 32, 256)
    start = (start, start) if gates == 4 else start
    options = (True, 1, 0.0, True, False, True)
    return sizes, lambda x, *weights: op(x, start, weights, *options)[0]


KERNELS = {
    "lstm, 32×64×256→256": recurrent(torch.lstm, 4),
    "gru, 32×64×256→256": recurrent(torch.gru, 3),
    "conv_transpose1d 8 stride 4, 16×64×512": (
        [(16, 64, 512), (64, 64, 8)],
        lambda x, w: F.conv_transpose1d(x, w, stride=4, padding=2),
    ),
    "group_norm 8, 16×64×28×28": (
        [(16, 64, 28, 28), (64,), (64,)],
        lambda x, w, b: F.group_norm(x, 8, w, b),
    ),
    "residual + layer_norm, 2048×384": (
        [(2048, 384), (2048, 384), (384,), (384,)],
        lambda x, y, w, b: F.layer_norm(x + y, (384,), w, b, 1e-12),
    ),
    "conv1d 3, 16×128×512": (
        [(16, 128, 512), (128, 128, 3)],
        lambda x, w: F.conv1d(x, w, padding=1),
    ),
    "conv_transpose2d 2×2, 16×64×28×28": (
        [(16, 64, 28, 28), (64, 64, 2, 2)],
        lambda x, w: F.conv_transpose2d(x, w, stride=2),
    ),
    "max_pool2d 3×3 stride 2, 16×64×56×56": (
        [(16, 64, 56, 56)],
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "max_pool2d 2×2, 16×64×56×56": ([(16, 64, 56, 56)], lambda x: F.max_pool2d(x, 2)),
    "avg_pool2d 2×2, 16×64×56×56": ([(16, 64, 56, 56)], lambda x: F.avg_pool2d(x, 2)),
    "adaptive_avg_pool2d to 7×7, 16×64×56×56": (
        [(16, 64, 56, 56)],
        lambda x: F.adaptive_avg_pool2d(x, 7),
    ),
    "interpolate bilinear ×2, 16×64×28×28": (
        [(16, 64, 28, 28)],
        lambda x: F.interpolate(x, (56, 56), mode="bilinear"),
    ),
    "interpolate nearest ×2, 16×64×28×28": (
        [(16, 64, 28, 28)],
        lambda x: F.interpolate(x, (56, 56)),
    ),
    "pad reflect 1, 16×64×56×56": (
        [(16, 64, 56, 56)],
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    ),
    "pad constant 1, 16×64×56×56": ([(16, 64, 56, 56)], lambda x: F.pad(x, (1, 1, 1, 1))),
    "attention, 16×12×128×32": ([(16, 12, 128, 32)] * 3, F.scaled_dot_product_attention),
    "attention, causal, 2×8×1024×64": (
        [(2, 8, 1024, 64)] * 3,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ),
    "rms_norm, 2048×384": (
        [(2048, 384), (384,)],
        lambda x, w: F.rms_norm(x, (384,), w, 1e-6),
    ),
    "log_softmax, 512×10000": ([(512, 10_000)], lambda x: x.log_softmax(1)),
    "rope, 16×12×128×64": ([(16, 12, 128, 64)], rope),
    "linear 2048×768→768": ([(2048, 768), (768, 768), (768,)], F.linear),
    "matmul 48×128×64×128": ([(48, 128, 64), (48, 64, 128)], torch.matmul),
    "conv2d 3×3, 16×64×28×28": (
        [(16, 64, 28, 28), (64, 64, 3, 3)],
        lambda x, w: F.conv2d(x, w, padding=1),
    ),
    "conv2d 1×1, 16×64×28×28": ([(16, 64, 28, 28), (64, 64, 1, 1)], F.conv2d),
    "depthwise conv2d 3×3, 16×96×28×28": (
        [(16, 96, 28, 28), (96, 1, 3, 3)],
        lambda x, w: F.conv2d(x, w, padding=1, groups=96),
    ),
    "batch_norm + relu, 16×64×28×28": (
        [(16, 64, 28, 28), (64,), (64,)],
        lambda x, w, b: F.relu(F.batch_norm(x, None, None, w, b, True)),
    ),
    "relu, 4 M": ([(4_000_000,)], F.relu),
    "dropout, 4 M": ([(4_000_000,)], lambda x: F.dropout(x, 0.1)),
    "layer_norm, 2048×384": (
        [(2048, 384), (384,), (384,)],
        lambda x, w, b: F.layer_norm(x, (384,), w, b, 1e-12),
    ),
    "softmax, 24576×128": ([(24_576, 128)], lambda x: x.softmax(1)),
    "gelu, 3 M": ([(2048, 1536)], F.gelu),
    "embedding, 2048 of 30522×384": ([(30_522, 384)], lambda w: F.embedding(IDS, w)),
    "cross_entropy, 512×10000": (
        [(512, 10_000)],
        lambda x: F.cross_entropy(x, torch.arange(512), reduction="none"),
    ),
}


def torch_ms(shapes, fn):
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    times = []
    while sum(times) < 2 or len(times) < 10:
        start = time.perf_counter()
        torch.autograd.grad(fn(*inputs).sum(), inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:]) * 1e3


def criterion_ms():
    """{kernel: {"ours": ms, "candle": ms}} of the last run."""
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
    print("| kernel, forward and backward | ours | candle | PyTorch | ours ÷ PyTorch |")
    print("|---|---:|---:|---:|---:|")
    for name, (shapes, fn) in KERNELS.items():
        theirs, times = torch_ms(shapes, fn), ours.get(name, {})
        show = lambda ms: f"{ms:.2f} ms" if ms else ""
        own = times.get("ours")
        ratio = f"{own / theirs:.2f}" if own else ""
        print(f"| {name} | {show(own)} | {show(times.get('candle'))} | {show(theirs)} | {ratio} |")


if __name__ == "__main__":
    main()
