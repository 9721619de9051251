"""Writes tests/fixtures/event_files.json of dl-core: events as PyTorch's SummaryWriter makes them.

    python tools/reference/event_files.py

The times are fixed, and the values are sums of few powers of two, so that no order of summation
changes a bit.
"""

import json
from pathlib import Path

import numpy as np
import tensorboard
import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard import summary

OUT = Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/event_files.json"
TIME = 1700000000.25


def event(step, proto):
    return Event(wall_time=TIME, step=step, summary=proto).SerializeToString().hex()


def main():
    limits, v = [], 1e-12
    while v < 1e20:
        limits.append(v)
        v *= 1.1
    limits = [-x for x in reversed(limits)] + [0] + limits
    spread = [0.5, 0.5, 0.75, 2.0, 1024.0]
    cases = {
        "spread": spread,
        "both signs": [-1e-11, 0.0, 1e-11, 1e-12],
        "one": [0.125],
        "zeros": [0.0, 0.0],
        "least": [-8e19],
    }
    histograms = {}
    for name, values in cases.items():
        proto = summary.make_histogram(np.array(values), limits)
        histograms[name] = {
            "values": values,
            "limits": list(proto.bucket_limit),
            "counts": list(proto.bucket),
        }
    drawn = summary.histogram("parameters/w", np.array(spread), limits)
    session = Event(wall_time=TIME, step=301, session_log=SessionLog(status=SessionLog.START))
    fixture = {
        "versions": {"torch": torch.__version__, "tensorboard": tensorboard.__version__},
        "wall_time": TIME,
        "version": Event(wall_time=TIME, file_version="brain.Event:2").SerializeToString().hex(),
        "scalar": event(300, summary.scalar("train/loss", 0.625, new_style=False)),
        "histogram": event(7, drawn),
        "text": event(0, summary.text("configuration", "| lr | 0.1 |")),
        "session_start": session.SerializeToString().hex(),
        "histograms": histograms,
    }
    OUT.write_text(json.dumps(fixture) + "\n")


main()
