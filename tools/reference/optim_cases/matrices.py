"""Rules with a matrix for each side: SOAP and Shampoo, from pytorch_optimizer."""

import inspect
import math
import textwrap
from importlib.metadata import version

import pytorch_optimizer.optimizer.soap as soap_source
import pytorch_optimizer.optimizer.utils.preconditioner as shampoo_source
import torch
from pytorch_optimizer import SOAP
from pytorch_optimizer.optimizer.shampoo import ScalableShampoo
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting
from pytorch_optimizer.optimizer.utils.partition import PreConditionerType

from .case import Cases

# No matrix of the first gradient lacks more than one rank, whose eigenvector LAPACK would be free to choose.
SHAPES = {"bias": [5], "conv": [2, 2, 4], "gain": [], "square": [3, 3], "tall": [4, 3], "wide": [3, 4]}

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


MERGE = soap_source.merge_small_dims


def merge_small_dims(shape, most):
    """As the authors' where everything fits into one dimension, which fails in pytorch_optimizer."""
    merged = MERGE(shape, most)
    return merged if len(merged) > 1 else [math.prod(shape)]


soap_source.merge_small_dims = merge_small_dims


class Soap(SOAP):
    def slots(self, param):
        state = self.state[param]
        slots = {name: state[name] for name in ["exp_avg", "exp_avg_sq"]}
        # A number that is merged has a matrix of one element, which does nothing.
        held = state["GG"] if param.dim() > 0 else []
        return {**slots, **{f"gg_{i}": gg for i, gg in enumerate(held) if len(gg) > 0}}


def without_rounding():
    text = textwrap.dedent(inspect.getsource(SOAP.get_orthogonal_matrix_qr))
    assert text.count("torch.float32)") == 1
    scope = dict(vars(soap_source))
    exec(text.replace("torch.float32)", "torch.float64)"), scope)
    return scope["get_orthogonal_matrix_qr"]


class ExactSoap(Soap):
    """pytorch_optimizer's but for the one cast."""

    get_orthogonal_matrix_qr = without_rounding()


QS = [f"q_{i}" for i in range(3)]
for label, options in {
    "soap": {"weight_decay": 0.0},
    "soap_all": {"lr": 0.01, "betas": (0.8, 0.9), "shampoo_beta": 0.7, "weight_decay": 0.1, "precondition_frequency": 3, "eps": 1e-4},
    "soap_dim": {"max_precondition_dim": 3, "normalize_gradient": True, "precondition_frequency": 2},
    "soap_merged": {"max_precondition_dim": 4, "merge_dims": True, "correct_bias": False},
    "soap_maximize": {"maximize": True, "precondition_frequency": 1},
}.items():
    case(label, "soap", ExactSoap, **options)
    # Eigenvectors have no sign.
    cases.leave_unchecked(label, *QS)
    # The reference's own f32 is up to 4e-6 from its f64: an eigenvector is off by 6e-8 times the largest eigenvalue
    # over the distance to the next.
    cases.tolerance(label, f32=1e-5)
case("soap_published", "soap", Soap, precondition_frequency=5)
cases.leave_unchecked("soap_published", *QS)
# Its QR is in f32 for f64 too.
cases.tolerance("soap_published", f32=1e-5, f64=1e-5)


def root(mat_g, p, ridge_epsilon, **_):
    """What Newton's iteration goes to."""
    values, vectors = torch.linalg.eigh(mat_g.double())
    values = values.clamp_min(0) + ridge_epsilon * values.amax().clamp_min(1e-16)
    return (vectors * values ** (-1 / p) @ vectors.t()).to(mat_g.dtype)


NEWTON = shampoo_source.compute_power_schur_newton
GRAFTS = {"none": "NONE", "sgd": "SGD", "ada_grad": "ADAGRAD", "rms_prop": "RMSPROP", "sqrt_n": "SQRTN"}


def shampoo(find_root):
    class Shampoo(ScalableShampoo):
        def __init__(self, params, graft="sgd", pre_conditioner_type="all", **options):
            graft, kind = LayerWiseGrafting[GRAFTS[graft]], PreConditionerType[pre_conditioner_type.upper()]
            super().__init__(params, graft_type=graft, pre_conditioner_type=kind, **options)

        def step(self):
            torch.manual_seed(0)  # of the power iteration
            shampoo_source.compute_power_schur_newton = find_root
            super().step()

        def slots(self, param):
            state = self.state[param]
            held, graft = state["pre_conditioner"], state["graft"]
            slots = {"momentum": state["momentum"], "graft_momentum": graft.momentum}
            if hasattr(graft, "statistics"):
                slots["graft_statistics"] = graft.statistics
            for name, matrices in [("statistics", held.statistics), ("preconditioners", held.pre_conditioners)]:
                if len(matrices) > 0:
                    slots[name] = torch.cat([matrix.flatten() for matrix in matrices])
            return slots

    return Shampoo


exact = shampoo(root)
# Vectors have no matrix there.
plain = {"skip_preconditioning_rank_lt": 2, "shape_interpretation": False}


def decays(kind, amount):
    return {"weight_decay": {kind: amount}, "decoupled_weight_decay": None}


case("shampoo", "shampoo", exact, skip_preconditioning_rank_lt=2, block_size=4, no_preconditioning_for_layers_with_dim_gt=100)
case(
    "shampoo_early", "shampoo", exact, **plain, lr=0.01, start_preconditioning_step=3, preconditioning_compute_steps=2,
    no_preconditioning_for_layers_with_dim_gt=260,
)
case(
    "shampoo_blocks", "shampoo", exact, decays("decoupled", 0.1), **plain, block_size=2, weight_decay=0.1, betas=(0.8, 0.9),
    decoupled_weight_decay=True, start_preconditioning_step=5, preconditioning_compute_steps=5, graft="rms_prop",
    no_preconditioning_for_layers_with_dim_gt=100,
)
# The reference's own f32 is 2e-6 from its f64: the root of 10⁻⁶ of the largest eigenvalue, a few roundings of f32.
cases.tolerance("shampoo_early", f32=1e-5)
# And 3e-6: blocks of two elements whose gradients are nearly parallel. In f64 two decompositions are 9e-12 apart there.
cases.tolerance("shampoo_blocks", f32=1e-5, f64=1e-10)
case(
    "shampoo_input", "shampoo", exact, decays("l2", 0.1), **plain, weight_decay=0.1, start_preconditioning_step=1,
    preconditioning_compute_steps=4, statistics_compute_steps=2, pre_conditioner_type="input", graft="ada_grad",
    nesterov=False, betas=(0.9, 0.95), no_preconditioning_for_layers_with_dim_gt=100,
)
case(
    "shampoo_output", "shampoo", exact, **plain, start_preconditioning_step=1, preconditioning_compute_steps=10,
    pre_conditioner_type="output", graft="sqrt_n", moving_average_for_momentum=True, matrix_eps=1e-3,
    no_preconditioning_for_layers_with_dim_gt=100,
)
case(
    "shampoo_merged", "shampoo", exact, skip_preconditioning_rank_lt=2, block_size=6, start_preconditioning_step=1,
    preconditioning_compute_steps=10, graft="none", inverse_exponent_override=3, maximize=True,
    moving_average_for_momentum=True, nesterov=False, no_preconditioning_for_layers_with_dim_gt=100,
)
case(
    "shampoo_newton", "shampoo", shampoo(NEWTON), **plain, start_preconditioning_step=1, preconditioning_compute_steps=10,
    no_preconditioning_for_layers_with_dim_gt=100,
)
# Newton's iteration ends 10⁻³ from the root at the most, and the graft takes what that does to the length away; it
# starts from a power iteration. Statistics are the same.
cases.tolerance("shampoo_newton", f32=1e-2, f64=1e-2)
