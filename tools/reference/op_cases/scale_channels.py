"""A factor for every channel."""


def scale(x, factors):
    return x * factors.reshape(factors.shape + (1,) * (x.ndim - 2))


CASES = {
    "scale_channels of images": ([(2, 3, 5, 7)], lambda x: scale(x, x.mean((2, 3)))),
    "scale_channels of signals": ([(2, 3, 35), (2, 3)], scale),
    "scale_channels of vectors": ([(4, 3), (4, 3)], scale),
    "scale_channels of transposed inputs": (
        [(3, 2, 5), (3, 2)],
        lambda x, s: scale(x.transpose(0, 1), s.transpose(0, 1)),
    ),
}
