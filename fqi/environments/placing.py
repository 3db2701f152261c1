"""Environments set to given frames, so that episodes begin in states of a log and not where a reset would put them.

The array programs that can read a state back from its frame have a method `place`; single environments are set by the
functions below. What cannot be set so (hidden states, pictures) begins from reset seeds alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.nest import Array, Nest, rows, take
from fqi.slots import Slots

Place = Callable[[Array, Nest], None]  # slots [b] that were just reset, and the frames [b, ...] to begin in
_MUJOCO = {  # class: positions that a frame leaves out, at the front, and on which nothing depends
    "InvertedPendulumEnv": 0,
    "HalfCheetahEnv": 1,
    "HopperEnv": 1,
    "Walker2dEnv": 1,
    "SwimmerEnv": 2,
}


class PlacedSlots:
    """Slots whose episodes begin in these frames, one for each slot; refused where they cannot be set."""

    def __init__(self, slots: Slots, frames: Nest, name: str) -> None:
        place = placer(slots)
        if place is None:
            raise UserError(f"{name} cannot be set to a logged frame; its episodes begin from reset seeds alone")
        self.inner, self.frames, self._place = slots, frames, place
        self.count = rows(frames)
        self.observation_space, self.action_space = slots.observation_space, slots.action_space

    @property
    def legal(self) -> Array | None:
        """What the environments say of their legal actions."""
        return getattr(self.inner, "legal", None)

    def reset(self, slots: Array, seeds: Array) -> Nest:
        self.inner.reset(slots, seeds)  # for what the seed decides later on
        own = take(self.frames, slots)
        self._place(slots, own)
        return own

    def step(self, slots: Array, actions: Array) -> tuple[Nest, Array, Array, Array, Array | None]:
        return self.inner.step(slots, actions)

    def close(self) -> None:
        self.inner.close()


def placer(slots: Any) -> Place | None:
    """What sets these slots to frames; None where nothing can."""
    if isinstance(slots, SingleSlots):
        return _single(slots)
    place: Place | None = getattr(slots, "place", None)
    return place


def certain(slots: Any) -> bool:
    """Whether nothing is left to chance once an episode has begun: array programs and MuJoCo, not the toy tables."""
    return not isinstance(slots, SingleSlots) or hasattr(slots.envs[0].unwrapped, "set_state")


def _single(slots: SingleSlots) -> Place | None:
    env: Any = slots.envs[0].unwrapped
    if hasattr(env, "P") and hasattr(env, "s"):
        setter: Callable[[Any, Any], None] = _toy_text
    elif type(env).__name__ in _MUJOCO and type(env).__module__.startswith("gymnasium.envs.mujoco"):
        setter = _mujoco
    else:
        return None

    def place(which: Array, frames: Nest) -> None:
        for slot, frame in zip(which.tolist(), np.asarray(frames), strict=True):
            inner: Any = slots.envs[slot].unwrapped
            setter(inner, frame)
            if slots.legal is not None:
                mask = inner.action_mask(int(frame))
                slots.legal[slot] = np.asarray(mask, np.bool_)

    return place


def _toy_text(env: Any, frame: Any) -> None:
    env.s, env.lastaction = int(frame), None


def _mujoco(env: Any, frame: Array) -> None:
    """Positions and speeds as the frame shows them; those of Hopper and Walker2d are cut at 10, and begin there."""
    skipped = _MUJOCO[type(env).__name__]
    positions, speeds = np.zeros(env.model.nq), np.zeros(env.model.nv)
    shown = env.model.nq - skipped
    positions[skipped:], speeds[:] = frame[:shown], frame[shown:]
    env.set_state(positions, speeds)
