"""Layer, RMS, group, instance, weight and spectral normalisation."""

import torch
import torch.nn.functional as F

EPS = 1e-5


def group(groups):
    return lambda x, w, b: F.group_norm(x, groups, w, b, EPS)


def wave(n):
    return (torch.arange(n, dtype=torch.float64) % 3) + 1


def spectral(dim):
    """torch's parametrization in evaluation, with its vectors replaced by ours."""

    def run(weight):
        module = torch.nn.utils.parametrizations._SpectralNorm(weight.detach(), dim=dim).eval()
        module._u = wave(module._u.numel())
        module._v = wave(module._v.numel())
        return module(weight)

    return run


def weight_norm(dim):
    """torch's parametrization; its dimension -1 means the whole."""
    return lambda v, g: torch.nn.utils.parametrizations._WeightNorm(dim)(g, v)


CASES = {
    "layer_norm over two dimensions": (
        [(3, 2, 5), (2, 5), (2, 5)],
        lambda x, w, b: F.layer_norm(x, (2, 5), w, b, EPS),
    ),
    "layer_norm without weights": ([(3, 7)], lambda x: F.layer_norm(x, (7,), None, None, EPS)),
    "layer_norm without bias": ([(3, 70), (70,)], lambda x, w: F.layer_norm(x, (70,), w, None, EPS)),
    "layer_norm without weight": ([(3, 7), (7,)], lambda x, b: F.layer_norm(x, (7,), None, b, EPS)),
    "rms_norm over two dimensions": ([(3, 2, 5), (2, 5)], lambda x, w: F.rms_norm(x, (2, 5), w, EPS)),
    "rms_norm without weight": ([(3, 7)], lambda x: F.rms_norm(x, (7,), None, EPS)),
    "add_layer_norm": (
        [(2, 3, 37), (2, 3, 37), (37,), (37,)],
        lambda x, r, w, b: F.layer_norm(x + r, (37,), w, b, EPS),
    ),
    "add_layer_norm without weights": ([(3, 7), (3, 7)], lambda x, r: F.layer_norm(x + r, (7,), None, None, EPS)),
    "add_layer_norm of transposed operands": (
        [(5, 3), (5, 3), (5,), (5,)],
        lambda x, r, w, b: F.layer_norm(x.T + r.T, (5,), w, b, EPS),
    ),
    "add_rms_norm": (
        [(2, 3, 37), (2, 3, 37), (37,)],
        lambda x, r, w: F.rms_norm(x + r, (37,), w, EPS),
    ),
    "add_rms_norm without weight": (
        [(3, 7), (3, 7)],
        lambda x, r: F.rms_norm(x + r, (7,), None, EPS),
    ),
    "group_norm": ([(2, 6, 3, 5), (6,), (6,)], group(3)),
    "group_norm of one group": ([(3, 4, 3), (4,), (4,)], group(1)),
    "group_norm of large planes": ([(2, 4, 7, 6), (4,), (4,)], group(2)),
    "group_norm of vectors": ([(5, 6), (6,), (6,)], group(2)),
    "group_norm of a transposed input": (
        [(3, 2, 4), (4,), (4,)],
        lambda x, w, b: group(2)(x.transpose(0, 1).transpose(1, 2), w, b),
    ),
    "group_norm without weights": ([(2, 4, 5)], lambda x: F.group_norm(x, 2, None, None, EPS)),
    "instance_norm": (
        [(2, 3, 3, 4), (3,), (3,)],
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=EPS),
    ),
    "instance_norm without weights": ([(2, 3, 35)], lambda x: F.instance_norm(x, eps=EPS)),
    "weight_norm": ([(4, 3, 5), (4, 1, 1)], weight_norm(0)),
    "weight_norm over the middle": ([(4, 3, 5), (1, 3, 1)], weight_norm(1)),
    "weight_norm of the whole": ([(3, 13), ()], weight_norm(None)),
    "spectral_norm": ([(4, 3, 2)], spectral(0)),
    "spectral_norm over the last": ([(2, 3, 4)], spectral(2)),
}
