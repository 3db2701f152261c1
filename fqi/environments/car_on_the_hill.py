"""Car-on-the-Hill (Ernst, Geurts and Wehenkel 2005): a car too weak to climb must first swing back.

State: position p and speed s. Action 0 pushes with -4, action 1 with +4. Reward -1 where p < -1 or |s| > 3, else +1
where p > 1, else 0; both ends are absorbing. The state is kept in float64, the frame shows it in float32.
The registered limit of 500 steps is out of the way: one uniformly random episode in about 100,000 lasts longer, and
at gamma .95 what follows weighs less than 1e-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.utils.seeding import np_random

from fqi.errors import UserError
from fqi.nest import Array
from fqi.slots import refuse_ended

STARTS = ("bottom", "uniform", "grid")
BOTTOM = (-0.5, 0.0)
LIMITS = np.array([1.0, 3.0])  # of position and speed; beyond them the episode ends
FORCES = np.array([-4.0, 4.0])  # by action
OBSERVATION_SPACE: gym.Space[Any] = gym.spaces.Box(-np.array([2.0, 6.0], np.float32), np.array([2.0, 6.0], np.float32))
ACTION_SPACE: gym.Space[Any] = gym.spaces.Discrete(2)

_GRAVITY = 9.81
_EULER_STEP = 0.001
_EULER_STEPS = 100  # of one control step of 0.1 s
_FEW = 24  # below this many cars, Python numbers are faster than arrays

Number = TypeVar("Number", float, Array)


def advance(states: Array, actions: Array, steps: int = _EULER_STEPS) -> Array:
    """The states [B, 2] after one control step with these actions [B]; the same bits whatever B is."""
    forces = FORCES[actions]  # [B]
    if len(states) >= _FEW:
        positions, speeds = _drive(states[:, 0], states[:, 1], forces, steps, np.minimum, np.sqrt)
        return np.stack((positions, speeds), axis=1)
    rows = zip(states.tolist(), forces.tolist(), strict=True)
    driven = [_drive(position, speed, force, steps, min, math.sqrt) for (position, speed), force in rows]
    return np.array(driven).reshape(-1, 2)


def _drive(
    position: Number,
    speed: Number,
    force: Number,
    steps: int,
    minimum: Callable[[Number, float], Number],
    root: Callable[[Number], Number],
) -> tuple[Number, Number]:
    """Euler's method, for numbers and arrays alike.

    Only operations that IEEE 754 rounds correctly (no powers, no sines), hence the same bits everywhere.
    The hill is p² + p left of 0 and p / sqrt(1 + 5p²) right of it.
    """
    for _ in range(steps):
        left = minimum(position, 0.0)
        right = position - left
        widening = 1.0 + 5.0 * (right * right)
        falloff = 1.0 / (widening * root(widening))
        slope = 2.0 * left + falloff
        curvature = 2.0 * (position < 0.0) - 15.0 * right * falloff / widening
        acceleration = (force - slope * (_GRAVITY + speed * speed * curvature)) / (1.0 + slope * slope)
        position, speed = position + _EULER_STEP * speed, speed + _EULER_STEP * acceleration
    return position, speed


def outcome(states: Array) -> tuple[Array, Array]:
    """Which of the states [B, 2] reached the goal and which crashed; either ends the episode."""
    positions, speeds = states[:, 0], np.abs(states[:, 1])
    crashed = (positions < -LIMITS[0]) | (speeds > LIMITS[1])
    return (positions > LIMITS[0]) & ~crashed, crashed


def literature_states() -> Array:
    """The 289 states [289, 2] of the literature's tests: p = .125 i, s = .375 j, i and j from -8 to 8, i slowest."""
    steps = np.arange(-8, 9)
    positions, speeds = np.meshgrid(0.125 * steps, 0.375 * steps, indexing="ij")
    return np.stack((positions.ravel(), speeds.ravel()), axis=1)


def start_state(start: str, seed: int | None, generator: Callable[[], np.random.Generator]) -> Array:
    """The state [2] that an episode starts from; the generator is made only where something is drawn."""
    if start == "bottom":
        return np.array(BOTTOM)
    if start == "uniform":
        return generator().uniform(-LIMITS, LIMITS)
    states = literature_states()
    return np.asarray(states[int(generator().integers(len(states))) if seed is None else seed % len(states)])


def _generator(seed: int) -> np.random.Generator:
    return np_random(seed)[0]  # what `reset(seed=seed)` gives a single environment


def _frames(states: Array) -> Array:
    return states.astype(np.float32)


def _checked_start(start: str) -> str:
    if start not in STARTS:
        raise UserError(f"start of Car-on-the-Hill must be one of {', '.join(STARTS)} (got {start!r})")
    return start


def _checked_states(states: Any) -> Array:
    """States [B, 2] given from outside, refused where an episode cannot start."""
    array = np.asarray(states, np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UserError(f"a state of Car-on-the-Hill is a pair (position, speed), got the shape {array.shape[1:]}")
    outside = ~(np.abs(array) <= LIMITS).all(axis=1)
    if outside.any():
        found = tuple(array[np.argmax(outside)].tolist())
        raise UserError(f"a state of Car-on-the-Hill has |position| <= 1 and |speed| <= 3 (got {found})")
    return array


class CarOnTheHill(gym.Env[Array, np.int64]):
    """One car.

    `start` says where an episode begins: "bottom" at (-0.5, 0), "uniform" anywhere between the limits, "grid" at
    the literature's state number seed % 289, so that the seeds 0 to 288 visit each once.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self, start: str = "bottom") -> None:
        self.start = _checked_start(start)
        self.observation_space = OBSERVATION_SPACE
        self.action_space = ACTION_SPACE
        self._state = np.full((1, 2), np.nan)  # [1, 2]
        self._ended = np.ones(1, np.bool_)  # [1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """A new episode, from `options={"state": (position, speed)}` where given."""
        super().reset(seed=seed)
        if options and set(options) != {"state"}:
            raise UserError(f"reset of Car-on-the-Hill knows the option 'state' alone (got {sorted(options)})")
        if options:
            self._state = _checked_states([options["state"]])
        else:
            self._state = start_state(self.start, seed, lambda: self.np_random)[None]
        self._ended[:] = False
        return _frames(self._state)[0], {"is_success": False}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        refuse_ended(self._ended, np.zeros(1, np.int64))
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"action must be 0 or 1 (got {action!r})")
        self._state = advance(self._state, np.array([action]))
        goal, crashed = outcome(self._state)
        self._ended = goal | crashed
        reward = float(goal[0]) - float(crashed[0])
        return _frames(self._state)[0], reward, bool(self._ended[0]), False, {"is_success": bool(goal[0])}


class CarOnTheHillSlots:
    """Many cars as one array program, equal to as many single environments bit by bit."""

    def __init__(self, count: int, start: str = "bottom") -> None:
        self.count = count
        self.start = _checked_start(start)
        self.observation_space = OBSERVATION_SPACE
        self.action_space = ACTION_SPACE
        self._states = np.full((count, 2), np.nan)  # [V, 2]
        self._ended = np.ones(count, np.bool_)  # [V]

    def reset(self, slots: Array, seeds: Array) -> Array:
        starts = [start_state(self.start, seed, partial(_generator, seed)) for seed in seeds.tolist()]
        return self.reset_to(slots, np.array(starts).reshape(-1, 2))

    def reset_to(self, slots: Array, states: Array) -> Array:
        """Start new episodes in these slots from these states [len(slots), 2]; their first frames."""
        self._states[slots] = _checked_states(states)
        self._ended[slots] = False
        return _frames(self._states[slots])

    def place(self, slots: Array, frames: Array) -> None:
        """Go on from these frames: what `fqi.environments.placing` asks for."""
        self.reset_to(slots, frames)

    def step(self, slots: Array, actions: Array) -> tuple[Array, Array, Array, Array, Array | None]:
        refuse_ended(self._ended, slots)
        states = advance(self._states[slots], actions)
        goal, crashed = outcome(states)
        self._states[slots] = states
        self._ended[slots] = goal | crashed
        rewards = goal.astype(np.float64) - crashed
        return _frames(states), rewards, goal | crashed, np.zeros(len(slots), np.bool_), goal

    def close(self) -> None:
        """Nothing is held open."""
