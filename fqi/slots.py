"""Environments side by side. A slot plays one episode at a time and is reset with a seed of its own.

Time limits and resets are the caller's: no automatic reset, hence no fake transition after an episode's end.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from fqi.nest import Array, Nest


class Slots(Protocol):
    """V environments of one kind. One whose environments say which actions are legal has an attribute `legal` as well:
    [V, A] bool, for the frame that each slot stands in."""

    count: int
    observation_space: gym.Space[Any]  # of one environment
    action_space: gym.Space[Any]

    def reset(self, slots: Array, seeds: Array) -> Nest:
        """Start new episodes in these slots, as `env.reset(seed=seed)` would; their first frames [len(slots), ...]."""

    def step(self, slots: Array, actions: Array) -> tuple[Nest, Array, Array, Array, Array | None]:
        """One step in these slots: frames, rewards float64, terminations, truncations (the environment's own, not a
        time limit's), and success where the environment tells it (bool, else None); rows as in `slots`."""

    def close(self) -> None: ...


def all_slots(slots: Slots) -> Array:
    return np.arange(slots.count)


def legal_actions(slots: Slots) -> Array | None:
    """[V, A] bool: what each slot's environment allows in its present frame; None where it says nothing of that."""
    legal: Array | None = getattr(slots, "legal", None)
    return legal


def refuse_ended(ended: Array, slots: Array) -> None:
    """Raise where a slot would be stepped past its episode's end: what came out would be a fake transition."""
    if ended.any() and ended[slots].any():
        slot = int(slots[ended[slots]][0])
        raise gym.error.ResetNeeded(f"slot {slot} was stepped after its episode ended: reset it first")
