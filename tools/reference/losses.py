"""Losses in PyTorch, in f64, for crates/dl-core/tests/losses.rs.

Every loss runs on normal inputs and on multiples of 1/2, among which are ties and kinks. One
safetensors file holds

    <case>/input.<i>   <case>/output   <case>/cotangent   <case>/grad.<i>

where grad.<i> is the gradient of sum(output * cotangent).

Run: python tools/reference/losses.py        (torch 2.15, safetensors)
"""

import pathlib
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/losses.safetensors"
N, D = 24, 3
SIGNS = torch.tensor([1.0 if i % 3 == 0 else -1.0 for i in range(N)]).double()
COLUMNS = SIGNS.view(N, 1).expand(N, D)
FLAT, ROWS, IMAGES = (N, D), (N,), (2, 3, 4, 5)


def focal(x, t):
    """torchvision.ops.sigmoid_focal_loss."""
    t, p = t.sigmoid(), x.sigmoid()
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = loss * (1 - (p * t + (1 - p) * (1 - t))) ** 2
    return ((0.25 * t + 0.75 * (1 - t)) * loss).mean()


def dice(x, t):
    p, t = x.sigmoid().flatten(2), t.sigmoid().flatten(2)
    return (1 - (2 * (p * t).sum(2) + 1) / (p.sum(2) + t.sum(2) + 1)).mean()


# Name: shapes of the inputs, the loss, whether multiples of 1/2 are in its domain.
CASES = {
    "mse": ([FLAT] * 2, F.mse_loss, True),
    "l1": ([FLAT] * 2, F.l1_loss, True),
    "smooth_l1": ([FLAT] * 2, F.smooth_l1_loss, True),
    "smooth_l1 without a tip": ([FLAT] * 2, lambda x, t: F.smooth_l1_loss(x, t, beta=0.0), True),
    "huber": ([FLAT] * 2, lambda x, t: F.huber_loss(x, t, reduction="none", delta=1.5), True),
    "kl_div": (
        [FLAT] * 2,
        lambda x, t: F.kl_div(x.log_softmax(1), t.softmax(1), reduction="batchmean"),
        True,
    ),
    "kl_div of logarithms": (
        [FLAT] * 2,
        lambda x, t: F.kl_div(x, t, reduction="sum", log_target=True),
        True,
    ),
    "poisson_nll": ([FLAT] * 2, lambda x, t: F.poisson_nll_loss(x, t.exp(), full=True), True),
    "poisson_nll of rates": (
        [FLAT] * 2,
        lambda x, t: F.poisson_nll_loss(x.exp(), t, log_input=False),
        True,
    ),
    "gaussian_nll": (
        [FLAT] * 3,
        lambda x, t, v: F.gaussian_nll_loss(x, t, v.exp(), full=True, eps=0.5),
        True,
    ),
    "gaussian_nll of rows": (
        [FLAT, FLAT, ROWS],
        lambda x, t, v: F.gaussian_nll_loss(x, t, v.exp(), reduction="none"),
        True,
    ),
    "hinge_embedding": ([FLAT], lambda x: F.hinge_embedding_loss(x, COLUMNS), True),
    "margin_ranking": (
        [ROWS] * 2,
        lambda x, y: F.margin_ranking_loss(x, y, SIGNS, reduction="none"),
        True,
    ),
    "margin_ranking with a margin": (
        [ROWS] * 2,
        lambda x, y: F.margin_ranking_loss(x, y, SIGNS, margin=0.5),
        True,
    ),
    "cosine_embedding": (
        [FLAT] * 2,
        lambda x, y: F.cosine_embedding_loss(x, y, SIGNS, margin=0.25, reduction="none"),
        False,
    ),
    "triplet_margin": ([FLAT] * 3, F.triplet_margin_loss, True),
    "triplet_margin, swapped, norm 1": (
        [FLAT] * 3,
        lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=0.5, p=1.0, swap=True),
        False,
    ),
    "triplet_margin, norm 3": (
        [FLAT] * 3,
        lambda a, p, n: F.triplet_margin_loss(a, p, n, p=3.0, reduction="none"),
        True,
    ),
    "focal": ([FLAT] * 2, focal, True),
    "dice": ([IMAGES] * 2, dice, True),
}


def run(name, shapes, fn, halves):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    inputs = [normal(shape) for shape in shapes]
    if halves:
        inputs = [(x * 2).round() / 2 for x in inputs]
    inputs = [x.requires_grad_() for x in inputs]
    output = fn(*inputs)
    cotangent = normal(output.shape)
    grads = torch.autograd.grad(output, inputs, cotangent)
    tensors = {f"input.{i}": x for i, x in enumerate(inputs)}
    tensors |= {"output": output, "cotangent": cotangent}
    tensors |= {f"grad.{i}": g for i, g in enumerate(grads)}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


def main():
    tensors = {}
    for name, (shapes, fn, kinks) in CASES.items():
        tensors |= run(name, shapes, fn, False)
        if kinks:
            tensors |= run(f"{name}, halves", shapes, fn, True)
    save_file(tensors, OUT, metadata={"torch": torch.__version__})


if __name__ == "__main__":
    main()
