"""SparseAdam. The rows of one element have a gradient at some steps, at all steps, and at none."""

import torch

from .case import Cases

SHAPES = {"bias": [5], "column": [11, 1], "conv": [2, 3, 2], "weight": [4, 5]}

cases = Cases()
case = cases.add


class SparseAdam(torch.optim.SparseAdam):
    def step(self):
        """Rows that are all zero are not stored in the sparse gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = param.grad.to_sparse(1)
        super().step()
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None


case("sparse_adam", "sparse_adam", SparseAdam)
case("sparse_adam_all", "sparse_adam", SparseAdam, lr=0.01, betas=(0.4, 0.9), eps=1e-3)
case("sparse_adam_maximize", "sparse_adam", SparseAdam, lr=0.01, maximize=True)
