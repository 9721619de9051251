"""Losses of classes and of pairs of elements, with every reduction."""

import torch
import torch.nn.functional as F

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64)
ROWS = torch.tensor([[1.0], [2.0], [0.0], [0.5]], dtype=torch.float64)
SIGNS = torch.tensor([1.0 if i % 3 == 0 else -1.0 for i in range(77)]).double().view(7, 11)
REDUCTIONS = ["none", "mean", "sum"]


def classes(shape, ignored):
    """Classes that jump about, those of every fourth place ignored by -1."""
    i = torch.arange(torch.Size(shape).numel())
    found = (i * 7 + 3) % 5
    return (torch.where(i % 4 == 1, -1, found) if ignored else found).view(shape)


def softmax(t):
    return t.softmax(1)


def focal(x, t, alpha, gamma, reduction):
    """torchvision.ops.sigmoid_focal_loss, whose weight may be left out."""
    p = x.sigmoid()
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = loss * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    if alpha is not None:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    return loss.mean() if reduction == "mean" else loss


def pair(fn, prepare=lambda t: t):
    return [(7, 11), (7, 11)], lambda x, t: fn(x, prepare(t))


def binary(**weights):
    return [(4, 5), (4, 5)], lambda x, t: F.binary_cross_entropy_with_logits(
        x, t.sigmoid(), **weights
    )


CASES = {
    "binary_cross_entropy with weights of losses": binary(weight=WEIGHTS),
    "binary_cross_entropy with weights of positives": binary(pos_weight=WEIGHTS),
    "cross_entropy of one sample": ([(5,)], lambda x: F.cross_entropy(x, torch.tensor(3))),
    "cross_entropy of pixels, smoothed": (
        [(3, 5, 2, 3)],
        lambda x: F.cross_entropy(
            x, classes((3, 2, 3), True), WEIGHTS, None, -1, None, "none", 0.2
        ),
    ),
    "cross_entropy of pixels and distributions": (
        [(3, 5, 4), (3, 5, 4)],
        lambda x, t: F.cross_entropy(x, softmax(t), WEIGHTS, label_smoothing=0.2),
    ),
    "cross_entropy of transposed logits": (
        [(5, 7)],
        lambda x: F.cross_entropy((x * 5).T, classes((7,), False), reduction="sum"),
    ),
    "cross_entropy of many classes": (
        [(2, 37), (2, 37)],
        lambda x, t: F.cross_entropy(x, softmax(t), reduction="none"),
    ),
    "mse": pair(lambda x, t: F.mse_loss(x, t, reduction="none")),
    "mse mean": pair(F.mse_loss),
    "l1": pair(F.l1_loss),
    "smooth_l1": pair(lambda x, t: F.smooth_l1_loss(x, t, reduction="none", beta=0.7)),
    "smooth_l1 mean": pair(lambda x, t: F.smooth_l1_loss(x, t, beta=0.0)),
    "huber": pair(lambda x, t: F.huber_loss(x, t, reduction="sum", delta=1.3)),
    "kl_div": pair(lambda x, t: F.kl_div(x, t, reduction="batchmean"), softmax),
    "kl_div of logarithms": pair(
        lambda x, t: F.kl_div(x, t, log_target=True), lambda t: t.log_softmax(1)
    ),
    "poisson_nll": pair(
        lambda x, t: F.poisson_nll_loss(x, t, full=True), lambda t: 3 * t.sigmoid()
    ),
    "poisson_nll of rates": (
        [(7, 11), (7, 11)],
        lambda x, t: F.poisson_nll_loss(
            x.sigmoid(), t.sigmoid(), log_input=False, reduction="none"
        ),
    ),
    "gaussian_nll": pair(
        lambda x, t: F.gaussian_nll_loss(x, torch.zeros_like(x), t, full=True), torch.sigmoid
    ),
    "gaussian_nll without the constant": pair(
        lambda x, t: F.gaussian_nll_loss(x, torch.zeros_like(x), t, reduction="none"),
        torch.sigmoid,
    ),
    "poisson_nll without Stirling's term": pair(
        lambda x, t: F.poisson_nll_loss(x, t, reduction="sum"), lambda t: 3 * t.sigmoid()
    ),
    "poisson_nll of rates, full": pair(
        lambda x, t: F.poisson_nll_loss(x.sigmoid(), t, log_input=False, full=True, eps=0.1),
        lambda t: 3 * t.sigmoid(),
    ),
    "hinge_embedding": ([(7, 11)], lambda x: F.hinge_embedding_loss(x, SIGNS, margin=0.8)),
    "margin_ranking": (
        [(7, 11)],
        lambda x: F.margin_ranking_loss(x, torch.zeros_like(x), SIGNS, margin=0.5),
    ),
    "focal": pair(lambda x, t: focal(x, t, 0.25, 2.0, "mean"), torch.sigmoid),
    "focal without weight": pair(lambda x, t: focal(x, t, None, 1.5, "none"), torch.sigmoid),
}
for reduction in REDUCTIONS:
    for name, weight, smoothing in [
        ("cross_entropy weighted", WEIGHTS, 0.0),
        ("cross_entropy weighted and smoothed", WEIGHTS, 0.3),
        ("cross_entropy smoothed, some ignored", None, 0.3),
    ]:
        CASES[f"{name}, {reduction}"] = (
            [(7, 5)],
            lambda x, w=weight, s=smoothing, r=reduction: F.cross_entropy(
                x, classes((7,), True), w, None, -1, None, r, s
            ),
        )
    for name, weight, smoothing in [
        ("cross_entropy of distributions", None, 0.0),
        ("cross_entropy of distributions, weighted and smoothed", WEIGHTS, 0.3),
    ]:
        CASES[f"{name}, {reduction}"] = (
            [(7, 5), (7, 5)],
            lambda x, t, w=weight, s=smoothing, r=reduction: F.cross_entropy(
                x, softmax(t), w, reduction=r, label_smoothing=s
            ),
        )
    for name, weight in [("nll_loss", None), ("nll_loss weighted", WEIGHTS)]:
        CASES[f"{name}, {reduction}"] = (
            [(3, 5, 4)],
            lambda x, w=weight, r=reduction: F.nll_loss(
                x.log_softmax(1), classes((3, 4), True), w, None, -1, None, r
            ),
        )
    for name, rows, weight in [
        ("binary_cross_entropy", None, None),
        ("binary_cross_entropy weighted", ROWS, WEIGHTS),
    ]:
        CASES[f"{name}, {reduction}"] = (
            [(3, 4, 5), (3, 4, 5)],
            lambda x, t, w=rows, p=weight, r=reduction: F.binary_cross_entropy_with_logits(
                x * 4, t.sigmoid(), w, None, None, r, p
            ),
        )
