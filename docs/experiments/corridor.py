"""Cloning against DAgger in the corridor: how their exact regret grows with the horizon.

    python docs/experiments/corridor.py
    python docs/experiments/corridor.py --seeds 5 --budget 40000

Both learners are tables of majority votes: in a frame with labels the most frequent one, elsewhere the most frequent
label of all. Both get the same number of steps labelled by the expert, whatever the horizon: the cloner from the
expert's own episodes, DAgger a part from these and then from episodes that it plays itself. Regret is not estimated
but computed (`fqi.environments.corridor.regret`). The slopes are least squares on logarithms of the means over seeds,
their intervals from resampled seeds.
"""

import argparse

import numpy as np

from fqi.environments.corridor import ACTIONS, leaving_and_returning, regret
from fqi.environments.make import make_slots
from fqi.rollout import Streams
from fqi.scripted import corridor as expert

HORIZONS = (25, 50, 100, 200, 400)


class Votes:
    """The expert's labels, counted per frame."""

    def __init__(self, contexts):
        self.contexts = contexts
        self.counts = np.zeros((2 * contexts, ACTIONS), np.int64)  # [2N, A]

    def add(self, frames):
        np.add.at(self.counts, (self._cells(frames), expert(frames)), 1)

    def act(self, frames):
        counts = self.counts[self._cells(frames)]
        return np.where(counts.any(1), counts.argmax(1), self.counts.sum(0).argmax())

    def _cells(self, frames):
        return frames[:, 0] * self.contexts + frames[:, 1]


def visited(policy, length, steps, contexts, seed):
    """The frames [steps, 2] of episodes of this length by this policy; the last one is cut short."""
    count = -(-steps // length)
    slots = make_slots({"id": "fqi/Corridor-v0", "kwargs": {"length": length, "contexts": contexts}}, count)
    every = np.arange(count)
    frames, found = slots.reset(every, Streams(seed).episode_seeds(every, 0)), []
    for _ in range(length):
        found.append(frames)
        frames = slots.step(every, policy(frames))[0]
    return np.stack(found, axis=1).reshape(-1, 2)[:steps]  # episode by episode


def clone(length, steps, contexts, seed):
    votes = Votes(contexts)
    votes.add(visited(expert, length, steps, contexts, seed))
    return votes.act


def guessing(length, steps, contexts, seed):
    """The cloner, but where it has no label it takes every action with the same probability."""
    votes = Votes(contexts)
    votes.add(visited(expert, length, steps, contexts, seed))

    def probabilities(frames):
        known = votes.counts[frames[:, 0] * contexts + frames[:, 1]].any(1)
        return np.where(known[:, None], np.eye(ACTIONS)[votes.act(frames)], 1 / ACTIONS)

    return probabilities


def dagger(length, steps, contexts, seed, iterations=10):
    """Each iteration labels an equal part of the steps; the expert plays the first, the learner the others."""
    votes, policy = Votes(contexts), expert
    for number in range(iterations):
        votes.add(visited(policy, length, steps // iterations, contexts, 1000 * seed + number))
        policy = votes.act
    return votes.act


def slope(regrets):
    """Of log mean regret against log horizon; regrets [seeds, horizons]."""
    return np.polyfit(np.log(HORIZONS), np.log(regrets.mean(0)), 1)[0]


def interval(regrets, rng, resamples=2000):
    seeds = len(regrets)
    return np.percentile([slope(regrets[rng.integers(seeds, size=seeds)]) for _ in range(resamples)], (2.5, 97.5))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--contexts", type=int, default=10_000)
    parser.add_argument("--budget", type=int, default=80_000, help="labelled steps of each learner, at every horizon")
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    print(f"{given.contexts} contexts, {given.budget} labelled steps, {given.seeds} seeds")
    print("learner  horizon  mean regret (standard error)  leaves the lane  returns to it")
    for learner in (clone, guessing, dagger):
        regrets = np.zeros((given.seeds, len(HORIZONS)))
        for column, length in enumerate(HORIZONS):
            chances = np.zeros((given.seeds, 2))
            for seed in range(given.seeds):
                policy = learner(length, given.budget, given.contexts, seed)
                regrets[seed, column] = regret(policy, length, given.contexts)
                chances[seed] = leaving_and_returning(policy, given.contexts)
            mean, error = regrets[:, column].mean(), regrets[:, column].std(ddof=1) / given.seeds**0.5
            leaves, returns = chances.mean(0)
            print(f"{learner.__name__:8} {length:7}  {mean:.4f} ({error:.4f})  {leaves:.5f}  {returns:.4f}", flush=True)
        low, high = interval(regrets, np.random.default_rng(0))
        print(f"{learner.__name__}: slope {slope(regrets):.3f}, 95 % interval {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
