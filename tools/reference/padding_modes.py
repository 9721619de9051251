"""Padding modes of PyTorch's convolutions, in f64, for crates/dl-core/tests/convolution.rs.

One safetensors file holds, for every case,

    <case>/input   <case>/weight   <case>/output   <case>/cotangent   <case>/input_grad
    <case>/weight_grad

where the gradients are those of sum(output * cotangent).

Run: python tools/reference/padding_modes.py        (torch 2.15, safetensors)
"""

import pathlib
import zlib

import torch
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/padding_modes.safetensors"
SHARED = dict(bias=False, dtype=torch.float64)


def run(name, layer, shape):
    torch.manual_seed(zlib.crc32(name.encode()))
    nn.init.normal_(layer.weight)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    cotangent = torch.randn_like(y)
    input_grad, weight_grad = torch.autograd.grad(y, [x, layer.weight], cotangent)
    tensors = dict(
        input=x,
        weight=layer.weight,
        output=y,
        cotangent=cotangent,
        input_grad=input_grad,
        weight_grad=weight_grad,
    )
    return {f"{name}/{key}": t.detach().contiguous() for key, t in tensors.items()}


def main():
    tensors = {}
    for mode in ["zeros", "reflect", "replicate", "circular"]:
        one = nn.Conv1d(3, 4, 4, 2, 2, padding_mode=mode, **SHARED)
        tensors |= run(f"conv1d {mode}", one, (2, 3, 7))
        same = nn.Conv1d(3, 4, 4, padding="same", dilation=2, padding_mode=mode, **SHARED)
        tensors |= run(f"conv1d same {mode}", same, (2, 3, 9))
        two = nn.Conv2d(2, 4, (3, 5), (1, 2), (1, 3), groups=2, padding_mode=mode, **SHARED)
        tensors |= run(f"conv2d {mode}", two, (2, 2, 4, 6))
        same = nn.Conv2d(2, 3, (4, 3), padding="same", padding_mode=mode, **SHARED)
        tensors |= run(f"conv2d same {mode}", same, (2, 2, 5, 6))
    save_file(tensors, OUT, metadata={"torch": torch.__version__})


if __name__ == "__main__":
    main()
