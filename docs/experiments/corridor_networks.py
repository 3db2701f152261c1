"""The corridor with the cloning and the DAgger of `fqi.baselines`, whose learners are networks.

    python docs/experiments/corridor_networks.py    # 40 seeds, 1,000 contexts, 7,000 labelled steps

Every learner of every seed and horizon gets the same number of labelled steps: the cloner from a log of its own of the
expert's episodes, DAgger ten parts, of which the expert plays the first. Regret is computed exactly from the learned
policy, so that the only spread is that between seeds.
"""

import argparse

import numpy as np
from corridor import HORIZONS, expert, interval, slope

from fqi.baselines.cloning import clone
from fqi.baselines.dagger import dagger
from fqi.baselines.settings import CloneSettings, DaggerSettings
from fqi.environments.corridor import leaving_and_returning, regret
from fqi.environments.make import make_slots
from fqi.log import Log
from fqi.policies import Function
from fqi.rollout import Streams

NETWORK = {"width": 32, "batch": 64}  # small: a context has an input of its own, nothing is to be found between them
TOGETHER = 10  # seeds of DAgger side by side: their rows lie in memory at once


def world(length, contexts):
    return {"id": "fqi/Corridor-v0", "kwargs": {"length": length, "contexts": contexts}}


def experts_log(length, steps, contexts, seed):
    """Episodes of this length by the expert."""
    count = -(-steps // length)
    slots, every = make_slots(world(length, contexts), count), np.arange(count)
    frames = [slots.reset(every, Streams(seed).episode_seeds(every, 0))]
    actions = []
    for _ in range(length):
        actions.append(expert(frames[-1]))
        frames.append(slots.step(every, actions[-1])[0])
    ends = np.zeros((count, length), bool)
    return Log(
        observations=np.stack(frames, 1).reshape(-1, 2),
        actions=np.stack(actions, 1).reshape(-1),
        rewards=np.zeros(count * length),
        terminations=ends.reshape(-1),
        truncations=(ends | (np.arange(length) == length - 1)).reshape(-1),
        lengths=np.full(count, length),
        observation_space=slots.observation_space,
        action_space=slots.action_space,
    )


def cloned(length, given):
    """The clone of each seed's own log; nothing is held out, as every context is seen too seldom to spare one."""
    settings = CloneSettings(updates=given.updates, holdout=0.0, patience=0, **NETWORK)
    for seed in range(given.seeds):
        log = experts_log(length, given.budget, given.contexts, 1_000_000 * length + seed)
        yield clone(log, settings, [seed]).policies[0]


def asked(length, given):
    settings = DaggerSettings(iterations=10, steps=given.budget // 10, updates=given.updates // 4, **NETWORK)
    slots = make_slots(world(length, given.contexts), 1)
    who = Function(expert, slots.action_space, "the expert")
    for first in range(0, given.seeds, TOGETHER):
        seeds = range(first, min(first + TOGETHER, given.seeds))
        yield from dagger(None, world(length, given.contexts), who, settings, seeds, length, None).policies


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--contexts", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=7000, help="labelled steps of each learner, at every horizon")
    parser.add_argument(
        "--updates", type=int, default=1000, help="gradient steps of a clone; DAgger's ten fits get a quarter"
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--learners", default="cloned,asked")
    given = parser.parse_args()
    print(f"{given.contexts} contexts, {given.budget} labels, {given.updates} updates a fit, {given.seeds} seeds")
    print("learner  horizon  mean regret (standard error)  leaves the lane  returns to it")
    for learner in (found for found in (cloned, asked) if found.__name__ in given.learners.split(",")):
        regrets = np.zeros((given.seeds, len(HORIZONS)))
        for column, length in enumerate(HORIZONS):
            chances = np.zeros((given.seeds, 2))
            for seed, policy in enumerate(learner(length, given)):
                regrets[seed, column] = regret(policy.probabilities, length, given.contexts)
                chances[seed] = leaving_and_returning(policy.probabilities, given.contexts)
            mean, error = regrets[:, column].mean(), regrets[:, column].std(ddof=1) / given.seeds**0.5
            leaves, returns = chances.mean(0)
            print(f"{learner.__name__:8} {length:7}  {mean:.4f} ({error:.4f})  {leaves:.5f}  {returns:.4f}", flush=True)
        low, high = interval(regrets, np.random.default_rng(0))
        print(f"{learner.__name__}: slope {slope(regrets):.3f}, 95 % interval {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
