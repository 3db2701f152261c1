"""NFQ's pole: how often a log of so many random episodes suffices for a policy that never falls.

    python docs/experiments/nfq_pole.py                      # 50 repeats at 50, 100, 150 and 200 episodes
    python docs/experiments/nfq_pole.py --episodes 100 --repeats 10 --first 1000 ensemble=2

Each repeat has a log of its own (seed FIRST, FIRST + 1, …), which is also the seed of its training. A policy succeeds
when it balances the pole in 1,000 tests of 300 s, from reset seeds that no log has: one fall is a failure.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from options import parsed

from fqi.datasets.collect import Request, collect
from fqi.environments.make import make_slots
from fqi.policies import Greedy
from fqi.reports.evaluation import start_seeds
from fqi.threads import one_thread
from fqi.training import configure, train

TASK = "fqi/NfqPole-v0"
STEPS = 3000  # 300 s
SETTINGS = {
    "gamma": 0.95, "iterations": 20, "target": "max", "ensemble": 3, "width": 32, "updates": 100, "holdout": 0.0,
    "workers": 1,
}  # fmt: skip


def balanced(policy, seeds, steps=STEPS):
    """Steps until the first of these episodes falls; `steps` if none does."""
    slots = make_slots({"id": TASK}, len(seeds))
    every = np.arange(len(seeds))
    frames = slots.reset(every, seeds)
    for step in range(steps):
        frames, _, fallen, _, _ = slots.step(every, policy.probabilities(frames).argmax(1))
        if fallen.any():
            return step
    return steps


def repeat(episodes, seed, flags, tests=1000):
    """Rows of the log, and steps until the first fall in all the tests."""
    with tempfile.TemporaryDirectory() as folder, one_thread():
        request = Request.new(TASK, {"policies": ["random"], "seed": seed}, None, episodes)
        log = collect(request, Path(folder) / "log.h5")
        config = configure(log, flags=SETTINGS | flags | {"seed": seed})
        run = train(log, config, Path(folder) / "run")
        q = run.build()
        run.load(q, run.rounds[-1])
        return log.steps, balanced(Greedy(q), start_seeds(seed, tests))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("options", nargs="?", default="", help="as in options.py")
    parser.add_argument("--episodes", nargs="+", type=int, default=[50, 100, 150, 200])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    for episodes in given.episodes:
        successes = 0
        for seed in range(given.first, given.first + given.repeats):
            rows, steps = repeat(episodes, seed, parsed(given.options))
            successes += steps == STEPS
            print(f"{episodes} episodes, {rows} rows, seed {seed}: no fall in {steps} steps", flush=True)
        print(f"{episodes} episodes: {successes} of {given.repeats} never fall", flush=True)


if __name__ == "__main__":
    main()
