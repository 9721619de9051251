"""Slices, scattering, extrema, running sums, powers."""

import torch


def index(*rows):
    return torch.tensor(rows)


def sum_of(parts):
    return sum((i + 1) * part for i, part in enumerate(parts))


def split(x):
    parts = x.split([1, 3, 2], 1)
    return torch.cat([parts[2], 2 * parts[1]], 1)


def chunk(x):
    parts = x.chunk(2)
    return torch.cat([3 * parts[1], parts[0]])


WHOLE = (torch.arange(15) % 5 - 1.0).double().view(3, 5)

CASES = {
    "narrow of the second": ([(3, 5)], lambda x: x.narrow(1, 1, 3)),
    "narrow of the first": ([(5, 3)], lambda x: x.narrow(0, 3, 2)),
    "split": ([(2, 6, 3)], split),
    "split of a transposed input": ([(6, 2)], lambda x: x.T.split([3, 3], 1)[0] * x.T.split([3, 3], 1)[1]),
    "chunk": ([(5, 4)], chunk),
    "unbind": ([(3, 4, 2)], lambda x: sum_of(x.unbind(1))),
    "transpose": ([(3, 4, 2)], lambda x: x.transpose(0, 2)),
    "reshape of a transposed input": ([(3, 4)], lambda x: x.T.reshape(2, -1)),
    "flatten_from the second": ([(3, 4, 2)], lambda x: x.flatten(1)),
    "mul": ([(3, 5), (3, 5)], torch.mul),
    "mul of a tensor with itself": ([(3, 5)], lambda x: x * x),
    "scale": ([(3, 5)], lambda x: -1.5 * x),
    "scale by 0": ([(3, 5)], lambda x: 0.0 * x),
    "cat": ([(2, 3), (2, 1), (2, 2)], lambda a, b, c: torch.cat([a, b, c, b], 1)),
    "scatter": ([(4, 3), (2, 3)], lambda x, s: x.scatter(0, index([0, 3, 1], [2, 1, 0]), s)),
    "scatter along the last": ([(2, 5), (2, 3)], lambda x, s: x.scatter(1, index([0, 3, 1], [2, 1, 4]), s)),
    "scatter_add": ([(4, 3), (2, 3)], lambda x, s: x.scatter_add(0, index([0, 3, 1], [0, 1, 0]), s)),
    "scatter_add along the last": (
        [(2, 5), (2, 3)],
        lambda x, s: x.scatter_add(1, index([3, 3, 3], [2, 1, 2]), s),
    ),
    "max over the last": ([(3, 5)], lambda x: x.max(1).values),
    "max over the middle": ([(2, 7, 3)], lambda x: x.max(1).values),
    "min over the first of a transposed input": ([(4, 6)], lambda x: x.T.min(0).values),
    "amax over the middle": ([(2, 7, 3)], lambda x: x.amax(1)),
    "amin over the last": ([(3, 5)], lambda x: x.amin(1)),
    "cumsum over the last": ([(3, 7)], lambda x: x.cumsum(1)),
    "cumsum over the middle": ([(2, 5, 3)], lambda x: x.cumsum(1)),
    "cumsum of a transposed input": ([(5, 3)], lambda x: x.T.cumsum(1)),
    "pow of any base": ([(3, 5)], lambda x: x**WHOLE),
    "pow of a positive base": ([(3, 5), (3, 5)], lambda x, y: (x * x + 0.5) ** y),
    "pow with a row of exponents": ([(3, 5), (5,)], lambda x, y: (x * x + 0.5) ** y),
    "powf 3": ([(3, 5)], lambda x: x**3.0),
    "powf 2": ([(3, 5)], lambda x: x**2.0),
    "powf of a root": ([(3, 5)], lambda x: (x * x + 0.5) ** -0.5),
}
