"""Writes the fixture of dl-optim's L-BFGS: where torch's goes on three problems, in f64.

    pip install torch
    python tools/reference/lbfgs.py

lbfgs.json: for every case the loss that a step returned, the parameters after it, and the counts of iterations and
evaluations so far. The problems are made of small integers, so that Rust makes the same ones.
"""

import json
import pathlib

import torch

FIXTURE = pathlib.Path(__file__).parents[2] / "crates/dl-optim/tests/fixtures/lbfgs.json"


def rosenbrock(params):
    (x,) = params.values()
    a, b = x[:-1], x[1:]
    return ((1 - a) ** 2 + 100 * (b - a * a) ** 2).sum()


def quadratic(params):
    z = torch.cat([param.flatten() for param in params.values()])
    curvature = torch.tensor([(i + 1) ** 2 / 4 for i in range(len(z))])
    return (curvature * z * z / 2 - z).sum()


def logistic(params):
    rows = [[((i * 7 + j * 13) % 11 - 5) / 4 for j in range(3)] for i in range(12)]
    labels = torch.tensor([1.0 if i % 3 == 0 else 0.0 for i in range(12)])
    weight = params["weight"]
    logits = torch.tensor(rows) @ weight + params["bias"]
    return (torch.log(1 + torch.exp(logits)) - labels * logits).mean() + 0.005 * (weight * weight).sum()


PROBLEMS = {
    "rosenbrock": (rosenbrock, {"x": [-1.2, 1.0, -0.5, 0.8]}),
    "quadratic": (quadratic, {"a": [1.0, -2.0, 0.5], "b": [[3.0, -1.0], [0.25, 2.0]]}),
    "logistic": (logistic, {"bias": 0.5, "weight": [0.0, 1.0, -1.0]}),
}
WOLFE = {"line_search_fn": "strong_wolfe"}
# problem, options, how many steps
CASES = [
    ("rosenbrock", {**WOLFE, "max_iter": 5}, 12),
    ("rosenbrock", {**WOLFE, "max_iter": 4, "history_size": 2, "lr": 0.5}, 12),
    ("rosenbrock", {**WOLFE, "max_iter": 10, "max_eval": 3}, 12),
    ("rosenbrock", {"lr": 1e-3, "max_iter": 3}, 10),
    ("quadratic", {}, 3),
    ("quadratic", {"lr": 0.5, "max_iter": 2, "history_size": 3}, 10),
    ("quadratic", {**WOLFE, "max_iter": 1}, 10),
    ("quadratic", {**WOLFE, "maximize": True, "max_iter": 3}, 5),
    ("logistic", {**WOLFE}, 3),
    ("logistic", {"max_iter": 4, "tolerance_grad": 1e-3}, 8),
    ("logistic", {**WOLFE, "lr": 0.1, "max_iter": 3, "tolerance_change": 1e-4}, 8),
]


def run(problem, options, steps):
    loss_of, start = PROBLEMS[problem]
    params = {name: torch.nn.Parameter(torch.tensor(values)) for name, values in start.items()}
    sign = -1 if options.get("maximize") else 1
    optimizer = torch.optim.LBFGS(list(params.values()), **options)

    def closure():
        optimizer.zero_grad()
        loss = sign * loss_of(params)
        loss.backward()
        return loss

    kept = []
    for _ in range(steps):
        loss = optimizer.step(closure).item()
        flat = torch.cat([param.detach().flatten() for param in params.values()]).tolist()
        state = optimizer.state[next(iter(params.values()))]
        counts = {"n_iter": state["n_iter"], "func_evals": state["func_evals"]}
        kept.append({"loss": loss, "params": flat, **counts})
    return {"problem": problem, "options": options, "steps": kept}


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    cases = [run(*case) for case in CASES]
    fixture = {"versions": {"torch": torch.__version__}, "cases": cases}
    FIXTURE.write_text(json.dumps(fixture) + "\n")
    for case in cases:
        last = case["steps"][-1]
        print(case["problem"], case["options"], [round(s["loss"], 6) for s in case["steps"]], last["n_iter"])
