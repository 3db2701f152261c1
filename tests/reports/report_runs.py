"""Run directories to report on: really trained on a small log, with planted evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.log import Log
from fqi.run import Run
from fqi.training import configure, train


def log(steps: int = 240, seed: int = 0, environment: str = "CartPole-v1", **provenance: Any) -> Log:
    """CartPole by its shapes alone: noise, with episodes of 24 steps."""
    rng = np.random.default_rng(seed)
    lengths = np.full(steps // 24, 24)
    ends = np.zeros(steps, np.bool_)
    ends[np.cumsum(lengths) - 1] = True
    space = gym.spaces.Box(-10, 10, (4,), np.float32)
    return Log(
        observations=rng.normal(size=(steps + len(lengths), 4)).astype(np.float32),
        actions=rng.integers(0, 2, steps),
        rewards=np.ones(steps, np.float32),
        terminations=ends,
        truncations=np.zeros(steps, np.bool_),
        lengths=lengths,
        observation_space=space,
        action_space=gym.spaces.Discrete(2),
        behaviour=np.zeros(steps, np.int32),
        behaviours=("random",),
        environment={"id": environment, "kwargs": {}, "max_episode_steps": 500},
        provenance={"tool": "a test", "policy": "random", **provenance},
    )


def trained(path: Path, *, rounds: int = 6, members: int = 3, reference: str = "logs/cartpole.h5", **known: Any) -> Run:
    """A finished run of a very small mlp."""
    settings = {"iterations": rounds, "seeds": members, "ensemble": 2, "workers": 1, "device": "cpu"}
    data = log(**known)
    config = configure(data, settings | {"mlp": {"width": 8, "depth": 1, "updates": 4, "batch": 32}})
    return train(data, config, path, log_reference=reference, command=["fqi", "train", reference, "--out", str(path)])


def evaluations(
    rounds: list[int],
    *,
    returns: Callable[[int], float],
    discounted: Callable[[int], float],
    bias: Callable[[int], float],
    members: int = 3,
    episodes: int = 20,
    noise: float = 1.0,
    seed: int = 0,
    **more: Any,
) -> list[dict[str, Any]]:
    """Rows as `fqi evaluate` writes them, around planted means."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in rounds:
        starts = rng.normal(0, noise, episodes)
        for member in range(members):
            own = rng.normal(0, noise / 4)
            realised = discounted(number) + own + starts + rng.normal(0, noise / 4, episodes)
            rows.append({
                "round": number,
                "member": member,
                "environment": "CartPole-v1",
                "seed": 0,
                "episodes": episodes,
                "gamma": 0.99,
                "limit": 500,
                "returns": (returns(number) + own + rng.normal(0, noise, episodes)).tolist(),
                "discounted": realised.tolist(),
                "predicted": (realised + bias(number) + rng.normal(0, noise / 4, episodes)).tolist(),
                "lengths": [100] * episodes,
                "terminated": [True] * episodes,
                "success": None,
                "tail": [0.0] * episodes,
            } | more)  # fmt: skip
    return rows


def metrics(
    rounds: int,
    *,
    mean_q: Callable[[int], float],
    members: int = 3,
    low: float | None = 1.0,
    high: float | None = 100.0,
    beyond: Callable[[int], float] = lambda _: 0.0,
    max_q: Callable[[int], float] | None = None,
    noise: float = 0.0,
) -> list[dict[str, Any]]:
    """Rows as training writes them, with planted Q-values."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(1, rounds + 1):
        for member in range(members):
            mean = mean_q(number) + rng.normal(0, noise) if noise else mean_q(number)
            rows.append({
                "round": number,
                "member": member,
                "training_loss": 1.0 / number,
                "heldout_loss": 1.2 / number,
                "mean_q": mean,
                "min_q": mean - 1.0,
                "max_q": max_q(number) if max_q else mean + 1.0,
                "mean_value": mean,
                "target_mean": mean,
                "target_spread": 1.0,
                "bellman_residual": 0.5,
                "beyond_bounds": beyond(number),
                "disagreement": 0.1,
                "lowest_earnable": low,
                "highest_earnable": high,
                "updates": 300.0,
                "weight_norm": 10.0 + number,
                "gradient_norm": 0.1,
                "q_counts": [1, 2, 1],
                "greedy_shares": [0.25, 0.75],
                "seconds": 1.5,
            })  # fmt: skip
    return rows
