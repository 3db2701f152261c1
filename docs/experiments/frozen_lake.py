"""Option by option on FrozenLake from random steps, where the worth of every policy is known.

    python docs/experiments/frozen_lake.py

Tables, so that no network's noise is in the way. For every option: what the start is said to be worth less its optimum,
and what the greedy policy is worth by the true model, each with the difference from the defaults on the same log.
"""

import argparse
import json
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
from n_step import rounds
from scipy import stats

from fqi.datasets.collect import Request, collect

OPTIMUM = 0.542026  # of the start, gamma .99
OPTIONS = (
    {}, {"target": "double-previous"}, {"target": "softmax", "temperature": 0.02},
    {"target": "mellowmax", "temperature": 0.02}, {"target": "expectile"}, {"target": "expectile", "expectile": 0.99},
    {"average": 3}, {"constraint": 0.5}, {"bound": "none"}, {"weights": "prioritised"}, {"occupancy": "discounted"},
    {"holdout": 0.2},
)  # fmt: skip


def true_worth(policy, gamma=0.99):
    """Of the start under a policy [16], by the true model."""
    onward, reward = np.zeros((16, 16)), np.zeros(16)
    for s, of_state in gym.make("FrozenLake-v1").unwrapped.P.items():
        for chance, following, paid, ended in of_state[int(policy[s])]:
            reward[s] += chance * paid
            onward[s, following] += chance * (not ended)
    return np.linalg.solve(np.eye(16) - gamma * onward, reward)[0]


def interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):+.4f} ± {half:.4f}"


def table(rows):
    options = list(dict.fromkeys(row["options"] for row in rows))
    of = {o: np.array([[r["start"] - OPTIMUM, r["policy"]] for r in rows if r["options"] == o]) for o in options}
    print("| options | start less optimum | less the defaults | policy | less the defaults |\n|---|---|---|---|---|")
    for option, found in of.items():
        change = found - of["{}"][: len(found)]
        cells = [interval(column) for column in (found[:, 0], change[:, 0], found[:, 1], change[:, 1])]
        print(f"| {option} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--logs", type=int, default=6)
    parser.add_argument("--first", type=int, default=1000, help="the first log's seed")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("frozen_lake.jsonl"), help="what is there is not done again")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for seed in range(given.first, given.first + given.logs):
        if any(row["seed"] == seed for row in rows):
            continue
        with tempfile.TemporaryDirectory() as folder:
            request = Request.new("FrozenLake-v1", {"policies": ["random"], "seed": seed}, given.steps, None)
            log = collect(request, Path(folder) / "log.h5")
        own = []
        for option in OPTIONS:
            q = rounds(log, {"gamma": 0.99, **option}, given.rounds)[-1]
            start, policy = float(q[0].max()), float(true_worth(q.argmax(1)))
            own.append({"seed": seed, "options": str(option), "start": start, "policy": policy})
        rows += own
        with given.out.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in own)
    table(rows)


if __name__ == "__main__":
    main()
