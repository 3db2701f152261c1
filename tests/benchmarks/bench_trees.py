"""What a round with frozen trees costs against one that grows them: `python tests/benchmarks/bench_trees.py`."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.log import Log
from fqi.qfunctions.settings import TreesSettings
from fqi.qfunctions.trees import TreesQ
from fqi.transitions import transitions

STEPS, ROUNDS = 50_000, 5


def noisy_log(steps: int) -> Log:
    """Episodes of one step each, with a reward that depends on one column."""
    generator = np.random.default_rng(0)
    places = generator.normal(size=(2 * steps, 3))
    return Log(
        observations=places,
        actions=generator.integers(2, size=steps),
        rewards=np.sin(3 * places[::2, 0]) + generator.normal(size=steps) / 10,
        terminations=np.zeros(steps, np.bool_),
        truncations=np.ones(steps, np.bool_),
        lengths=np.ones(steps, np.int64),
        observation_space=gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
        action_space=gym.spaces.Discrete(2),
    )


def rounds(**settings: Any) -> list[float]:
    """Seconds of each round: a fit, and the values of the whole log."""
    log = noisy_log(STEPS)
    rows = transitions(log, 0.9)
    q = TreesQ(TreesSettings(**settings), log.observation_space, log.action_space, [0], torch.device("cpu"))
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    targets, seconds = torch.from_numpy(rows.returns)[None], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        q.fit(targets)
        q.log_values(0, log.steps + log.episodes)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    found = rounds(freeze_structure_after=1)
    print(f"{STEPS} steps: growing {found[0]:.2f} s, frozen {min(found[2:]):.4f} s: {found[0] / min(found[2:]):.0f}x")
