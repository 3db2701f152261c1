"""Grasping with continuous poses from the log of a careless script: fitted Q-iteration against cloning.

    python docs/experiments/grasp_poses.py
    python docs/experiments/grasp_poses.py --run RUN --rounds 4,6,8

The log holds 150,000 steps by a script that lifts the object in three of ten scenes. All are judged on the same scenes,
which no log and no training has seen. Intervals are Wilson's of 95 %, over scenes.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fqi.baselines.cloning import clone
from fqi.baselines.settings import CloneSettings
from fqi.behaviour import Component, Mixture
from fqi.datasets.collect import Request, collect
from fqi.datasets.load import load_log
from fqi.environments.grasp_poses import MOVES, careless
from fqi.environments.make import make_slots
from fqi.policies import Function, greedy
from fqi.reports.evaluation import start_seeds
from fqi.reports.statistics import share
from fqi.rollout import play
from fqi.run import Run
from fqi.training import configure, train

ENV = "fqi/GraspPoses-v0"
SETTINGS = {
    "iterations": 10, "gamma": 0.85, "target": "clipped", "updates": 1500, "width": 96,
    "cem_samples": 24, "cem_elites": 4, "cem_iterations": 1, "seeds": 3,
}  # fmt: skip


def judge(name, policy, slots, seeds):
    with torch.no_grad():
        played = play(slots, Mixture([Component(name, policy)], slots.action_space), seeds, MOVES, gamma=0.0)
    found = share([played.success.tolist()])
    print(
        f"{name:28s} success {100 * found.mean:5.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f}), "
        f"{played.lengths.mean():.2f} actions",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="judge this run instead of training")
    parser.add_argument("--log", type=Path, help="take this log instead of collecting")
    parser.add_argument("--rounds", default="", help="the rounds to judge, with commas between [default: the last]")
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--clones", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)

    with TemporaryDirectory() as folder:
        path = given.log or Path(folder) / "careless.h5"
        if given.log is None:
            spec = "py:fqi.environments.grasp_poses:careless"
            collect(Request.new(ENV, {"policies": [spec], "seed": given.seed}, given.steps, None), path)
        log = load_log(str(path))
        print(
            f"log: {log.steps:,} steps, {log.episodes:,} episodes, {100 * log.returns.mean():.1f} % lifted", flush=True
        )
        run = Run.open(given.run) if given.run else train(log, configure(log, flags=SETTINGS), Path(folder) / "run")
        slots, seeds = make_slots({"id": ENV}, given.scenes), start_seeds(0, given.scenes)
        q, heads = run.build(), run.config.heads
        rounds = [int(part) for part in given.rounds.split(",") if part] or run.rounds[-1:]
        for number in rounds:
            run.load(q, number)
            for m in range(run.config.train.seeds):
                judge(f"fqi, round {number}, seed {m}", greedy(q, slice(m * heads, (m + 1) * heads)), slots, seeds)
        judge("the script", Function(careless, slots.action_space, "careless"), slots, seeds)
        learned = clone(log, CloneSettings(), range(given.clones))
        for m, policy in enumerate(learned.policies):
            judge(f"bc, seed {m}", policy, slots, seeds)


if __name__ == "__main__":
    main()
