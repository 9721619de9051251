"""Small members of the model zoo in PyTorch, in f64, for crates/dl-core/tests/models.rs.

torchvision's modules are written out with their parameters' names; BERT is that of transformers. One
safetensors file holds, for every model in training mode without dropout,

    <case>/param/<name>   <case>/input   <case>/output   <case>/cotangent   <case>/grad/<name>

where the gradients are those of sum(output * cotangent).

Run: python tools/reference/models.py        (torch 2.15, transformers 5.23, safetensors)
"""

import math
import pathlib
import zlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).parents[2] / "crates/dl-core/tests/fixtures/models.safetensors"


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 5, padding=2)
        self.conv2 = nn.Conv2d(2, 3, 5, padding=2)
        self.fc1 = nn.Linear(3 * 4, 5)
        self.fc2 = nn.Linear(5, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Block(nn.Module):
    """torchvision's BasicBlock, or with `bottleneck` its Bottleneck."""

    def __init__(self, c_in, width, stride, bottleneck):
        super().__init__()
        c_out = 4 * width if bottleneck else width
        plan = [(c_in, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            plan = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)]
        self.count = len(plan)
        for i, (a, b, k, s) in enumerate(plan, 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.downsample = None
        if stride != 1 or c_in != c_out:
            shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, layers, widths, bottleneck, imagenet):
        super().__init__()
        c = widths[0]
        self.conv1 = nn.Conv2d(3, c, *((7, 2, 3) if imagenet else (3, 1, 1)), bias=False)
        self.bn1, self.imagenet, self.count = nn.BatchNorm2d(c), imagenet, len(widths)
        for i, (n, width) in enumerate(zip(layers, widths)):
            blocks = []
            for j in range(n):
                blocks.append(Block(c, width, 2 if i and not j else 1, bottleneck))
                c = 4 * width if bottleneck else width
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(c, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1) if self.imagenet else x
        for i in range(self.count):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3)))


def conv_norm(c_in, c_out, kernel, stride=1, groups=1):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, c_in, c_out, expand, stride):
        super().__init__()
        wide = c_in * expand
        layers = [] if expand == 1 else [conv_norm(c_in, wide, 1)]
        layers += [conv_norm(wide, wide, 3, stride, wide)]
        layers += [nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        self.conv, self.residual = nn.Sequential(*layers), stride == 1 and c_in == c_out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [conv_norm(3, 6, 3, 2), InvertedResidual(6, 4, 1, 1)]
        blocks += [InvertedResidual(4, 5, 3, 2), InvertedResidual(5, 5, 3, 1)]
        self.features = nn.Sequential(*blocks, conv_norm(5, 8, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 4))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        conv = lambda a, b: [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
        pool = lambda: [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*conv(3, 2), *pool(), *conv(2, 3), *conv(3, 3), *pool())
        dense = [nn.Linear(3 * 49, 4), nn.ReLU(), nn.Dropout(0.0)]
        dense += [nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.0), nn.Linear(4, 3)]
        self.classifier = nn.Sequential(*dense)

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class GptBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(dim, 3 * dim), "c_proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim)})

    def forward(self, x):
        b, t, d = x.shape
        split = lambda y: y.view(b, t, self.heads, d // self.heads).transpose(1, 2)
        q, k, v = map(split, self.attn["c_attn"](self.ln_1(x)).chunk(3, 2))
        scores = q @ k.transpose(2, 3) / math.sqrt(d // self.heads)
        later = torch.ones(t, t).triu(1).bool()
        y = scores.masked_fill(later, -torch.inf).softmax(3) @ v
        x = x + self.attn["c_proj"](y.transpose(1, 2).reshape(b, t, d))
        y = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](y)


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(11, 8),
            "wpe": nn.Embedding(6, 8),
            "h": nn.ModuleList([GptBlock(8, 2) for _ in range(2)]),
            "ln_f": nn.LayerNorm(8),
        })

    def forward(self, ids):
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in parts["h"]:
            x = block(x)
        return parts["ln_f"](x) @ parts["wte"].weight.T


class Bert(transformers.BertModel):
    def __init__(self):
        config = transformers.BertConfig(
            vocab_size=13, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=7, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        super().__init__(config)

    def forward(self, ids):
        # The last token of the second text is padding.
        seen = torch.ones_like(ids)
        seen[1, -1] = 0
        types = (torch.arange(ids.shape[1]) >= 3).long().expand_as(ids)
        found = super().forward(ids, attention_mask=seen, token_type_ids=types)
        first = found.last_hidden_state * seen[:, :, None]
        return torch.cat([first.flatten(1), found.pooler_output], 1)


CASES = {
    "lenet": (LeNet, (2, 1, 8, 8)),
    "resnet": (lambda: ResNet([2, 1], [3, 4], False, True), (2, 3, 17, 16)),
    "resnet of bottlenecks": (lambda: ResNet([1, 2], [3, 2], True, False), (2, 3, 9, 8)),
    "mobilenet_v2": (MobileNetV2, (2, 3, 16, 12)),
    "vgg": (Vgg, (2, 3, 32, 36)),
    "gpt": (Gpt, (2, 5)),
    "bert": (Bert, (2, 5)),
}


def run(name, build, shape):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    module = build().double().train()
    for key, parameter in module.named_parameters():
        norm = any(part in key for part in ("bn", "norm", "Norm", "ln_"))
        parameter.data = (0.1 if norm else 0.4) * normal(parameter.shape) + float(norm)
    if len(shape) == 2:
        x = torch.randint(0, 11, shape, generator=generator)
    else:
        x = normal(shape)
    output = module(x)
    cotangent = normal(output.shape)
    (output * cotangent).sum().backward()
    tensors = {"output": output, "cotangent": cotangent, "input": x}
    for key, parameter in module.named_parameters():
        tensors |= {f"param/{key}": parameter, f"grad/{key}": parameter.grad}
    return {f"{name}/{key}": t.detach().contiguous().clone() for key, t in tensors.items()}


def main():
    tensors = {}
    for name, (build, shape) in CASES.items():
        tensors |= run(name, build, shape)
    versions = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    save_file(tensors, OUT, metadata=versions)
    print(f"{len(CASES)} models")


if __name__ == "__main__":
    main()
