"""Padding in every mode."""

import torch.nn.functional as F

X, SIGNAL = (2, 3, 4, 5), (2, 3, 6)


def pad(shape, sides, mode="constant", value=None):
    return [shape], lambda x: F.pad(x, sides, mode, value)


CASES = {
    "pad constant": pad(X, (1, 2, 3, 0)),
    "pad constant of three dimensions": pad(X, (0, 1, 2, 0, 1, 1), value=-1.5),
    "pad constant, cutting": pad(X, (-1, 2, 1, -2), value=0.5),
    "pad constant, cutting alone": pad(X, (-1, -2), value=0.5),
    "pad reflect": pad(X, (4, 2, 1, 3), "reflect"),
    "pad reflect, cutting": pad(X, (2, -1, 0, 0), "reflect"),
    "pad reflect of a signal": pad(SIGNAL, (5, 1), "reflect"),
    "pad replicate": pad(X, (2, 7, 5, 0), "replicate"),
    "pad replicate of a signal": pad(SIGNAL, (1, 2), "replicate"),
    "pad circular": pad(X, (5, 2, 1, 4), "circular"),
    "pad circular of a signal": pad(SIGNAL, (1, 2), "circular"),
    "pad circular, cutting": pad(X, (-1, 2, 3, 0), "circular"),
    "pad of a transposed input": (
        [X],
        lambda x: F.pad(x.transpose(2, 3), (1, 2, 3, 1), "reflect"),
    ),
}
