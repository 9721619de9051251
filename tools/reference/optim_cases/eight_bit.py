"""Adam and AdamW with moments in 8 bits, from the paper (Dettmers et al., 2022, sections 2 and 3) with bitsandbytes'
map of numbers: its kernels need a GPU, and its operation on the CPU does not find the nearest code."""

import math
from importlib.metadata import version

import torch
from bitsandbytes.functional import create_dynamic_map

from .case import Cases

# Three blocks of 256, the last one ragged; small ones that stay in full.
SHAPES = {"bias": [5], "gain": [], "table": [11, 47], "weight": [4, 5]}
BLOCK = 256

cases = Cases()
case = cases.add
versions = {"bitsandbytes": version("bitsandbytes")}


class EightBit(torch.optim.Optimizer):
    """In the type of the parameter, decay before the step. Each operation is rounded by itself, in the order of
    PyTorch's Adam: where a number lies between two codes the last bit decides."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, min_8bit_size=4096, l2=False, maximize=False):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.min_8bit_size, self.l2, self.sign, self.count = min_8bit_size, l2, -1 if maximize else 1, 0

    @torch.no_grad()
    def step(self):
        self.count += 1
        group = self.param_groups[0]
        (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
        for param in group["params"]:
            grad = self.sign * param.grad
            if self.l2:
                grad = grad + decay * param
            m, v = self.moments(param)
            m = m + (grad - m) * (1 - beta1)
            v = v * beta2 + grad * (1 - beta2) * grad
            if not self.l2:
                param.mul_(1 - lr * decay)
            denominator = v.sqrt() * (1 / math.sqrt(1 - beta2**self.count)) + group["eps"]
            param.sub_(m * (lr / (1 - beta1**self.count)) / denominator)
            self.keep(param, m, v)

    def moments(self, param):
        state = self.state[param]
        if not state:
            return torch.zeros_like(param), torch.zeros_like(param)
        if "absmax1" not in state:
            return state["state1"], state["state2"]
        return [self.widened(state[f"state{i}"], state[f"absmax{i}"], i == 1) for i in [1, 2]]

    def keep(self, param, m, v):
        for i, moment in [(1, m), (2, v)]:
            if param.numel() < self.min_8bit_size:
                self.state[param][f"state{i}"] = moment
            else:
                codes, scales = self.narrowed(moment, i == 1)
                self.state[param][f"state{i}"], self.state[param][f"absmax{i}"] = codes, scales

    @staticmethod
    def widened(codes, scales, signed):
        values = create_dynamic_map(signed).to(scales.dtype)[codes.flatten().long()]
        return (values * scales.repeat_interleave(BLOCK)[: values.numel()]).reshape(codes.shape)

    @staticmethod
    def narrowed(moment, signed):
        blocks = torch.nn.functional.pad(moment.flatten(), (0, -moment.numel() % BLOCK)).reshape(-1, BLOCK)
        scales = blocks.abs().amax(1)
        values = create_dynamic_map(signed)
        bounds = ((values[:-1] + values[1:]) / 2).to(moment.dtype)
        codes = torch.bucketize(blocks / scales[:, None], bounds).flatten()[: moment.numel()]
        return codes.to(torch.uint8).reshape(moment.shape), scales


adam = adamw = EightBit
case("adam8bit", "adam8bit", adam, min_8bit_size=100)
case("adam8bit_small", "adam8bit", adam, lr=0.01)
case("adam8bit_all", "adam8bit", adam, {"weight_decay": {"decoupled": 0.1}}, lr=0.01, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.1, min_8bit_size=100)
case("adam8bit_l2", "adam8bit", adam, {"weight_decay": {"l2": 0.1}, "l2": None}, lr=0.01, eps=1e-2, weight_decay=0.1, min_8bit_size=1, l2=True)
case("adam8bit_maximize", "adam8bit", adam, min_8bit_size=100, maximize=True)
case("adamw8bit", "adamw8bit", adamw, weight_decay=0.01, min_8bit_size=100)
case("adamw8bit_all", "adamw8bit", adamw, lr=0.01, betas=(0.8, 0.99), weight_decay=0.2, min_8bit_size=1)
