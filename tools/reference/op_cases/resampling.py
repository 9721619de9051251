"""Interpolation and pixel shuffling."""

import torch.nn.functional as F

X, SIGNAL = (2, 3, 5, 4), (2, 3, 5)


def to(size, mode, corners=None):
    return [X], lambda x: F.interpolate(x, size, mode=mode, align_corners=corners)


def by(factors, mode, corners=None):
    return [X], lambda x: F.interpolate(x, None, factors, mode=mode, align_corners=corners)


def signal(size, mode, corners=None):
    return [SIGNAL], lambda x: F.interpolate(x, size, mode=mode, align_corners=corners)


def used_twice(x):
    large = F.interpolate(x, None, 2, mode="nearest")
    return F.interpolate(large, (4, 5), mode="bilinear") + x


CASES = {
    "interpolate nearest, doubled": to((10, 8), "nearest"),
    "interpolate nearest, uneven": to((7, 3), "nearest"),
    "interpolate nearest-exact, uneven": to((3, 7), "nearest-exact"),
    "interpolate bilinear, doubled": to((10, 8), "bilinear", False),
    "interpolate bilinear, uneven": to((3, 9), "bilinear", False),
    "interpolate bilinear to one": to((1, 1), "bilinear", False),
    "interpolate bilinear, corners": to((9, 7), "bilinear", True),
    "interpolate bilinear, corners, to one": to((1, 6), "bilinear", True),
    "interpolate bicubic": to((7, 9), "bicubic", False),
    "interpolate bicubic, smaller": to((3, 2), "bicubic", False),
    "interpolate bicubic, corners": to((8, 3), "bicubic", True),
    "interpolate area": to((3, 7), "area"),
    "interpolate to the same size": to((5, 4), "bilinear", False),
    "interpolate nearest by factors": by((2.3, 0.6), "nearest"),
    "interpolate bilinear by factors": by((1.7, 0.6), "bilinear", False),
    "interpolate bilinear by factors, corners": by((1.7, 0.6), "bilinear", True),
    "interpolate nearest-exact by factors": by((0.6, 2.3), "nearest-exact"),
    "interpolate bicubic by factors": by((1.7, 0.6), "bicubic", False),
    "interpolate bicubic by factors, corners": by((0.6, 1.7), "bicubic", True),
    "interpolate area by factors": by((1.7, 0.6), "area"),
    "interpolate nearest of a signal": signal(8, "nearest"),
    "interpolate nearest-exact of a signal": signal(7, "nearest-exact"),
    "interpolate area of a signal": signal(3, "area"),
    "interpolate_by of a signal": (
        [SIGNAL],
        lambda x: F.interpolate(x, None, 1.4, mode="linear", align_corners=False),
    ),
    "interpolate linear of a signal": signal(8, "linear", False),
    "interpolate linear of a signal, corners": signal(3, "linear", True),
    "interpolate of a transposed input": (
        [X],
        lambda x: F.interpolate(x.transpose(2, 3), (6, 6), mode="bilinear"),
    ),
    "interpolate of an input used twice": ([(2, 3, 4, 5)], used_twice),
    "pixel_shuffle": ([(2, 18, 2, 3)], lambda x: F.pixel_shuffle(x, 3)),
    "pixel_unshuffle": ([(2, 3, 4, 6)], lambda x: F.pixel_unshuffle(x, 2)),
    "pixel_shuffle of a transposed input": (
        [(2, 4, 2, 3)],
        lambda x: F.pixel_shuffle(x.transpose(2, 3), 2),
    ),
}
