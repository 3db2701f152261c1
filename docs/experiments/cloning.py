"""Cloning and DAgger on small tasks: what they score, and how far a clone leaves the states that it was taught.

    python docs/experiments/cloning.py clone    # from 10 episodes of an expert, from a mixture, continuous actions
    python docs/experiments/cloning.py dagger   # from nothing, seeds 10 to 14

Logs are collected into a temporary folder; 100 judged episodes for each seed, from reset seeds that no log has.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fqi.baselines.cloning import clone, own_states, shift
from fqi.baselines.dagger import dagger
from fqi.baselines.settings import CloneSettings, DaggerSettings
from fqi.behaviour import Blocks, Component, Mixture
from fqi.datasets.collect import Request, collect
from fqi.environments.make import environment_record, make_slots
from fqi.policy_specs import component
from fqi.rollout import play

STARTS = np.arange(100) + 1_000_000
SEEDS = range(10, 15)


def judge_of(environment):
    """Returns [P, 100] of policies."""

    def judge(policies):
        slots = make_slots(environment, len(policies) * len(STARTS))
        actor = Blocks([Mixture([Component("policy", p)], slots.action_space) for p in policies])
        starts = np.tile(STARTS, len(policies))
        returns = play(slots, actor, starts, environment["max_episode_steps"], 1.0).returns
        return returns.reshape(len(policies), -1)

    return judge


def cloned(task, specs, options, *, steps=None, episodes=None):
    """One row of the page."""
    with tempfile.TemporaryDirectory() as folder:
        request = Request.new(task, {"policies": specs, "seed": 0}, steps, episodes)
        log = collect(request, Path(folder) / "log.h5")
    environment = log.environment
    slots = make_slots(environment, 20)
    expert = component("scripted:", log.observation_space, log.action_space, environment).policy
    clock = time.perf_counter()
    learned = clone(log, CloneSettings(**options), SEEDS)
    seconds = time.perf_counter() - clock
    returns = judge_of(environment)(learned.policies).mean(1)
    limit = environment["max_episode_steps"]
    own = [own_states(policy, slots, STARTS[:20], limit) for policy in learned.policies]
    on_log = shift(learned, expert, log.observations, log.action_space).mean()
    on_own = shift(learned, expert, own, log.action_space).mean()
    print(
        f"{task} {'+'.join(specs)} {options}: log {log.steps} steps, mean return {log.returns.mean():.1f}; clones "
        f"{returns.mean():.1f} ({' '.join(f'{r:.1f}' for r in returns)}); expert's action on the log's states "
        f"{on_log:.4f}, on its own {on_own:.4f}; {seconds:.0f} s",
        flush=True,
    )


def asked(task, **options):
    """A table of the page."""
    environment = environment_record(task)
    slots = make_slots(environment, 1)
    expert = component("scripted:", slots.observation_space, slots.action_space, environment).policy
    settings, judge = DaggerSettings(**options), judge_of(environment)
    limit = environment["max_episode_steps"]
    clock = time.perf_counter()
    learned = dagger(None, environment, expert, settings, SEEDS, limit, judge)
    print(f"{task}: expert {judge([expert]).mean():.1f}; {time.perf_counter() - clock:.0f} s with 100 episodes a round")
    for start in range(0, len(learned.curve), len(SEEDS)):
        rows = learned.curve[start : start + len(SEEDS)]
        with_expert = [row.get("agreement", row.get("difference")) for row in rows]
        said = "" if with_expert[0] is None else f"{np.mean(with_expert):.4f}"
        returns = [row["return"] for row in rows]
        print(
            f"| {rows[0]['iteration']} | {rows[0]['queries']} | {np.mean(returns):.1f} | {min(returns):.1f} | {said} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["clone"]:
        for few in ("CartPole-v1", "MountainCar-v0", "Acrobot-v1"):
            cloned(few, ["scripted:"], {}, episodes=10)
        mixed = ["scripted:cartpole,epsilon=0.3", "random"]
        for chosen in ({}, {"act": "sample"}, {"best": 20.0}):
            cloned("CartPole-v1", mixed, chosen, steps=50_000)
        for chosen in ({}, {"head": "gaussian"}, {"head": "gaussian", "act": "sample"}):
            cloned("Pendulum-v1", ["scripted:"], chosen, episodes=50)
    elif sys.argv[1:] == ["dagger"]:
        for each in ("CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1"):
            asked(each)
    else:
        sys.exit(__doc__)
