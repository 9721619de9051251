"""Activations of several pieces, gated units, the learned slope."""

import torch.nn.functional as F


def halves(gate):
    def run(x):
        a, b = x.chunk(2, 1)
        return gate(a) * b

    return run


CASES = {
    "leaky_relu": ([(3, 7)], F.leaky_relu),
    "leaky_relu of a transposed input": ([(3, 5)], lambda x: F.leaky_relu(x.T, -0.5)),
    "elu": ([(3, 7)], F.elu),
    "elu with alpha": ([(3, 7)], lambda x: F.elu(x, 0.3)),
    "selu": ([(3, 7)], F.selu),
    "celu": ([(3, 7)], F.celu),
    "celu with alpha": ([(3, 7)], lambda x: F.celu(x, 2.5)),
    "softplus": ([(3, 7)], F.softplus),
    "softplus with threshold": ([(5, 7)], lambda x: F.softplus(x, 2.0, 1.5)),
    "log_sigmoid": ([(3, 7)], F.logsigmoid),
    "mish": ([(3, 7)], F.mish),
    "hard_swish": ([(5, 7)], lambda x: F.hardswish(3 * x)),
    # torch.nn.functional.hardsigmoid rounds 1/6 to f32 in its f64 backward.
    "hard_sigmoid": ([(5, 7)], lambda x: F.relu6(3 * x + 3) / 6),
    "hard_tanh": ([(5, 7)], lambda x: F.hardtanh(x, -0.5, 1.0)),
    "softsign": ([(3, 7)], F.softsign),
    "glu": ([(2, 6, 3)], lambda x: F.glu(x, 1)),
    "glu of the last": ([(3, 8)], lambda x: F.glu(x, 1)),
    "swiglu": ([(3, 8)], halves(F.silu)),
    "geglu": ([(3, 8)], halves(F.gelu)),
    "reglu": ([(3, 8)], halves(F.relu)),
    "prelu of one slope": ([(3, 7), (1,)], F.prelu),
    "prelu of channels": ([(2, 3, 2, 5), (3,)], F.prelu),
    "prelu of columns": ([(4, 3), (3,)], F.prelu),
}
