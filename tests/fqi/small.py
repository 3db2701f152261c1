"""Small logs written by hand, for the tests of the core."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.log import Log


def log_of(*episodes: tuple[list[float], str], **columns: Any) -> Log:
    """Episodes given as (rewards, ending), ending one of terminated, truncated and both. The frame f is the number f;
    actions alternate 0, 1, 0, 1, …"""
    lengths = np.array([len(rewards) for rewards, _ in episodes], np.int64)
    N, M = int(lengths.sum()), len(lengths)
    ends = np.cumsum(lengths) - 1
    terminations, truncations = np.zeros(N, np.bool_), np.zeros(N, np.bool_)
    for end, (_, ending) in zip(ends, episodes, strict=True):
        terminations[end] = ending in ("terminated", "both")
        truncations[end] = ending in ("truncated", "both")
    values = {
        "observations": np.arange(N + M, dtype=np.float32)[:, None],
        "actions": np.arange(N) % 2,
        "rewards": np.array([r for rewards, _ in episodes for r in rewards], np.float64),
        "terminations": terminations,
        "truncations": truncations,
        "lengths": lengths,
        "observation_space": gym.spaces.Box(-np.inf, np.inf, (1,)),
        "action_space": gym.spaces.Discrete(2),
    }
    return Log(**(values | columns))
