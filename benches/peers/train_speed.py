"""The workloads of examples/train_speed in PyTorch: one line of JSON each, in the same form.

    python benches/peers/train_speed.py WORKLOAD...          (torch 2.15, transformers 5.23)
    python benches/peers/train_speed.py --table LINES.jsonl  the table of what compare.sh collected

Two threads. Images run with PyTorch's plain layout and with channels last, optimizers fused and not;
the fastest combination is the one that is printed.
"""

import json
import math
import platform
import resource
import statistics
import sys
import time

SECONDS = 5.0


def ids(torch, shape, bound):
    return (torch.arange(math.prod(shape)) * 7919 % bound).reshape(shape)


def mlp(torch, nn):
    layers = [nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), torch.randn(32, 784), ids(torch, (32,), 10), "Adam"


def lenet(torch, nn):
    conv = lambda a, b: [nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers = [*conv(1, 32), *conv(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    return model, torch.randn(64, 1, 28, 28), ids(torch, (64,), 10), "Adam"


def resnet(torch, nn, layers, widths, imagenet, classes):
    F = nn.functional

    class Block(nn.Module):
        def __init__(self, c_in, width, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.downsample = nn.Identity()
            if stride != 1 or c_in != width:
                shortcut = nn.Conv2d(c_in, width, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
            return F.relu(y + self.downsample(x), inplace=True)

    c = widths[0]
    parts = [nn.Conv2d(3, c, *((7, 2, 3) if imagenet else (3, 1, 1)), bias=False)]
    parts += [nn.BatchNorm2d(c), nn.ReLU(inplace=True)]
    parts += [nn.MaxPool2d(3, 2, 1)] if imagenet else []
    for i, (n, width) in enumerate(zip(layers, widths)):
        for j in range(n):
            parts.append(Block(c, width, 2 if i and not j else 1))
            c = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def resnet20(torch, nn):
    model = resnet(torch, nn, [3, 3, 3], [16, 32, 64], False, 10)
    return model, torch.randn(64, 3, 32, 32), ids(torch, (64,), 10), "SGD"


def resnet18(torch, nn):
    model = resnet(torch, nn, [2, 2, 2, 2], [64, 128, 256, 512], True, 1000)
    return model, torch.randn(8, 3, 224, 224), ids(torch, (8,), 1000), "SGD"


def mobilenet_v2(torch, nn):
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    def conv(c_in, c_out, kernel, stride=1, groups=1):
        layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(c_out), nn.ReLU6(inplace=True)]

    parts, c = conv(3, 32, 3, 2), 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    for expand, width, repeats, stride in stages + [(6, 160, 3, 2), (6, 320, 1, 1)]:
        for j in range(repeats):
            s, wide = stride if j == 0 else 1, c * expand
            block = conv(c, wide, 1) if expand != 1 else []
            block += conv(wide, wide, 3, s, wide) + conv(wide, width, 1)[:2]
            parts.append((Residual if s == 1 and c == width else nn.Sequential)(*block))
            c = width
    parts += [*conv(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*parts), torch.randn(8, 3, 224, 224), ids(torch, (8,), 1000), "SGD"


def vgg16(torch, nn):
    parts, c = [], 3
    for width, n in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(n):
            parts += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU(inplace=True)]
            c = width
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts), torch.randn(8, 3, 224, 224), None, None


def minilm(torch, nn, frozen=False):
    import transformers

    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2,
    )
    bert = transformers.BertForSequenceClassification(config)
    for parameter in bert.bert.parameters():
        parameter.requires_grad_(not frozen)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, x):
            return self.bert(x).logits

    return Logits(), ids(torch, (16, 128), 30_522), ids(torch, (16,), 2), "AdamW"


def minilm_frozen(torch, nn):
    return minilm(torch, nn, frozen=True)


def gpt(torch, nn):
    F = nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(128), nn.LayerNorm(128)
            self.c_attn, self.c_proj = nn.Linear(128, 384), nn.Linear(128, 128)
            self.c_fc, self.out = nn.Linear(128, 512), nn.Linear(512, 128)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.c_attn(self.ln_1(x)).split(d, 2)
            q, k, v = (y.view(b, t, 4, d // 4).transpose(1, 2) for y in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, d))
            return x + self.out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(65, 128), nn.Embedding(64, 128)
            self.h, self.ln_f = nn.Sequential(*[Block() for _ in range(4)]), nn.LayerNorm(128)
            nn.init.normal_(self.wte.weight, std=0.02)

        def forward(self, x):
            y = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
            return F.linear(self.ln_f(self.h(y)), self.wte.weight).flatten(0, 1)

    return Gpt(), ids(torch, (12, 64), 65), ids(torch, (12 * 64,), 65), "AdamW"


def lstm(torch, nn):
    class CharLstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.characters, self.head = nn.Embedding(65, 256), nn.Linear(256, 65)
            self.lstm = nn.LSTM(256, 256, 2, batch_first=True)

        def forward(self, x):
            return self.head(self.lstm(self.characters(x))[0]).flatten(0, 1)

    return CharLstm(), ids(torch, (32, 64), 65), ids(torch, (32 * 64,), 65), "AdamW"


def adamw_25m(torch, nn):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.all = nn.ParameterList([torch.ones(500_000) for _ in range(50)])

    model = Many()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    return model, None, None, "AdamW"


WORKLOADS = [mlp, lenet, resnet20, resnet18, mobilenet_v2, vgg16, minilm, minilm_frozen, gpt, lstm]
WORKLOADS = {w.__name__: w for w in [*WORKLOADS, adamw_25m]}


def optimizer_of(torch, kind, model, fused):
    parameters = [p for p in model.parameters() if p.requires_grad]
    options = {"SGD": {"lr": 0.01, "momentum": 0.9}, "Adam": {}, "AdamW": {}}[kind]
    return getattr(torch.optim, kind)(parameters, fused=fused, **options)


def step_of(torch, name, channels_last, fused):
    torch.manual_seed(0)
    model, x, y, kind = WORKLOADS[name](torch, torch.nn)
    if channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if kind is None:
        model.eval()

        def infer():
            with torch.inference_mode():
                return model(x).mean().item()

        return infer
    optimizer = optimizer_of(torch, kind, model, fused)
    if x is None:

        def update():
            optimizer.step()
            return next(model.parameters())[0].item()

        return update

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def measured(step, seconds):
    first = step()
    step(), step()
    times, last, begun = [], first, time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        last = step()
        times.append(time.perf_counter() - start)
    return statistics.median(times), first, last


def run(name):
    import torch

    torch.set_num_threads(2)
    images = name in ("lenet", "resnet20", "resnet18", "mobilenet_v2", "vgg16")
    ways = [(c, f) for c in ([False, True] if images else [False]) for f in (True, False)]
    ways = ways[::2] if name == "vgg16" else ways
    found = [measured(step_of(torch, name, *way), SECONDS / len(ways)) + (way,) for way in ways]
    seconds, first, last, (channels_last, fused) = min(found)
    print(json.dumps({
        "workload": name,
        "ms_per_step": seconds * 1e3,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "loss_first": first,
        "loss_last": last,
        "threads": 2,
        "channels_last": channels_last,
        "fused": fused,
        "torch": torch.__version__,
    }))


def table(path):
    """Medians of all rounds. The file has lines of ours, of PyTorch and of the peers named in them."""
    rows, torch, peers, starts = {}, "?", [], {}
    for line in map(json.loads, open(path)):
        if "start" in line:
            starts.setdefault(line["start"], []).append(line["seconds"])
            continue
        whose = "theirs" if "torch" in line else line.get("peer", "ours")
        torch = line.get("torch", torch)
        if "peer" in line and whose not in peers:
            peers.append(whose)
        rows.setdefault(line["workload"], {}).setdefault(whose, []).append(line)
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l), "?")
    print(f"PyTorch {torch}, 2 threads, {cpu}, {platform.system()}, {time.strftime('%Y-%m-%d')}\n")
    head = ["workload", "ours", "PyTorch", "ours ÷ PyTorch", "of the machine's limit", "memory, ours ÷ PyTorch"]
    for peer in peers:
        head += [peer, f"ours ÷ {peer.split()[0]}"]
    print(f"| {' | '.join(head)} |")
    print("|---|" + "---:|" * (len(head) - 1))
    for name, row in rows.items():
        median = lambda whose, key: statistics.median(line[key] for line in row[whose])
        ours, theirs = median("ours", "ms_per_step"), median("theirs", "ms_per_step")
        memory = [median(whose, "peak_rss_mb") for whose in ("ours", "theirs")]
        cells = [name, f"{ours:.2f} ms", f"{theirs:.2f} ms", f"{ours / theirs:.2f}"]
        cells += [f"{median('ours', 'share_of_limit'):.0%}"]
        cells += [f"{memory[0]:.0f} MB ÷ {memory[1]:.0f} MB = {memory[0] / memory[1]:.2f}"]
        for peer in peers:
            if peer not in row:
                cells += ["", ""]
                continue
            step, megabytes = median(peer, "ms_per_step"), median(peer, "peak_rss_mb")
            cells += [f"{step:.2f} ms, {megabytes:.0f} MB", f"{ours / step:.2f}"]
        print(f"| {' | '.join(cells)} |")
    if starts:
        seconds = {whose: statistics.median(starts[whose]) for whose in ("ours", "theirs")}
        ratio = seconds["ours"] / seconds["theirs"]
        print("\nFrom the start of the process to its end, with one step of the mlp in between: ", end="")
        print(f"{seconds['ours']:.3f} s ÷ {seconds['theirs']:.2f} s = {ratio:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--table"]:
        table(sys.argv[2])
    elif sys.argv[1:2] == ["--first-step"]:
        import torch

        torch.set_num_threads(2)
        print(step_of(torch, sys.argv[2], False, True)())
    else:
        for workload in sys.argv[1:] or WORKLOADS:
            run(workload)
