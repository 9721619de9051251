"""The kernels of benches/kernels/ beside PyTorch: one table of ours, candle's and PyTorch's times.

    python benches/peers/kernels.py [PART OF A NAME...]            (torch 2.15, two threads)

Each time is forward and backward together, in milliseconds: the median of three rounds, in which ours
and PyTorch run by turns, so that both see the same weather on a machine that others share.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(2)
ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 0.5

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


def rope_of_neighbours(x):
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(z * torch.polar(torch.ones_like(ANGLES), ANGLES)).flatten(-2)


def four_million(fn):
    return [(4_000_000,)], fn


def images(fn):
    return [(16, 64, 56, 56)], fn


def signals(fn):
    return [(16, 64, 4096)], fn


def rows(fn):
    return [(2048, 1536)], fn


def pairs(fn):
    return [(2000, 2000), (2000, 2000)], fn


def gated(gate):
    def fn(x):
        a, b = x.chunk(2, 1)
        return gate(a) * b

    return [(2048, 3072)], fn


def drop_path(x):
    """timm's."""
    keep = x.new_empty((len(x), 1, 1, 1)).bernoulli_(0.9)
    return x * keep.div_(0.9)


def spectral_norm(w):
    u, v = (torch.full((n,), n**-0.5) for n in (512, 4608))
    return w / (u @ w @ v)


def instance_norm(x, w, b):
    return F.instance_norm(x, weight=w, bias=b)


PLACES = (torch.arange(65_536) * 7919 % 65_536)[:, None].expand(65_536, 32).contiguous()
WRITTEN = [(65_536, 32), (65_536, 32)]
NORM = [(16, 64, 28, 28), (64,), (64,)]

KERNELS = {
    "batch_norm + residual + relu, 16×64×28×28": (
        [*NORM, (16, 64, 28, 28)],
        lambda x, w, b, r: F.relu(F.batch_norm(x, None, None, w, b, True) + r),
    ),
    "batch_norm_with, 16×64×28×28": (
        NORM,
        lambda x, w, b: F.batch_norm(x, torch.zeros(64), torch.ones(64), w, b),
    ),
    "instance_norm, 16×64×28×28": (NORM, instance_norm),
    "weight_norm, 512×512×3×3": ([(512, 512, 3, 3), (512, 1, 1, 1)], torch._weight_norm),
    "spectral_norm, 512×4608": ([(512, 4608)], spectral_norm),
    "residual + rms_norm, 2048×384": (
        [(2048, 384), (2048, 384), (384,)],
        lambda x, r, w: F.rms_norm(x + r, (384,), w, 1e-6),
    ),
    "linear + relu, 2048×768→768": (
        [(2048, 768), (768, 768), (768,)],
        lambda x, w, b: F.relu(F.linear(x, w, b)),
    ),
    "linear + gelu, 2048×384→1536": (
        [(2048, 384), (1536, 384), (1536,)],
        lambda x, w, b: F.gelu(F.linear(x, w, b)),
    ),
    "attention, grouped, 4×16/4×256×64": (
        [(4, 16, 256, 64), (4, 4, 256, 64), (4, 4, 256, 64)],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
    ),
    "rope interleaved, 16×12×128×64": ([(16, 12, 128, 64)], rope_of_neighbours),
    "adaptive_max_pool2d to 7×7, 16×64×56×56": images(lambda x: F.adaptive_max_pool2d(x, 7)),
    "global_avg_pool, 16×512×14×14": ([(16, 512, 14, 14)], lambda x: x.mean((2, 3))),
    "max_pool1d 2, 16×64×4096": signals(lambda x: F.max_pool1d(x, 2)),
    "avg_pool1d 2, 16×64×4096": signals(lambda x: F.avg_pool1d(x, 2)),
    "adaptive_avg_pool1d to 64, 16×64×4096": signals(lambda x: F.adaptive_avg_pool1d(x, 64)),
    "adaptive_max_pool1d to 64, 16×64×4096": signals(lambda x: F.adaptive_max_pool1d(x, 64)),
    "interpolate bicubic ×2, 16×64×28×28": (
        [(16, 64, 28, 28)],
        lambda x: F.interpolate(x, (56, 56), mode="bicubic"),
    ),
    "interpolate_by 1.7, bilinear, 16×64×28×28": (
        [(16, 64, 28, 28)],
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    ),
    "pixel_shuffle 2, 16×64×28×28": ([(16, 64, 28, 28)], lambda x: F.pixel_shuffle(x, 2)),
    "pixel_unshuffle 2, 16×16×56×56": ([(16, 16, 56, 56)], lambda x: F.pixel_unshuffle(x, 2)),
    "scale_channels, 16×64×56×56": (
        [(16, 64, 56, 56), (16, 64)],
        lambda x, s: x * s[:, :, None, None],
    ),
    "pad replicate 1, 16×64×56×56": images(lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate")),
    "pad circular 1, 16×64×56×56": images(lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")),
    "relu6, 4 M": four_million(F.relu6),
    "sigmoid, 4 M": four_million(torch.sigmoid),
    "tanh, 4 M": four_million(torch.tanh),
    "silu, 4 M": four_million(F.silu),
    "gelu_tanh, 4 M": four_million(lambda x: F.gelu(x, approximate="tanh")),
    "leaky_relu, 4 M": four_million(F.leaky_relu),
    "elu, 4 M": four_million(F.elu),
    "selu, 4 M": four_million(F.selu),
    "celu, 4 M": four_million(lambda x: F.celu(x, 2.0)),
    "softplus, 4 M": four_million(F.softplus),
    "log_sigmoid, 4 M": four_million(F.logsigmoid),
    "mish, 4 M": four_million(F.mish),
    "hard_swish, 4 M": four_million(F.hardswish),
    "hard_sigmoid, 4 M": four_million(F.hardsigmoid),
    "hard_tanh, 4 M": four_million(F.hardtanh),
    "softsign, 4 M": four_million(F.softsign),
    "prelu, 16×64×56×56": ([(16, 64, 56, 56), (64,)], F.prelu),
    "glu, 2048×3072": ([(2048, 3072)], lambda x: F.glu(x, 1)),
    "swiglu, 2048×3072": gated(F.silu),
    "geglu, 2048×3072": gated(F.gelu),
    "reglu, 2048×3072": gated(F.relu),
    "dropout_channels, 16×64×56×56": images(lambda x: F.dropout2d(x, 0.1)),
    "drop_path, 16×64×56×56": images(drop_path),
    "alpha_dropout, 4 M": four_million(lambda x: F.alpha_dropout(x, 0.1, True)),
    "gaussian_noise, 4 M": four_million(lambda x: x + 0.1 * torch.randn_like(x)),
    "add, 4 M": ([(4_000_000,)] * 2, torch.add),
    "mul, 4 M": ([(4_000_000,)] * 2, torch.mul),
    "sum, 4 M": four_million(torch.sum),
    "pow, 1 M": ([(1_000_000,)], lambda x: (x.detach() ** 2 + 0.1) ** x),
    "powf 3, 4 M": four_million(lambda x: x**3.0),
    "cross_entropy of distributions, 512×10000": (
        [(512, 10_000), (512, 10_000)],
        lambda x, t: F.cross_entropy(x, t.detach().softmax(1)),
    ),
    "nll_loss, 512×10000": (
        [(512, 10_000)],
        lambda x: F.nll_loss(x, torch.arange(512)),
    ),
    "binary_cross_entropy_with_logits, 4 M": pairs(F.binary_cross_entropy_with_logits),
    "mse, 4 M": pairs(F.mse_loss),
    "huber, 4 M": pairs(F.huber_loss),
    "scatter, 65536×32": (WRITTEN, lambda x, s: x.scatter(0, PLACES, s)),
    "scatter_add, 65536×32": (WRITTEN, lambda x, s: x.scatter_add(0, PLACES, s)),
    "max, 2048×1536": rows(lambda x: x.max(1).values),
    "min, 2048×1536": rows(lambda x: x.min(1).values),
    "amax, 2048×1536": rows(lambda x: x.amax(1)),
    "amin, 2048×1536": rows(lambda x: x.amin(1)),
    "cumsum, 2048×1536": rows(lambda x: x.cumsum(1)),
    "split and cat of 12, 2048×1536": rows(lambda x: torch.cat(x.split(128, 1), 1)),
    "chunk and cat of 3, 2048×1536": rows(lambda x: torch.cat(x.chunk(3, 1), 1)),
    "unbind and cat of 16, 128×16×1536": (
        [(128, 16, 1536)],
        lambda x: torch.cat(x.unbind(1), 1),
    ),
    "lstm, 32×64×256→256": recurrent(torch.lstm, 4),
    "gru, 32×64×256→256": recurrent(torch.gru, 3),
    "conv3d 3×3×3, 2×32×16×28×28": (
        [(2, 32, 16, 28, 28), (32, 32, 3, 3, 3)],
        lambda x, w: F.conv3d(x, w, padding=1),
    ),
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
    "batch_norm + relu + depthwise conv2d 3×3, 16×96×28×28": (
        [(16, 96, 28, 28), (96,), (96,), (96, 1, 3, 3)],
        lambda x, w, b, k: F.conv2d(
            F.relu(F.batch_norm(x, None, None, w, b, True)), k, padding=1, groups=96
        ),
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
    while sum(times) < SECONDS or len(times) < 10:
        start = time.perf_counter()
        torch.autograd.grad(fn(*inputs).sum(), inputs, allow_unused=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:]) * 1e3


def bench_program():
    """Where cargo puts the compiled bench."""
    command = ["cargo", "bench", "--workspace", "--bench", "kernels", "--no-run"]
    built = subprocess.run([*command, "--message-format=json"], check=True, cwd=ROOT, stdout=-1, text=True)
    lines = [json.loads(line) for line in built.stdout.splitlines()]
    return next(line["executable"] for line in reversed(lines) if line.get("executable"))


def rust_ms(program, bench):
    """Milliseconds of `KERNEL/ours` or `KERNEL/candle`; None where there is no such bench."""
    options = ["--warm-up-time", "0.2", "--measurement-time", str(SECONDS), "--noplot"]
    with tempfile.TemporaryDirectory() as home:
        run = [program, "--bench", "--exact", bench, *options]
        environment = os.environ | {"CRITERION_HOME": home}
        subprocess.run(run, check=True, env=environment, stdout=-3, stderr=-3)
        found = list(pathlib.Path(home).glob("*/*/new/estimates.json"))
        estimates = [json.loads(path.read_text()) for path in found]
    return estimates[0]["median"]["point_estimate"] / 1e6 if estimates else None


def main():
    program = bench_program()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| kernel, forward and backward | ours | candle | PyTorch | ours ÷ PyTorch |")
    print("|---|---:|---:|---:|---:|")
    asked = sys.argv[1:]
    for name, (shapes, fn) in KERNELS.items():
        if asked and not any(part in name for part in asked):
            continue
        rounds = [(rust_ms(program, f"{name}/ours"), torch_ms(shapes, fn)) for _ in range(3)]
        own, theirs = (statistics.median(times) for times in zip(*rounds))
        ratio = statistics.median(a / b for a, b in rounds)
        candles = rust_ms(program, f"{name}/candle")
        candles = f"{candles:.2f} ms" if candles else ""
        print(f"| {name} | {own:.2f} ms | {candles} | {theirs:.2f} ms | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
