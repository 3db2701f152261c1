"""Option by option: what each changes on mixed logs, against the defaults on the same logs and seeds.

    python docs/experiments/options.py defaults              # the defaults on all four tasks
    python docs/experiments/options.py all                   # every option of OPTIONS
    python docs/experiments/options.py target=mean n_step=3,n_step_rule=cut --tasks CartPole-v1 --seeds 3
    python docs/experiments/options.py constraint=0.3 --policies scripted,epsilon=0.05 --steps 5000 --base ensemble=2

Each cell collects a log (half of the episodes random, half by a scripted expert of whose actions a share of 0.3 is
random), trains on it with the defaults and these options, and plays 100 episodes from reset seeds that no log has. Seed
s is that of the log and of the training. Cells are kept in --out, and those that are there are not done again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from fqi.datasets.collect import Request, collect
from fqi.reports.evaluation import evaluate
from fqi.training import configure, train

TASKS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3")
POLICIES = ["random", "scripted,epsilon=0.3"]
OPTIONS = (
    "target=max", "target=mean", "target=min", "target=clipped", "target=double", "target=double-previous",
    "target=mixture", "target=softmax", "target=mellowmax", "ensemble=1", "ensemble=2", "average=3",
    "constraint=0.3", "conservative=0.1", "bound=none", "n_step=3", "n_step=3,n_step_rule=cut",
    "n_step=3,n_step_rule=importance", "n_step=5,trace_decay=0.7", "weights=prioritised", "weights=split",
    "loss=huber", "start=cold",
)  # fmt: skip


HEADER = (
    "| task | options | return | against the defaults | worst seed | best component | predicted / realised | seeds |\n"
    "|---|---|---|---|---|---|---|---|"
)


def parsed(text):
    """`n_step=3,n_step_rule=cut` as flags."""
    flags = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            flags[name] = json.loads(value)
        except ValueError:
            flags[name] = value
    return flags


def components(log):
    """Mean return by who acted."""
    who = log.behaviour[log.starts]
    return {log.behaviours[i]: float(log.returns[who == i].mean()) for i in np.unique(who)}


def cell(task, options, seed, given):
    flags = {"seed": seed} | parsed(given.base) | parsed(options)
    if flags.get("regressor", "mlp") == "mlp":
        flags["workers"] = 1
    with tempfile.TemporaryDirectory() as folder:
        request = Request.new(task, {"policies": given.policies, "seed": seed}, given.steps, None)
        log = collect(request, Path(folder) / "log.h5")
        config = configure(log, flags=flags)
        run = train(log, config, Path(folder) / "run")
        (row,) = evaluate(run, [run.rounds[-1]], episodes=given.episodes, seed=seed)
        seconds = sum(m["seconds"] for m in run.metrics)
    return {
        "task": task, "options": options, "seed": seed, "steps": given.steps, "return": float(np.mean(row["returns"])),
        "predicted": float(np.mean(row["predicted"])), "realised": float(np.mean(row["discounted"])),
        "components": components(log), "target": config.train.target, "seconds": seconds,
    }  # fmt: skip


def interval(values):
    """Mean and half the width of Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0
    return float(np.mean(values)), float(half)


def table(rows):
    """A line for each task and option, with the difference from the defaults on the same seeds."""
    base = {(r["task"], r["seed"]): r["return"] for r in rows if r["options"] == ""}
    for task, options in dict.fromkeys((r["task"], r["options"]) for r in rows):
        own = [r for r in rows if (r["task"], r["options"]) == (task, options)]
        mean, half = interval([r["return"] for r in own])
        best = np.mean([max(r["components"].values()) for r in own])
        paired = [r["return"] - base[task, r["seed"]] for r in own if (task, r["seed"]) in base]
        gain, around = interval(paired) if paired else (np.nan, np.nan)
        predicted, realised = (np.mean([r[k] for r in own]) for k in ("predicted", "realised"))
        print(
            f"| {task} | {options or 'defaults'} | {mean:.1f} ± {half:.1f} | {gain:+.1f} ± {around:.1f} | "
            f"{min(r['return'] for r in own):.1f} | {best:.1f} | {predicted:.1f} / {realised:.1f} | {len(own)} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("options", nargs="+")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--base", default="", help="options of every cell, that of the defaults too")
    parser.add_argument("--out", type=Path, default=Path("options.jsonl"))
    given = parser.parse_args()
    asked = ["", *OPTIONS] if given.options == ["all"] else [o if o != "defaults" else "" for o in given.options]
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for options in asked:
        for seed in range(given.first, given.first + given.seeds):
            for task in given.tasks:
                if any((r["task"], r["options"], r["seed"]) == (task, options, seed) for r in rows):
                    continue
                rows.append(cell(task, options, seed, given))
                print(json.dumps(rows[-1]), flush=True)
                with given.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(HEADER)
    table(rows)


if __name__ == "__main__":
    main()
