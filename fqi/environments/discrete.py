"""Continuous actions as a grid of discrete ones: evenly spaced in every dimension, bounds included."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.placing import placer
from fqi.errors import UserError
from fqi.nest import Array, Nest
from fqi.slots import Slots

_MOST = 4096  # actions of a grid


def grid(space: gym.Space[Any], actions: int | list[int], id: str) -> Array:
    """The continuous action [A, *shape] that each discrete one stands for, the last dimension fastest.

    `actions` counts the points of every dimension, or of each in a list.
    """
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"{id} has no continuous actions to make discrete (found {space})")
    if not space.is_bounded():
        raise UserError(f"actions of {id} cannot be spaced evenly without bounds (found {space})")
    low, high = space.low.ravel(), space.high.ravel()
    counts = actions if isinstance(actions, list) else [actions] * len(low)
    if not all(type(n) is int and n >= 2 for n in counts):
        raise UserError(f"actions must be a whole number of at least 2, or a list of such (got {actions!r})")
    if len(counts) != len(low):
        raise UserError(f"actions of {id} have {len(low)} dimensions, but numbers are given for {len(counts)}")
    if math.prod(counts) > _MOST:
        raise UserError(f"a grid of {math.prod(counts)} actions is too large for {id}: at most {_MOST}")
    points = [np.linspace(a, b, n) for a, b, n in zip(low.tolist(), high.tolist(), counts, strict=True)]
    combined = np.stack([axis.ravel() for axis in np.meshgrid(*points, indexing="ij")], axis=1)
    return combined.astype(space.dtype).reshape(-1, *space.shape)


class DiscreteActions(gym.Env[Any, np.int64]):
    """One environment, its continuous actions made discrete."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, env: gym.Env[Any, Any], actions: int | list[int], id: str) -> None:
        self._env = env
        self._grid = grid(env.action_space, actions, id)  # [A, *action]
        self.observation_space = env.observation_space
        self.action_space = gym.spaces.Discrete(len(self._grid))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._env.reset(seed=seed, options=options)

    def step(self, action: np.int64) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"action must be a whole number below {len(self._grid)} (got {action!r})")
        return self._env.step(self._grid[action])

    def close(self) -> None:
        self._env.close()


class DiscreteActionsSlots:
    """The same for environments side by side: as fast as they are."""

    def __init__(self, inner: Slots, actions: int | list[int], id: str) -> None:
        self.count = inner.count
        self._inner = inner
        self._grid = grid(inner.action_space, actions, id)  # [A, *action]
        self.observation_space = inner.observation_space
        self.action_space: gym.Space[Any] = gym.spaces.Discrete(len(self._grid))
        self.place = placer(inner)

    def reset(self, slots: Array, seeds: Array) -> Nest:
        return self._inner.reset(slots, seeds)

    def step(self, slots: Array, actions: Array) -> tuple[Nest, Array, Array, Array, Array | None]:
        return self._inner.step(slots, self._grid[actions])

    def close(self) -> None:
        self._inner.close()
