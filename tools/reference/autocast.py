"""Values and gradients under torch.autocast in bf16, for crates/dl-autograd/tests/ops/autocast.rs.

    <name>/input.<i>   <name>/output   <name>/cotangent   <name>/grad.<i>          all in f32

where grad.<i> is the gradient of sum(output * cotangent), taken outside of the scope as PyTorch asks.

Run: python tools/reference/autocast.py        (torch 2.15, safetensors)
"""

import pathlib
import platform
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-autograd/tests/fixtures/autocast.safetensors"


def classifier(x, w1, w2, b2):
    return F.softmax(F.linear(F.gelu(F.layer_norm(F.linear(x, w1), w1.shape[:1])), w2, b2), 1)


CASES = {
    "linear": ([(5, 7), (3, 7), (3,)], F.linear),
    "matmul": ([(2, 4, 6), (2, 6, 3)], torch.matmul),
    "conv1d": ([(2, 3, 9), (4, 3, 3), (4,)], lambda x, w, b: F.conv1d(x, w, b, padding=1)),
    "conv2d": ([(2, 3, 6, 5), (4, 3, 3, 3), (4,)], lambda x, w, b: F.conv2d(x, w, b, padding=1)),
    "conv_transpose2d": (
        [(2, 3, 4, 3), (3, 2, 3, 3), (2,)],
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2),
    ),
    "attention": (
        [(2, 2, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ),
    "classifier": ([(6, 8), (16, 8), (4, 16), (4,)], classifier),
}


def run(name, shapes, fn):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fn(*inputs)
    cotangent = torch.randn(output.shape, generator=generator)
    grads = torch.autograd.grad(output.float(), inputs, cotangent)
    tensors = {f"input.{i}": x for i, x in enumerate(inputs)}
    tensors |= {"output": output.float(), "cotangent": cotangent}
    tensors |= {f"grad.{i}": g for i, g in enumerate(grads)}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


if __name__ == "__main__":
    tensors = {}
    for name, (shapes, fn) in CASES.items():
        tensors |= run(name, shapes, fn)
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    save_file(tensors, OUT, metadata=versions)
    print(f"{len(CASES)} cases")
