"""Convolution, batch normalisation, linear, cross-entropy, pooling, sums."""

import torch
import torch.nn.functional as F

TARGETS = torch.tensor([0, 4, 2, 2])
MEAN = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64)
VARIANCE = torch.tensor([1.0, 0.5, 2.0, 0.1], dtype=torch.float64)
ACTIVATIONS = {"": lambda y: y, ", relu": F.relu, ", relu6": F.relu6}


def conv(x, w, stride=1, padding=(0, 0, 0, 0), dilation=1, groups=1):
    """A convolution whose padding is (top, bottom, left, right)."""
    top, bottom, left, right = padding

    def fn(x, w):
        return F.conv2d(F.pad(x, (left, right, top, bottom)), w, None, stride, 0, dilation, groups)

    return [x, w], fn


def batch_norm(activation):
    return [(3, 4, 5, 2), (4,), (4,)], lambda x, w, b: activation(
        F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3)
    )


def batch_norm_and(activation):
    """With a residual before the activation."""
    return [(3, 4, 5, 2), (4,), (4,), (3, 4, 5, 2)], lambda x, w, b, r: activation(
        F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3) + r
    )


def batch_norm_with_and(activation):
    return [(3, 4, 17), (4,), (4,), (3, 4, 17)], lambda x, w, b, r: activation(
        F.batch_norm(x, MEAN, VARIANCE, w, b, False, 0.1, 1e-3) + r
    )


def batch_norm_with(activation):
    return [(3, 4, 17), (4,), (4,)], lambda x, w, b: activation(
        F.batch_norm(x, MEAN, VARIANCE, w, b, False, 0.1, 1e-3)
    )


CASES = {
    "conv2d pointwise": conv((2, 3, 5, 4), (4, 3, 1, 1)),
    "conv2d pointwise, large plane": conv((2, 2, 21, 23), (3, 2, 1, 1)),
    "conv2d pointwise, stride 2": conv((3, 2, 5, 4), (4, 2, 1, 1), 2),
    "conv2d 3×3, stride 2, odd padding": conv((3, 2, 7, 6), (4, 2, 3, 3), 2, (0, 1, 1, 0)),
    "conv2d rectangular, dilated, strided": conv(
        (2, 2, 9, 8), (3, 2, 3, 2), (1, 2), (2, 0, 0, 3), (2, 3)
    ),
    "conv2d grouped": conv((2, 4, 5, 5), (6, 2, 3, 3), 1, (1,) * 4, 1, 2),
    "conv2d depthwise with a multiplier": conv((2, 2, 4, 5), (4, 1, 3, 3), 1, (1,) * 4, 1, 2),
    "conv2d padding wider than the kernel": conv((1, 1, 2, 2), (1, 1, 2, 2), 1, (3, 2, 4, 3)),
    "linear": ([(2, 3, 5), (4, 5), (4,)], F.linear),
    "linear without bias": ([(3, 5), (4, 5)], F.linear),
    "linear of a transposed input": ([(5, 3), (4, 5)], lambda x, w: F.linear(x.T, w)),
    "linear, relu": ([(2, 3, 5), (4, 5), (4,)], lambda x, w, b: F.relu(F.linear(x, w, b))),
    "linear_gelu": ([(2, 3, 5), (4, 5), (4,)], lambda x, w, b: F.gelu(F.linear(x, w, b))),
    "linear, relu6": ([(7, 5), (19, 5), (19,)], lambda x, w, b: F.relu6(F.linear(x * 4, w, b))),
    "linear without bias, relu": ([(3, 5), (4, 5)], lambda x, w: F.relu(F.linear(x, w))),
    "matmul": ([(3, 5), (5, 4)], torch.matmul),
    "matmul of a batch": ([(2, 3, 5), (2, 5, 4)], torch.matmul),
    "matmul with one right side": ([(2, 3, 5), (5, 4)], torch.matmul),
    "matmul with broadcast batches": ([(2, 1, 3, 5), (3, 5, 4)], torch.matmul),
    "matmul with a transposed side": ([(2, 3, 5), (2, 4, 5)], lambda a, b: a @ b.mT),
    "matmul of long rows": ([(1, 9, 70), (2, 70, 3)], torch.matmul),
    "global_avg_pool": ([(2, 3, 4, 5)], lambda x: x.mean((2, 3))),
    "global_avg_pool of signals": ([(2, 3, 37)], lambda x: x.mean(2)),
    "global_avg_pool of volumes": ([(2, 3, 2, 4, 5)], lambda x: x.mean((2, 3, 4))),
    "cross_entropy": ([(4, 5)], lambda x: F.cross_entropy(x * 5, TARGETS, reduction="none")),
    "cross_entropy smoothed": (
        [(4, 5)],
        lambda x: F.cross_entropy(x, TARGETS, reduction="none", label_smoothing=0.1),
    ),
    "add": ([(3, 5), (3, 5)], torch.add),
    "add of a tensor to itself": ([(3, 5)], lambda x: x + x),
    "sum": ([(3, 5)], torch.sum),
    "an op used twice": (
        [(2, 3, 5, 4), (3, 3, 1, 1)],
        lambda x, w: F.relu6(F.conv2d(F.conv2d(x, w), w) + F.conv2d(x, w)),
    ),
}
for name, kernel, stride, dilation, padding in [
    ("depthwise 3×3", (3, 3), (1, 1), (1, 1), (1,) * 4),
    ("depthwise 5×5 stride 2, SAME", (5, 5), (2, 2), (1, 1), (1, 2, 2, 2)),
    ("depthwise 3×3 stride (2, 3)", (3, 3), (2, 3), (1, 1), (0, 1, 1, 1)),
    ("depthwise 2×3 dilated", (2, 3), (1, 2), (3, 2), (1, 0, 0, 2)),
    ("depthwise 1×1", (1, 1), (1, 1), (1, 1), (0,) * 4),
    ("depthwise 4×7", (4, 7), (1, 1), (1, 1), (3,) * 4),
]:
    CASES[name] = conv((2, 3, 9, 7), (3, 1, *kernel), stride, padding, dilation, 3)
for suffix, activation in ACTIVATIONS.items():
    CASES[f"batch_norm{suffix}"] = batch_norm(activation)
    CASES[f"batch_norm_with{suffix}"] = batch_norm_with(activation)
    if suffix != ", relu6":
        CASES[f"batch_norm, residual{suffix}"] = batch_norm_and(activation)
        CASES[f"batch_norm_with, residual{suffix}"] = batch_norm_with_and(activation)
    CASES[f"activation{suffix}"] = ([(3, 5)], lambda x, f=activation: f(x * 4))
