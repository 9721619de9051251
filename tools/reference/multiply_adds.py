"""Writes crates/dl-core/tests/fixtures/multiply_adds.json: what PyTorch's own counter finds in models.

    python tools/reference/multiply_adds.py        (torch 2.15)

The counter has two operations for a multiply-add. Convolutions are called on shapes alone.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/multiply_adds.json"
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


def conv(x, c_out, kernel=1, stride=1, groups=1):
    """TensorFlow's SAME: as many outputs as steps fit."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    weight = torch.empty(c_out, x.shape[1] // groups, kernel, kernel, device="meta")
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def channels(c, width):
    """The nearest multiple of 8 that is not more than a tenth smaller."""
    rounded = max(8, int(c * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * c * width else rounded


def efficientnet_lite(size, width, depth):
    x = conv(torch.empty(1, 3, size, size, device="meta"), 32, 3, 2)
    for stage, (repeats, kernel, stride, expand, c_out) in enumerate(STAGES):
        inner = 0 < stage < len(STAGES) - 1
        for repeat in range(math.ceil(repeats * depth) if inner else repeats):
            wide = x.shape[1] * expand
            y = conv(x, wide) if expand != 1 else x
            y = conv(y, wide, kernel, stride if repeat == 0 else 1, wide)
            x = conv(y, channels(c_out, width))
    x = conv(x, 1280).mean((2, 3))
    F.linear(x, torch.empty(1000, 1280, device="meta"))


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True)
    nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)(
        torch.randn(3, 5, 8)
    )


CASES = {
    "efficientnet_lite0": lambda: efficientnet_lite(224, 1.0, 1.0),
    "efficientnet_lite1": lambda: efficientnet_lite(240, 1.0, 1.1),
    "efficientnet_lite2": lambda: efficientnet_lite(260, 1.1, 1.2),
    "efficientnet_lite3": lambda: efficientnet_lite(280, 1.2, 1.4),
    "efficientnet_lite4": lambda: efficientnet_lite(300, 1.4, 1.8),
    "transformer_encoder": transformer,
}


def count(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


out = {"torch": torch.__version__.split("+")[0]}
out |= {name: count(run) for name, run in CASES.items()}
OUT.write_text(json.dumps(out, indent=1) + "\n")
