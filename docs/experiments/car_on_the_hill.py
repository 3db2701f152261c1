"""Car-on-the-Hill: 1,000 random episodes, gamma 0.95, K = 50; mean discounted return over the literature's 289 starts.

    python docs/experiments/car_on_the_hill.py --data-seeds 5 --bare
    python docs/experiments/car_on_the_hill.py --data-seeds 5 regressor=trees regrow_every=10
    python docs/experiments/car_on_the_hill.py --data-seeds 5 regressor=mlp ensemble=10 width=128

The optimum is 0.35276. Settings are typed as NAME=VALUE, with the names of `fqi train`'s flags.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from fqi.behaviour import Component, Mixture
from fqi.datasets.collect import Request, collect
from fqi.environments.make import make_slots
from fqi.policies import Function, Greedy
from fqi.reports.evaluation import predictions
from fqi.rollout import play
from fqi.training import configure, train

GRID = {"id": "fqi/CarOnTheHill-v0", "kwargs": {"start": "grid"}, "max_episode_steps": None}


def score(run, number):
    """Mean realised and predicted value over the 289 starts."""
    q = run.build()
    run.load(q, number)
    slots = make_slots(GRID, 289)
    heads = slice(0, run.config.heads)
    played = play(
        slots, Mixture([Component("greedy", Greedy(q, heads))], slots.action_space), np.arange(289), None, 0.95
    )
    return float(played.discounted.mean()), float(predictions(run, q, played.starts, number).mean())


class BareTrees:
    """The textbook loop: one scikit-learn forest for each action, 50 trees, leaves grown until they are pure."""

    def __init__(self, log, rounds, seed):
        frames, index, y = log.observations, log.frame_of_step, log.rewards.copy()
        after = frames[index + 1]
        for number in range(rounds):
            self.forests = []
            for action in range(2):
                rows = log.actions == action
                forest = ExtraTreesRegressor(50, min_samples_split=2, n_jobs=-1, random_state=seed * 1000 + number)
                self.forests.append(forest.fit(frames[index[rows]], y[rows]))
            y = log.rewards + np.where(log.terminations, 0.0, 0.95) * self.values(after).max(1)

    def values(self, frames):
        return np.stack([forest.predict(frames) for forest in self.forests], axis=1)

    def score(self):
        slots = make_slots(GRID, 289)
        actor = Mixture([Component("bare", Function(lambda f: self.values(f).argmax(1), slots.action_space, "bare"))],
                        slots.action_space)  # fmt: skip
        played = play(slots, actor, np.arange(289), None, 0.95)
        return float(played.discounted.mean()), float(self.values(played.starts).max(1).mean())


def value(text):
    """A number where it is one."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", default="50", help="rounds to score, separated by commas")
    parser.add_argument("--bare", action="store_true", help="a bare scikit-learn loop on the same rows instead")
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    flags = {"gamma": 0.95, "iterations": 50} | {k: value(v) for k, v in (s.split("=") for s in arguments.settings)}
    wanted = [int(n) for n in arguments.rounds.split(",")]
    found = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.data_seeds):
        with TemporaryDirectory() as folder:
            request = Request.new("fqi/CarOnTheHill-v0", {"seed": seed}, None, 1000)
            log = collect(request, Path(folder) / "car.h5")
            clock = time.perf_counter()
            if arguments.bare:
                scores = {50: BareTrees(log, 50, seed).score()}
            else:
                run = train(log, configure(log, flags=flags | {"seed": seed}), Path(folder) / "run")
                scores = {n: score(run, n) for n in wanted}
            seconds = time.perf_counter() - clock
        found.append(scores[max(scores)][0])
        goals = int((log.rewards == 1).sum())
        text = ", ".join(f"round {n}: {real:.4f} (predicted {said:.4f})" for n, (real, said) in scores.items())
        print(f"data seed {seed}: {log.steps} steps, {goals} goals; {text}; {seconds:.0f} s", flush=True)
    spread = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else float("nan")
    print(f"{' '.join(arguments.settings)}: mean {np.mean(found):.4f} +- {spread:.4f} (standard error)", flush=True)


if __name__ == "__main__":
    main()
