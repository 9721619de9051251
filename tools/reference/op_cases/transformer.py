"""Layer and RMS normalisation, softmax, embedding, smooth activations."""

import torch
import torch.nn.functional as F

IDS = torch.tensor([[1, 4, 1], [0, 5, 4]])


def layer_norm(eps):
    return lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, eps)


def rms_norm(eps):
    return lambda x, w: F.rms_norm(x, x.shape[-1:], w, eps)


CASES = {
    "layer_norm": ([(2, 3, 5), (5,), (5,)], layer_norm(1e-5)),
    "layer_norm of long rows": ([(3, 37), (37,), (37,)], layer_norm(1e-3)),
    "layer_norm of many rows": ([(67, 4), (4,), (4,)], layer_norm(0.1)),
    "layer_norm of a transposed input": (
        [(16, 3), (16,), (16,)],
        lambda x, w, b: layer_norm(1e-5)(x.T, w, b),
    ),
    "rms_norm": ([(2, 3, 5), (5,)], rms_norm(1e-5)),
    "rms_norm of long rows": ([(35, 33), (33,)], rms_norm(0.1)),
    "softmax": ([(3, 7)], lambda x: x.softmax(1)),
    "softmax over the middle": ([(2, 5, 3)], lambda x: x.softmax(1)),
    "softmax of a vector": ([(7,)], lambda x: x.softmax(0)),
    "log_softmax": ([(3, 7)], lambda x: x.log_softmax(1)),
    "log_softmax over the first": ([(4, 3)], lambda x: x.log_softmax(0)),
    "sigmoid": ([(5, 7)], lambda x: (3 * x).sigmoid()),
    "tanh": ([(5, 7)], lambda x: (3 * x).tanh()),
    "silu": ([(5, 7)], lambda x: F.silu(3 * x)),
    "gelu": ([(5, 7)], lambda x: F.gelu(3 * x)),
    "gelu_tanh": ([(5, 7)], lambda x: F.gelu(3 * x, approximate="tanh")),
    "embedding": ([(6, 3)], lambda w: F.embedding(IDS, w)),
    "embedding of one row of ids": ([(6, 3)], lambda w: F.embedding(torch.tensor([0, 4, 0, 5]), w)),
}
