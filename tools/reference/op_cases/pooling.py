"""Pools over given and adaptive windows."""

import torch.nn.functional as F

X = (2, 3, 7, 6)


def pool(fn, shape, *args, **options):
    return [shape], lambda x: fn(x, *args, **options)


def transposed(fn, *args):
    return [X], lambda x: fn(x.transpose(2, 3), *args)


STEM = dict(kernel_size=3, stride=2, padding=1)
UNEVEN_MAX = dict(kernel_size=(2, 4), stride=(1, 3), padding=(0, 2), dilation=(2, 1))
UNEVEN_AVG = dict(kernel_size=(3, 5), stride=(1, 3), padding=(1, 2))
MAX, AVG = F.max_pool2d, F.avg_pool2d

CASES = {
    "max_pool2d 2×2": pool(MAX, (2, 3, 6, 8), 2),
    "max_pool2d 2×2 of odd sizes": pool(MAX, (2, 3, 7, 5), 2),
    "max_pool2d 2×2, ceil": pool(MAX, (2, 3, 7, 5), 2, ceil_mode=True),
    "max_pool2d 3×3 stride 2, padded": pool(MAX, (2, 3, 9, 8), **STEM),
    "max_pool2d 3×3 stride 2, padded, ceil": pool(MAX, X, **STEM, ceil_mode=True),
    "max_pool2d 3×3 stride 1": pool(MAX, X, 3, 1),
    "max_pool2d with gaps": pool(MAX, (2, 3, 9, 9), (1, 2), (4, 3)),
    "max_pool2d uneven, dilated": pool(MAX, X, **UNEVEN_MAX),
    "max_pool2d uneven, dilated, ceil": pool(MAX, X, **UNEVEN_MAX, ceil_mode=True),
    "max_pool2d dropping a window that starts in the padding": pool(
        MAX, (1, 2, 3, 5), 2, (2, 3), 1, ceil_mode=True
    ),
    "max_pool2d window larger than the image, ceil": pool(MAX, (2, 1, 3, 3), 4, 2, ceil_mode=True),
    "max_pool2d of a transposed input": transposed(MAX, 2),
    "max_pool2d twice of one input": ([X], lambda x: MAX(x, 3, 1) + MAX(x, 3, 1)),
    "max_pool1d": pool(F.max_pool1d, (2, 3, 9), 2),
    "max_pool1d padded, dilated, ceil": pool(
        F.max_pool1d, (2, 3, 10), 3, 2, 1, dilation=2, ceil_mode=True
    ),
    "avg_pool2d 2×2": pool(AVG, (2, 3, 6, 8), 2),
    "avg_pool2d 2×2 of odd sizes": pool(AVG, (2, 3, 7, 5), 2),
    "avg_pool2d 2×2, ceil": pool(AVG, (2, 3, 7, 5), 2, ceil_mode=True),
    "avg_pool2d 3×3 stride 2, padded": pool(AVG, X, **STEM),
    "avg_pool2d 3×3 stride 2, padded, ceil": pool(AVG, (2, 3, 8, 6), **STEM, ceil_mode=True),
    "avg_pool2d without the padding": pool(AVG, X, **STEM, count_include_pad=False),
    "avg_pool2d without the padding, ceil": pool(
        AVG, (2, 3, 8, 6), **STEM, ceil_mode=True, count_include_pad=False
    ),
    "avg_pool2d uneven": pool(AVG, X, **UNEVEN_AVG),
    "avg_pool2d with gaps": pool(AVG, (2, 3, 9, 9), (1, 2), (4, 3)),
    "avg_pool2d with a divisor": pool(AVG, X, **STEM, divisor_override=7),
    "avg_pool2d of a transposed input": transposed(AVG, 2),
    "avg_pool1d": pool(F.avg_pool1d, (2, 3, 9), 2),
    "avg_pool1d padded, ceil": pool(
        F.avg_pool1d, (2, 3, 10), 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "adaptive_avg_pool1d": pool(F.adaptive_avg_pool1d, (2, 3, 7), 3),
    "adaptive_max_pool1d": pool(F.adaptive_max_pool1d, (2, 3, 7), 3),
}
for suffix, size in [("one", 1), ("uneven windows", (3, 4)), ("a larger size", (9, 2))]:
    CASES[f"adaptive_avg_pool2d to {suffix}"] = pool(F.adaptive_avg_pool2d, X, size)
    CASES[f"adaptive_max_pool2d to {suffix}"] = pool(F.adaptive_max_pool2d, X, size)
