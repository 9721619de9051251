"""GaLore, from the authors' package: with the decomposition in the type of the parameter and with one sign for each
singular vector, as ours, and as it is."""

from importlib.metadata import version

import galore_torch.adamw
import torch
from galore_torch.galore_projector import GaLoreProjector

from .case import Cases

# No matrix lacks more than one rank, whose singular vector LAPACK would be free to choose.
SHAPES = {"bias": [5], "conv": [2, 3, 2], "gain": [], "square": [3, 3], "tall": [4, 3], "wide": [3, 4]}

cases = Cases()
case = cases.add
versions = {"galore-torch": version("galore-torch")}


def oriented(columns):
    """Each column with the sign that makes its largest component positive."""
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    return columns * largest.sign()


class Exact(GaLoreProjector):
    def get_orthogonal_matrix(self, weights, rank, type):
        u, _, vh = torch.linalg.svd(weights, full_matrices=False)
        left, right = oriented(u[:, :rank]), oriented(vh[:rank].t()).t()
        return {"left": left, "right": right, "full": [left, right]}[type]


def galore(projector):
    class GaLore(galore_torch.adamw.AdamW):
        def __init__(self, params, rank=128, update_proj_gap=200, scale=1.0, proj_type="std", maximize=False, **options):
            matrices = {"rank": rank, "update_proj_gap": update_proj_gap, "scale": scale, "proj_type": proj_type}
            matrices["params"] = [param for param in params if param.dim() == 2]
            others = {"params": [param for param in params if param.dim() != 2]}
            super().__init__([matrices, others], no_deprecation_warning=True, **options)
            self.maximize = maximize

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for param in group["params"]:
                    if self.maximize:
                        param.grad.neg_()
            galore_torch.adamw.GaLoreProjector = projector
            super().step()

        def slots(self, param):
            slots = dict(self.state[param])
            if projector := slots.pop("projector", None):
                held = projector.ortho_matrix
                if not isinstance(held, list):
                    held = [held, None] if held.shape[0] == param.shape[0] and self.is_left(param) else [None, held]
                slots["ortho_left"], slots["ortho_right"] = held
            return slots

        def is_left(self, param):
            kind, tall = self.param_groups[0]["proj_type"], param.shape[0] >= param.shape[1]
            return kind == "left" or kind == "std" and not tall or kind == "reverse_std" and tall

    return GaLore


exact = galore(Exact)
case("galore", "galore", exact, rank=2)
case("galore_std", "galore", exact, lr=0.01, rank=2, update_proj_gap=10, scale=0.25, weight_decay=0.1)
case("galore_reverse", "galore", exact, rank=2, update_proj_gap=7, proj_type="reverse_std", betas=(0.7, 0.9))
# Their singular vectors are off by a few 6e-8 times the largest singular value over the distance to the next: 2.3e-6 in
# the parameters and 3.1e-6 in the moments.
cases.tolerance("galore_std", f32=1e-5)
cases.tolerance("galore_reverse", f32=1e-5)
case("galore_left", "galore", exact, rank=1, update_proj_gap=10, proj_type="left", correct_bias=False)
case("galore_right", "galore", exact, rank=2, update_proj_gap=10, proj_type="right", eps=1e-3, maximize=True)
case("galore_full", "galore", exact, rank=2, update_proj_gap=25, proj_type="full")
# Off its diagonal the first gradient between both projections is nothing but rounding: 1e-7 of 12, divided by the ε of
# 1e-6 that stands beside it.
cases.tolerance("galore_full", f32=1e-3)


class Published(galore(GaLoreProjector)):
    def slots(self, _):
        return {}


case("galore_published", "galore", Published, rank=2)
# They have the signs of LAPACK.
cases.leave_unchecked("galore_published", "exp_avg", "exp_avg_sq", "ortho_left", "ortho_right")
# Its decomposition is in f32 for f64 too; the sign of a projection that never changes does not matter to the
# parameters.
cases.tolerance("galore_published", f32=1e-5, f64=1e-5)
