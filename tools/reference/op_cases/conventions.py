"""Where a gradient is a convention and no derivative: kinks, ties, rows that are left out."""

import torch
import torch.nn.functional as F

IDS = torch.tensor([[1, 4, 1], [0, 5, 4]])
SIGNS = torch.tensor([1.0 if i % 3 == 0 else -1.0 for i in range(77)]).double().view(7, 11)


def whole(x):
    """Three times the input rounded to whole numbers, with the gradient of what was rounded."""
    x = 3 * x
    return x + (x.round() - x).detach()


def kink(fn, shape=(5, 7)):
    return [shape], lambda x: fn(whole(x))


def pair(fn, **options):
    return [(7, 11), (7, 11)], lambda x, t: fn(whole(x), whole(t), reduction="sum", **options)


def clamped_gaussian_nll(x, variance):
    """torch's gaussian_nll_loss, which refuses a negative variance."""
    clamped = variance.clone()
    with torch.no_grad():
        clamped.clamp_(min=0.5)
    return (0.5 * (clamped.log() + x**2 / clamped)).sum()


CASES = {
    "relu at its kink": kink(F.relu),
    "relu6 at its kinks": kink(F.relu6),
    "leaky_relu at its kink": kink(F.leaky_relu),
    "elu at its kink": kink(lambda x: F.elu(x, 0.5)),
    "selu at its kink": kink(F.selu),
    "celu at its kink": kink(lambda x: F.celu(x, 2.0)),
    "softplus at its threshold": kink(lambda x: F.softplus(x, 2.0, 4.0)),
    "hard_swish at its kinks": kink(F.hardswish),
    # torch.nn.functional.hardsigmoid rounds 1/6 to f32 in its f64 backward.
    "hard_sigmoid at its kinks": kink(lambda x: F.relu6(x + 3) / 6),
    "hard_tanh at its kinks": kink(lambda x: F.hardtanh(x, -1.0, 2.0)),
    "softsign at zero": kink(F.softsign),
    "prelu at its kink": ([(5, 7), (7,)], lambda x, w: F.prelu(whole(x), w)),
    "prelu of one slope at its kink": ([(5, 7), (1,)], lambda x, w: F.prelu(whole(x), w)),
    "embedding with a padding row": ([(6, 3)], lambda w: F.embedding(IDS, w, 4)),
    "max of equals": kink(lambda x: x.max(1).values, (4, 9)),
    "min of equals": kink(lambda x: x.min(0).values, (9, 4)),
    "amax of equals": kink(lambda x: x.amax(1), (4, 9)),
    "amin of equals": kink(lambda x: x.amin(0), (9, 4)),
    "max_pool1d of equals": kink(lambda x: F.max_pool1d(x, 2), (2, 3, 9)),
    "max_pool2d of equals": kink(lambda x: F.max_pool2d(x, 3, (2, 1), 1), (2, 3, 7, 6)),
    "adaptive_max_pool2d of equals": kink(
        lambda x: F.adaptive_max_pool2d(x, (3, 4)), (2, 3, 7, 6)
    ),
    "l1 at its kink": pair(F.l1_loss),
    "smooth_l1 at its kinks": pair(F.smooth_l1_loss),
    "smooth_l1 without a parabola at its kink": pair(F.smooth_l1_loss, beta=0.0),
    "huber at its kinks": pair(F.huber_loss, delta=2.0),
    "hinge_embedding at its kinks": (
        [(7, 11)],
        lambda x: F.hinge_embedding_loss(whole(x), SIGNS, margin=2.0, reduction="sum"),
    ),
    "margin_ranking at its kink": (
        [(7, 11)],
        lambda x: F.margin_ranking_loss(
            whole(x), torch.zeros_like(x), SIGNS, margin=1.0, reduction="sum"
        ),
    ),
    "gaussian_nll of clamped variances": ([(7, 11), (7, 11)], clamped_gaussian_nll),
}
