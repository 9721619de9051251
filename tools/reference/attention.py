"""Multi-head attention and transformer layers in PyTorch, in f64, for crates/dl-core/tests/attention.rs.

One safetensors file holds, for every case,

    <case>/param/<name>   <case>/input.<i>   <case>/output   <case>/cotangent
    <case>/grad/<name>    <case>/input_grad.<i>

where the gradients are those of sum(output * cotangent). Dropout is 0: the masks of the two differ.

Run: python tools/reference/attention.py        (torch 2.15, safetensors)
"""

import pathlib
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/attention.safetensors"
PADDING = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 1, 1, 1]]).bool()
DIM, HEADS, HIDDEN = 8, 2, 12
SHARED = dict(dropout=0.0, batch_first=True, dtype=torch.float64)


def later(t):
    """PyTorch's layers take True for what must not be seen."""
    return torch.ones(t, t, dtype=torch.bool).triu(1)


class Attention(nn.Module):
    def __init__(self, masks=lambda q, k: {}, **options):
        super().__init__()
        self.layer = nn.MultiheadAttention(DIM, HEADS, **SHARED, **options)
        self.masks = masks

    def forward(self, q, k=None):
        k = q if k is None else k
        return self.layer(q, k, k, need_weights=False, **self.masks(q, k))[0]


class Grouped(nn.Module):
    """Four query heads on two key heads, rotated: no layer of PyTorch, so written out."""

    def __init__(self):
        super().__init__()
        options = dict(dtype=torch.float64)
        self.layer = nn.Module()
        self.layer.in_proj_weight = nn.Parameter(torch.empty(16, DIM, **options))
        self.layer.in_proj_bias = nn.Parameter(torch.empty(16, **options))
        self.layer.out_proj = nn.Linear(DIM, DIM, **options)

    def forward(self, x):
        layer = self.layer
        y = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
        q, k, v = (p.unflatten(-1, (-1, 2)).transpose(1, 2) for p in y.split([8, 4, 4], -1))
        y = F.scaled_dot_product_attention(
            rotate(q), rotate(k), v, is_causal=True, enable_gqa=True
        )
        return layer.out_proj(y.transpose(1, 2).flatten(2))


def rotate(x):
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None]
    cos, sin = angle.cos().float().double(), angle.sin().float().double()
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)


class Encoder(nn.Module):
    def __init__(self, layers=None, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, **SHARED, **options)
        if layers:
            norm = nn.LayerNorm(DIM, dtype=torch.float64)
            layer = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        self.layer = layer

    def forward(self, x):
        return self.layer(x, src_key_padding_mask=PADDING)


class Decoder(nn.Module):
    def __init__(self, layers=None, **options):
        super().__init__()
        layer = nn.TransformerDecoderLayer(DIM, HEADS, HIDDEN, **SHARED, **options)
        if layers:
            layer = nn.TransformerDecoder(layer, layers, nn.LayerNorm(DIM, dtype=torch.float64))
        self.layer = layer

    def forward(self, x, memory):
        return self.layer(
            x, memory, tgt_mask=later(x.shape[1]), memory_key_padding_mask=PADDING
        )


ONE, TWO = [(2, 5, DIM)], [(2, 3, DIM), (2, 5, DIM)]
CASES = {
    "self": (Attention, {}, ONE),
    "self without bias": (Attention, dict(bias=False), ONE),
    "causal": (Attention, dict(masks=lambda q, k: dict(attn_mask=later(5))), ONE),
    "cross with padding": (
        Attention,
        dict(masks=lambda q, k: dict(key_padding_mask=PADDING)),
        TWO,
    ),
    "causal with padding": (
        Attention,
        dict(masks=lambda q, k: dict(attn_mask=later(5), key_padding_mask=PADDING)),
        ONE,
    ),
    "grouped and rotated": (Grouped, {}, ONE),
    "encoder layer": (Encoder, {}, ONE),
    "encoder layer, norm first, gelu": (Encoder, dict(norm_first=True, activation="gelu"), ONE),
    "encoder": (Encoder, dict(layers=2), ONE),
    "decoder layer": (Decoder, {}, TWO),
    "decoder layer, norm first, gelu": (Decoder, dict(norm_first=True, activation="gelu"), TWO),
    "decoder": (Decoder, dict(layers=2), TWO),
}


def run(name, build, options, shapes):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    module = build(**options)
    for parameter in module.parameters():
        parameter.data = 0.5 * normal(parameter.shape)
    inputs = [normal(shape).requires_grad_() for shape in shapes]
    output = module(*inputs)
    cotangent = normal(output.shape)
    (output * cotangent).sum().backward()
    tensors = {"output": output, "cotangent": cotangent}
    for i, x in enumerate(inputs):
        tensors |= {f"input.{i}": x, f"input_grad.{i}": x.grad}
    for key, parameter in module.layer.named_parameters():
        tensors |= {f"param/{key}": parameter, f"grad/{key}": parameter.grad}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


def main():
    tensors = {}
    for name, case in CASES.items():
        tensors |= run(name, *case)
    save_file(tensors, OUT, metadata={"torch": torch.__version__.split("+")[0]})
    print(f"{len(CASES)} cases")


if __name__ == "__main__":
    main()
