"""Blocks and containers of layers in PyTorch, in f64, for crates/dl-core/tests/blocks.rs.

The modules of torchvision and timm are written out with their parameters' names. One safetensors
file holds, for every case,

    <case>/param/<name>   <case>/input   <case>/output   <case>/cotangent
    <case>/grad/<name>    <case>/input_grad

where the gradients are those of sum(output * cotangent).

Run: python tools/reference/blocks.py        (torch 2.15, safetensors)
"""

import pathlib
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/blocks.safetensors"


class SqueezeExcitation(nn.Module):
    """torchvision.ops.SqueezeExcitation."""

    def __init__(self, channels, squeezed, activation=nn.ReLU, scale_activation=nn.Sigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x):
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class HardSigmoid(nn.Module):
    """nn.Hardsigmoid, whose backward rounds 1/6 to f32 in f64 too."""

    def forward(self, x):
        return F.relu6(x + 3) / 6


class PatchEmbed(nn.Module):
    """timm.layers.PatchEmbed without norm."""

    def __init__(self, patch, channels, dim, bias=True):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch, bias=bias)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(11)])
        self.heads = nn.ModuleDict({"b": nn.Linear(4, 2), "a": nn.Linear(4, 2)})

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.heads["b"](x) + 2 * self.heads["a"](x)


class Outputs(nn.Module):
    """The outputs of recurrent layers without their last states."""

    def __init__(self, layers):
        super().__init__()
        self.rnn = layers

    def forward(self, x):
        return self.rnn(x)[0]


CASES = {
    "lstm": (Outputs(nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)), (2, 5, 3)),
    "gru": (Outputs(nn.GRU(3, 4, 2, bidirectional=True, batch_first=True)), (2, 5, 3)),
    "lstm without bias": (Outputs(nn.LSTM(3, 4, 3, bias=False, batch_first=True)), (2, 5, 3)),
    "prelu": (nn.PReLU(3), (2, 3, 4)),
    "squeeze_excite": (SqueezeExcitation(6, 2), (3, 6, 4, 5)),
    "squeeze_excite, silu": (SqueezeExcitation(6, 2, nn.SiLU), (3, 6, 4, 5)),
    "squeeze_excite, hard sigmoid": (
        SqueezeExcitation(6, 2, nn.ReLU, HardSigmoid),
        (3, 6, 4, 5),
    ),
    "patch_embed": (PatchEmbed((2, 3), 2, 5), (2, 2, 4, 9)),
    "patch_embed without bias": (PatchEmbed((4, 4), 3, 5, bias=False), (1, 3, 8, 8)),
    "residual": (Residual(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)), (4, 6)),
    # In training, as modules are built: the norm takes the statistics of the batch.
    "sequential": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        (2, 3, 5, 4),
    ),
    "lists": (Lists(), (3, 4)),
}


def run(name, module, shape):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    module.double()
    for parameter in module.parameters():
        parameter.data = 0.5 * normal(parameter.shape)
    x = normal(shape).requires_grad_()
    output = module(x)
    cotangent = normal(output.shape)
    (output * cotangent).sum().backward()
    tensors = {"output": output, "cotangent": cotangent, "input": x, "input_grad": x.grad}
    for key, parameter in module.named_parameters():
        tensors |= {f"param/{key}": parameter, f"grad/{key}": parameter.grad}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


def main():
    tensors = {}
    for name, (module, shape) in CASES.items():
        tensors |= run(name, module, shape)
    save_file(tensors, OUT, metadata={"torch": torch.__version__.split("+")[0]})
    print(f"{len(CASES)} cases")


if __name__ == "__main__":
    main()
