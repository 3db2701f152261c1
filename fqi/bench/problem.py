"""Logs of any size, made up, to measure on."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.log import Log
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import Transitions, transitions

INPUTS, ACTIONS = 4, 2  # as in CartPole
EPISODE = 100  # steps


def random_log(steps: int) -> Log:
    """Random frames of four columns, two actions, rewards that depend on the frame."""
    generator = np.random.default_rng(0)
    episodes = steps // EPISODE
    last = np.zeros(episodes * EPISODE, np.bool_)
    last[EPISODE - 1 :: EPISODE] = True
    frames = generator.normal(size=(len(last) + episodes, INPUTS)).astype(np.float32)
    return Log(
        observations=frames,
        actions=generator.integers(ACTIONS, size=len(last)),
        rewards=generator.normal(size=len(last)),
        terminations=last,
        truncations=np.zeros_like(last),
        lengths=np.full(episodes, EPISODE),
        observation_space=gym.spaces.Box(-np.inf, np.inf, (INPUTS,), np.float32),
        action_space=gym.spaces.Discrete(ACTIONS),
    )


def bound_mlp(rows: Transitions, heads: int, workers: int = 1, device: str = "cpu", **settings: Any) -> Mlp:
    """A population that is ready to be fitted to these rows."""
    log = rows.log
    q = Mlp(
        MlpSettings(**settings), log.observation_space, log.action_space, range(heads), torch.device(device), workers
    )
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    return q


def random_rows(steps: int) -> Transitions:
    """Rows of a random log."""
    return transitions(random_log(steps), 0.99)
