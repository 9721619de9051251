"""Writes crates/dl-core/tests/fixtures/layers.json: names, shapes and starting values of PyTorch's layers.

    python tools/reference/layers.py        (torch 2.15)

Of the values: their mean, standard deviation and largest magnitude.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn.utils import parametrizations

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/layers.json"

LAYERS = {
    "linear": lambda: nn.Linear(90, 70),
    "conv1d": lambda: nn.Conv1d(32, 48, 5, groups=2),
    "conv2d": lambda: nn.Conv2d(16, 48, (3, 5), groups=2),
    "conv3d": lambda: nn.Conv3d(4, 48, (2, 3, 5), groups=2),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(32, 48, 5, groups=2),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(16, 48, (3, 5), groups=2),
    "embedding": lambda: nn.Embedding(50, 40),
    "batch_norm": lambda: nn.BatchNorm2d(6),
    "layer_norm": lambda: nn.LayerNorm((3, 4)),
    "rms_norm": lambda: nn.RMSNorm(6),
    "group_norm": lambda: nn.GroupNorm(2, 6),
    "instance_norm": lambda: nn.InstanceNorm2d(6, affine=True),
    "prelu": lambda: nn.PReLU(3),
    "lstm": lambda: nn.LSTM(20, 30, 2, bidirectional=True),
    "gru": lambda: nn.GRU(20, 30, 2, bidirectional=True),
    "multihead_attention": lambda: nn.MultiheadAttention(48, 4),
    "transformer_encoder_layer": lambda: nn.TransformerEncoderLayer(48, 4, 96),
    "transformer_decoder_layer": lambda: nn.TransformerDecoderLayer(48, 4, 96),
    "transformer_encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(48, 4, 96), 2, nn.LayerNorm(48), enable_nested_tensor=False
    ),
    "transformer_decoder": lambda: nn.TransformerDecoder(
        nn.TransformerDecoderLayer(48, 4, 96), 2, nn.LayerNorm(48)
    ),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(90, 70, bias=False)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(90, 70, bias=False)),
}


def describe(x):
    x = x.double()
    return {
        "shape": list(x.shape),
        "mean": x.mean().item(),
        "std": x.std(unbiased=False).item(),
        "largest": x.abs().max().item(),
    }


torch.manual_seed(0)
out = {"torch": torch.__version__.split("+")[0], "layers": {}}
for name, build in LAYERS.items():
    state = build().state_dict()
    out["layers"][name] = {
        key: describe(x) for key, x in state.items() if not key.endswith("num_batches_tracked")
    }
OUT.write_text(json.dumps(out, indent=1) + "\n")
