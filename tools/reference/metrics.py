"""Writes crates/dl-core/tests/fixtures/metrics.json: torchmetrics on three batches of random logits.

    python tools/reference/metrics.py
"""

import json
import pathlib

import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

CLASSES = 6


def main():
    torch.manual_seed(7)
    batches = []
    for rows in [16, 16, 5]:
        # Class 5 is never true and its logits never win: torchmetrics leaves it out of macro averages.
        # Class 4 is never true but predicted: it counts, with a recall of 0.
        labels = torch.randint(0, 4, (rows,))
        logits = torch.randn(rows, CLASSES) + torch.nn.functional.one_hot(labels, CLASSES)
        logits[:, 5] = -20
        batches.append((logits, labels))
    metrics = {
        "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
        "top_3_accuracy": MulticlassAccuracy(CLASSES, top_k=3, average="micro"),
        "macro_precision": MulticlassPrecision(CLASSES, average="macro"),
        "macro_recall": MulticlassRecall(CLASSES, average="macro"),
        "macro_f1": MulticlassF1Score(CLASSES, average="macro"),
        "precision": MulticlassPrecision(CLASSES, average=None),
        "recall": MulticlassRecall(CLASSES, average=None),
        "f1": MulticlassF1Score(CLASSES, average=None),
        "confusion_matrix": MulticlassConfusionMatrix(CLASSES),
    }
    for logits, labels in batches:
        for metric in metrics.values():
            metric.update(logits, labels)
    fixture = {
        "versions": {
            "torchmetrics": torchmetrics.__version__,
            "torch": torch.__version__.split("+")[0],
        },
        "batches": [
            {"logits": logits.tolist(), "labels": labels.tolist()} for logits, labels in batches
        ],
        "values": {name: metric.compute().tolist() for name, metric in metrics.items()},
    }
    root = pathlib.Path(__file__).resolve().parents[2]
    path = root / "crates/dl-core/tests/fixtures/metrics.json"
    path.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
