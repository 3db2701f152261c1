"""Worlds written as pure functions of columns: one state row for each quantity, one column for each episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.nest import Array
from fqi.slots import refuse_ended


@dataclass(frozen=True)
class Program:
    """A world: where episodes begin, what is seen of a state, and what a step does to it."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    start: Callable[[Array], Array]  # reset seeds [B] int64 to states [S, B]
    frames: Callable[[Array], Array]  # states [S, B] to frames [B, ...]
    step: Callable[[Array, Array], tuple[Array, Array, Array]]
    # states [S, B] and actions [B, ...] to the states after it, rewards [B] float64 and terminations [B] bool
    states: Callable[[Array], Array] | None = None  # frames [B, ...] back to states [S, B], where they show all of it
    success: Callable[[Array], Array] | None = None  # states after a step [S, B] to bool [B], where the world tells it


class ProgramSlots:
    """Many episodes of a world as one array program."""

    def __init__(self, count: int, program: Program) -> None:
        self.count = count
        self.observation_space = program.observation_space
        self.action_space = program.action_space
        self._program = program
        none = program.start(np.zeros(0, np.int64))
        kept_as = np.float64 if none.dtype.kind == "f" else none.dtype  # a start may be seen in float32
        self._states = np.zeros((len(none), count), kept_as)  # [S, V]
        self._ended = np.ones(count, np.bool_)  # [V]
        self._all = np.arange(count)
        self.place = None if program.states is None else self._place

    def _place(self, slots: Array, frames: Array) -> None:
        """Go on from these frames: what `fqi.environments.placing` asks for."""
        assert self._program.states is not None
        self._states[:, slots] = self._program.states(frames)

    def reset(self, slots: Array, seeds: Array) -> Array:
        states = self._program.start(seeds)
        self._states[:, slots] = states
        self._ended[slots] = False
        return self._program.frames(states)

    def step(self, slots: Array, actions: Array) -> tuple[Array, Array, Array, Array, Array | None]:
        refuse_ended(self._ended, slots)
        every = len(slots) == self.count and bool((slots == self._all).all())
        before = self._states if every else self._states[:, slots]
        states, rewards, terminations = self._program.step(before, actions)
        if every:
            self._states = states
        else:
            self._states[:, slots] = states
        self._ended[slots] = terminations
        never = np.zeros(len(slots), np.bool_)
        success = None if self._program.success is None else self._program.success(states)
        return self._program.frames(states), rewards, terminations, never, success

    def close(self) -> None:
        """Nothing is held open."""


class ProgramEnv(gym.Env[Array, np.int64]):
    """One episode of a world, for whoever wants a plain Gymnasium environment."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, program: Program) -> None:
        self._slots = ProgramSlots(1, program)
        self._only = np.zeros(1, np.int64)
        self.observation_space = program.observation_space
        self.action_space = program.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        own = int(self.np_random.integers(2**53)) if seed is None else seed
        return self._slots.reset(self._only, np.array([own]))[0], {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"action must be one of {self.action_space} (got {action!r})")
        frames, rewards, terminations, _, success = self._slots.step(self._only, np.array([action]))
        info = {} if success is None else {"is_success": bool(success[0])}
        return frames[0], float(rewards[0]), bool(terminations[0]), False, info
