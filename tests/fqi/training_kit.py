"""A small log and small settings to train with, and what two runs must have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.log import Log
from fqi.run import Run
from fqi.settings import Config
from fqi.training import configure, resume, train

SMALL = {
    "iterations": 4, "ensemble": 2, "updates": 12, "width": 8, "depth": 1, "batch": 32, "workers": 1, "gamma": 0.9,
    "constraint": 0.0,
}  # fmt: skip


def walks(episodes: int = 12, seed: int = 0) -> Log:
    """Random walks on a line of which the right end pays 1 and ends; cut after 20 steps."""
    generator = np.random.default_rng(seed)
    observations, actions, rewards, terminations, lengths = [], [], [], [], []
    for _ in range(episodes):
        place = generator.uniform(-1, 0)
        observations.append([place, 1.0])
        before = len(actions)
        for _ in range(20):
            action = int(generator.integers(2))
            place += (0.3 if action else -0.2) + generator.normal(0, 0.02)
            observations.append([place, 1.0])
            actions.append(action)
            rewards.append(float(place > 1))
            terminations.append(place > 1)
            if place > 1:
                break
        lengths.append(len(actions) - before)
    ends = np.cumsum(lengths) - 1
    ended = np.array(terminations, np.bool_)
    return Log(
        observations=np.array(observations, np.float32),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminations=ended,
        truncations=np.isin(np.arange(len(ended)), ends) & ~ended,
        lengths=np.array(lengths),
        observation_space=gym.spaces.Box(-np.inf, np.inf, (2,)),
        action_space=gym.spaces.Discrete(2),
        environment={"id": "Walk-v0", "kwargs": {}, "max_episode_steps": 20},
    )


def config_of(log: Log, sweep: dict[str, list[Any]] | None = None, **flags: Any) -> Config:
    return configure(log, flags=SMALL | flags, sweep=sweep)


def files(run: Run) -> dict[str, bytes]:
    """What must be the same bit for bit."""
    names = [f"rounds/{f.name}" for f in sorted((run.path / "rounds").iterdir())]
    return {name: (run.path / name).read_bytes() for name in [*names, "resume.safetensors"]}


def rows(run: Run) -> list[dict[str, Any]]:
    """The metrics but for the time."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics]


def assert_same(first: Run, second: Run) -> None:
    assert rows(first) == rows(second)
    one, other = files(first), files(second)
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []
    assert first.record["status"] == second.record["status"]


def start_or_go_on(path: Path, **flags: Any) -> None:
    """What a subprocess does that may be killed."""
    log = walks()
    if path.exists():
        resume(Run.open(path), log)
    else:
        train(log, config_of(log, **flags), path)
