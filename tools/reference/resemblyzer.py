"""Writes dl-transfer's tests/fixtures/resemblyzer.json: one more step of a published training run.

    pip install torch
    python tools/reference/resemblyzer.py [DIR]     # DIR: the folder of tools/data/fetch.sh

`pretrained.pt` of the Resemblyzer package holds weights and an Adam after a million and a half steps. The gradient
of the next one is the parameter itself; of every parameter the first numbers before and after are kept.
"""

import json
import os
import pathlib
import sys

import torch

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-transfer/tests/fixtures/resemblyzer.json"
CACHE = os.environ.get("DL_DATA", pathlib.Path.home() / ".cache/candle-train")
FILE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else CACHE) / "out/pypi/resemblyzer/pretrained.pt"
KEPT = 6

saved = torch.load(FILE, map_location="cpu", weights_only=True)
names, params = zip(*((name, torch.nn.Parameter(value)) for name, value in saved["model_state"].items()))
before = [param.detach().flatten()[:KEPT].tolist() for param in params]
adam = torch.optim.Adam(params, lr=1e-4, foreach=False)
adam.load_state_dict(saved["optimizer_state"])
for param in params:
    param.grad = param.detach().clone()
adam.step()
after = [param.detach().flatten()[:KEPT].tolist() for param in params]
steps = {int(state["step"]) - 1 for state in adam.state.values()}
assert len(steps) == 1
fixture = {"versions": {"torch": torch.__version__}, "steps": steps.pop(), "parameters": list(zip(names, before, after))}
OUT.write_text(json.dumps(fixture) + "\n")
