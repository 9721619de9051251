"""Convolutions of signals, transposed convolutions, and the bias of all of them."""

import torch.nn.functional as F


def biased(x, w, padding=0, groups=1):
    return [x, w, w[:1]], lambda x, w, b: F.conv2d(x, w, b, 1, padding, 1, groups)


def signal(x, w, stride=1, padding=(0, 0), dilation=1, groups=1):
    """A convolution whose padding is (before, after)."""
    return [x, w, w[:1]], lambda x, w, b: F.conv1d(
        F.pad(x, padding), w, b, stride, 0, dilation, groups
    )


def grown(convolution, x, w, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return [x, w, (w[1] * groups,)], lambda x, w, b: convolution(
        x, w, b, stride, padding, output_padding, groups, dilation
    )


def cut(y, top, bottom, left, right):
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def volume(x, w, *options):
    return [x, w, w[:1]], lambda x, w, b: F.conv3d(x, w, b, *options)


CASES = {
    "conv3d": volume((2, 2, 4, 3, 5), (3, 2, 2, 2, 3)),
    "conv3d of every option": volume(
        (2, 4, 7, 4, 5), (2, 2, 3, 2, 3), (2, 1, 2), (2, 1, 0), (2, 1, 2), 2
    ),
    "conv3d depthwise, stride beyond the kernel": volume(
        (2, 3, 5, 3, 3), (3, 1, 1, 2, 2), (3, 1, 1), 0, 1, 3
    ),
    "conv3d of a transposed input": (
        [(2, 3, 4, 3, 2), (2, 2, 3, 2, 2)],
        lambda x, w: F.conv3d(x.transpose(1, 4), w),
    ),
    "conv2d bias, pointwise": biased((2, 3, 5, 4), (4, 3, 1, 1)),
    "conv2d bias, large plane": biased((2, 2, 21, 20), (3, 2, 1, 1)),
    "conv2d bias, grouped": biased((2, 4, 5, 5), (6, 2, 3, 3), 1, 2),
    "conv2d bias, grouped, large plane": biased((1, 4, 21, 20), (4, 2, 1, 1), 0, 2),
    "conv2d bias, depthwise": biased((2, 3, 5, 7), (3, 1, 3, 3), 1, 3),
    "conv2d, same padding of an even kernel": (
        [(2, 2, 5, 7), (3, 2, 4, 3), (3,)],
        lambda x, w, b: F.conv2d(x, w, b, padding="same", dilation=(1, 2)),
    ),
    "conv2d bias, transposed input": (
        [(2, 5, 4, 3), (2, 3, 2, 2), (2,)],
        lambda x, w, b: F.conv2d(x.permute(0, 3, 1, 2), w, b),
    ),
    "conv1d": signal((2, 3, 9), (4, 3, 3)),
    "conv1d without bias": ([(2, 3, 9), (4, 3, 3)], F.conv1d),
    "conv1d pointwise": signal((3, 2, 7), (5, 2, 1)),
    "conv1d, stride 2, odd padding": signal((3, 2, 8), (4, 2, 3), 2, (0, 1)),
    "conv1d dilated, strided, grouped": signal((2, 4, 13), (6, 2, 3), 3, (2, 4), 2, 2),
    "conv1d depthwise, dilated": signal((2, 3, 11), (3, 1, 5), 1, (4, 3), 2, 3),
    "conv1d, same padding of an even kernel": (
        [(2, 2, 7), (3, 2, 4), (3,)],
        lambda x, w, b: F.conv1d(x, w, b, padding="same"),
    ),
    "conv1d of a transposed input": (
        [(2, 9, 3), (4, 3, 3)],
        lambda x, w: F.conv1d(x.transpose(1, 2), w),
    ),
    "conv_transpose1d without bias": ([(2, 3, 5), (3, 4, 3)], F.conv_transpose1d),
    "conv_transpose2d without bias": ([(2, 3, 4, 5), (3, 2, 3, 3)], F.conv_transpose2d),
    "conv_transpose2d, asymmetric padding": (
        [(2, 2, 4, 5), (2, 3, 3, 3), (3,)],
        lambda x, w, b: cut(F.conv_transpose2d(x, w, b, 2), 0, 1, 2, 0),
    ),
    "conv_transpose2d of a transposed input": (
        [(2, 4, 5, 3), (3, 2, 2, 2)],
        lambda x, w: F.conv_transpose2d(x.permute(0, 3, 1, 2), w),
    ),
}
for suffix, x, w, options in [
    ("", (2, 3, 5), (3, 4, 3), ()),
    (" pointwise", (2, 3, 7), (3, 2, 1), ()),
    (" of every option", (2, 4, 5), (4, 3, 3), (3, 2, 2, 2, 2)),
    (" depthwise", (2, 3, 5), (3, 1, 4), (2, 1, 1, 3)),
]:
    CASES[f"conv_transpose1d{suffix}"] = grown(F.conv_transpose1d, x, w, *options)
# Stride, padding, output padding, groups, dilation.
for suffix, x, w, options in [
    ("", (2, 3, 4, 5), (3, 2, 3, 2), ()),
    (" pointwise", (2, 3, 4, 5), (3, 2, 1, 1), ()),
    (" pointwise, large plane", (1, 4, 21, 20), (4, 1, 1, 1), (1, 0, 0, 2)),
    (", stride beyond the kernel", (2, 2, 3, 4), (2, 3, 1, 2), ((2, 3), 0, (1, 2))),
    (" doubling", (3, 2, 4, 3), (2, 4, 4, 4), (2, 1)),
    (" of every option", (2, 4, 4, 3), (4, 3, 3, 2), ((2, 3), (1, 2), (1, 2), 2, (2, 3))),
    (", output padding below the dilation", (2, 2, 3, 4), (2, 2, 1, 2), (1, 0, (2, 1), 1, (3, 2))),
    (", output padding of a 1×1 kernel", (2, 2, 3, 4), (2, 3, 1, 1), (1, 0, 1, 1, 2)),
    (" depthwise", (2, 3, 4, 5), (3, 1, 3, 4), ((2, 3), (1, 2), (1, 0), 3, (2, 1))),
    (", padding beyond the kernel", (2, 2, 5, 6), (2, 2, 2, 1), (1, (2, 1))),
    (" depthwise, stride beyond the kernel", (2, 3, 3, 2), (3, 1, 1, 2), (3, 0, (2, 1), 3)),
]:
    CASES[f"conv_transpose2d{suffix}"] = grown(F.conv_transpose2d, x, w, *options)
