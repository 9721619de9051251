"""Values and gradients of every op in PyTorch, in f64, for crates/dl-autograd/tests/ops.

Each module of op_cases is one family: CASES maps the name of a case, the same as in the Rust table,
to the shapes of its inputs and a function of them. One safetensors file per family holds

    <name>/input.<i>   <name>/output   <name>/cotangent   <name>/grad.<i>

where grad.<i> is the gradient of sum(output * cotangent).

Run: python tools/reference/ops.py [FAMILY...]        (torch 2.15, numpy, safetensors)
"""

import importlib
import pathlib
import platform
import sys
import zlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE.parents[1] / "crates/dl-autograd/tests/fixtures/ops"


def run(name, shapes, fn):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    inputs = [normal(shape).requires_grad_() for shape in shapes]
    output = fn(*inputs)
    cotangent = normal(output.shape)
    grads = torch.autograd.grad(output, inputs, cotangent)
    tensors = {f"input.{i}": x for i, x in enumerate(inputs)}
    tensors |= {"output": output, "cotangent": cotangent}
    tensors |= {f"grad.{i}": g for i, g in enumerate(grads)}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


def main(families):
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    for family in families:
        cases = importlib.import_module(f"op_cases.{family}").CASES
        tensors = {}
        for name, (shapes, fn) in cases.items():
            tensors |= run(name, shapes, fn)
        save_file(tensors, OUT / f"{family}.safetensors", metadata=versions)
        print(f"{family}: {len(cases)} cases")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    names = sorted(p.stem for p in (HERE / "op_cases").glob("*.py"))
    main(sys.argv[1:] or names)
