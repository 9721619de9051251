"""Cases of tests/ops/batch_norm_conv2d.rs."""

import torch
import torch.nn.functional as F

EPS = 1e-3


def convolve(x, w, b, stride, padding, dilation, groups):
    top, bottom, left, right = padding
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, w, b, stride, 0, dilation, groups)


def case(shape, weight, activation, given=False, bias=False, groups=3, padding=(1,) * 4,
         stride=1, dilation=1):
    channels, outputs = shape[1], weight[0]
    shapes = [shape, (channels,), (channels,), weight] + [(outputs,)] * bias

    def run(x, gamma, beta, w, b=None):
        if given:
            mean = 0.1 * torch.arange(channels, dtype=x.dtype) - 0.2
            y = F.batch_norm(x, mean, mean + 1, gamma, beta, False, 0.1, EPS)
        else:
            y = F.batch_norm(x, None, None, gamma, beta, True, 0.1, EPS)
        return convolve(activation(y), w, b, stride, padding, dilation, groups)

    return shapes, run


def pointwise(shape, weight, groups=1, activation=F.relu6, given=False):
    return case(shape, weight, activation, given, groups=groups, padding=(0,) * 4)


CASES = {
    "batch_norm_conv2d": case((2, 3, 5, 6), (3, 1, 3, 3), F.relu6),
    "batch_norm_conv2d stride 2": case((3, 3, 7, 9), (3, 1, 3, 3), F.relu6, stride=2),
    "batch_norm_conv2d of any geometry": case(
        (2, 3, 9, 8), (3, 1, 2, 4), F.relu6, padding=(1, 0, 0, 2), stride=(1, 3), dilation=(2, 1)
    ),
    "batch_norm_conv2d wide": case((2, 3, 4, 70), (3, 1, 3, 3), F.relu6),
    "batch_norm_conv2d, given": case((2, 3, 5, 6), (3, 1, 3, 3), F.relu, given=True),
    "batch_norm_conv2d, dense with bias": case(
        (2, 3, 5, 6), (4, 3, 3, 3), lambda y: y, bias=True, groups=1, padding=(0,) * 4
    ),
    "batch_norm_conv2d, strided": case((2, 4, 7, 6), (6, 2, 3, 3), F.relu6, groups=2, stride=2),
    "batch_norm_conv2d, 1×1": pointwise((5, 3, 3, 3), (4, 3, 1, 1)),
    "batch_norm_conv2d, 1×1 grouped": pointwise((2, 4, 8, 7), (6, 2, 1, 1), 2),
    "batch_norm_conv2d, 1×1 large": pointwise((2, 2, 21, 20), (3, 2, 1, 1)),
    "batch_norm_conv2d, 1×1 given": pointwise(
        (3, 3, 5, 6), (5, 3, 1, 1), activation=F.relu, given=True
    ),
}
