"""Writes the PyTorch files that crates/dl-transfer/tests/pth.rs reads, and what is in them.

    python tools/reference/pth.py crates/dl-transfer/tests/fixtures

views.legacy.pth, views.zip.pth  one state dict in both containers: every element type, windows
                                 with strides and offsets, shared storage, a Parameter, nesting
views.json                       its tensors' dtypes, shapes and values, and torch's version
wrapped.legacy.pth               a training script's file: epoch, state_dict, optimizer state
module.zip.pth                   a whole pickled nn.Module, which a safe reader must refuse
"""

import json
import sys
from collections import OrderedDict
from pathlib import Path

import torch

folder = Path(sys.argv[1])


def views():
    # Small integers and halves: exact in every floating type, so they compare by equality.
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 2
    state = OrderedDict()
    state["contiguous"] = torch.tensor([[1.5, -2.0], [0.0, 65504.0]])
    state["transposed"] = base.t()
    state["window"] = base[1:3, 2:5]
    state["steps"] = base[::2, 1::2]
    state["shared"] = base
    state["shared_again"] = base
    state["expanded"] = torch.tensor([[3.0], [4.0]]).expand(2, 3)
    state["channels_last"] = torch.arange(16.0).reshape(1, 2, 2, 4).to(memory_format=torch.channels_last)
    state["scalar"] = torch.tensor(-7.25)
    state["empty"] = torch.zeros(0, 3)
    state["f64"] = torch.tensor([1 / 3, -1e300], dtype=torch.float64)
    state["f16"] = torch.tensor([0.5, -65504.0], dtype=torch.float16)
    state["bf16"] = torch.tensor([0.5, 2.0**100], dtype=torch.bfloat16)
    state["i64"] = torch.tensor([2**52, -(2**52)])
    state["i32"] = torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32)
    state["i16"] = torch.tensor([32767, -32768], dtype=torch.int16)
    state["i8"] = torch.tensor([127, -128], dtype=torch.int8)
    state["u8"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False, True])
    state["parameter"] = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    state["nested"] = OrderedDict(inner=OrderedDict(weight=torch.tensor([9.0])), items=[torch.tensor([8.0])])
    return state


def flat(value, name=""):
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from flat(item, f"{name}.{i}")


def wrapped():
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
        model.bias.copy_(torch.tensor([3.0]))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
        model.bias.copy_(torch.tensor([3.0]))
    return {
        "epoch": 3,
        "arch": "linear",
        "best": 0.875,
        "state_dict": model.state_dict(),
        "state_dict_ema": {name: value / 2 for name, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
    }


def legacy(value, name):
    torch.save(value, folder / name, _use_new_zipfile_serialization=False)


state = views()
legacy(state, "views.legacy.pth")
torch.save(state, folder / "views.zip.pth")
legacy(wrapped(), "wrapped.legacy.pth")
torch.save(torch.nn.Linear(2, 1), folder / "module.zip.pth")
expected = {
    name: {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "values": tensor.detach().double().flatten().tolist(),
    }
    for name, tensor in flat(state)
}
with open(folder / "views.json", "w") as file:
    json.dump({"torch": torch.__version__, "tensors": expected}, file, indent=1)
    file.write("\n")
