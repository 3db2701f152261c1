"""A small Pacman: eat all the food of a maze before a ghost catches you; and the lectures' features for a linear Q.

    # # # # # # #
    #           #
    #   #   #   #
    #           #
    #   #   #   #
    #           #
    # # # # # # #

An episode begins with Pacman and the ghost in drawn cells at least three steps apart, and `food` pieces in other drawn
cells. Actions 0 to 3 step up, right, down, left; a step into a wall stays. Then the ghost steps: with the probability
`chase` along a shortest way to Pacman, else to any cell beside it. Each step costs 1, a piece of food earns 10, the
last one 50 more, being caught costs 50; the last two end the episode (success: all is eaten). Limit 100 steps. A frame
is [3, 7, 7] uint8: 255 where there is food, Pacman, the ghost.

`features` makes of a frame what the lectures give to a linear Q, for each of the four cells that Pacman could go to: is
a ghost there or one step away, is one two steps away, is there food to eat in safety, how far is the nearest food, is
it a wall. Train with `--regressor linear --features py:fqi.environments.pacman:features`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.noise import keys, uniform
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.errors import UserError
from fqi.nest import Array

SIZE = 7
APART = 3  # steps between Pacman and the ghost at a start
STEP, FOOD, WON, CAUGHT = -1.0, 10.0, 50.0, -50.0
_WAYS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # row and column of the actions
_PLACES = np.array(
    [(r, c) for r in range(1, SIZE - 1) for c in range(1, SIZE - 1) if r % 2 == 1 or c % 2 == 1]
)  # [21, 2] the free cells
_CELLS = len(_PLACES)
_NUMBER = np.full((SIZE, SIZE), -1)
_NUMBER[_PLACES[:, 0], _PLACES[:, 1]] = np.arange(_CELLS)


def _next_cells() -> Array:
    """[21, 4] where each action leads from each cell."""
    beside = np.array([[_NUMBER[r + dr, c + dc] for dr, dc in _WAYS] for r, c in _PLACES])
    return np.where(beside < 0, np.arange(_CELLS)[:, None], beside)


def _all_distances(beside: Array) -> Array:
    """[21, 21] steps from cell to cell."""
    found = np.where(np.eye(_CELLS, dtype=bool), 0, _CELLS)
    for _ in range(_CELLS):
        found = np.minimum(found, 1 + found[beside].min(1))
    return found


NEXT = _next_cells()
DISTANCE = _all_distances(NEXT)
_OPEN = np.arange(_CELLS)[:, None] != NEXT  # [21, 4] what is no wall
_PAIRS = np.argwhere(DISTANCE >= APART)  # [., 2] where Pacman and the ghost may begin


@dataclass(frozen=True)
class Setting:
    """The kwargs of fqi/Pacman-v0."""

    food: int = 5
    chase: float = 0.5

    def __post_init__(self) -> None:
        if type(self.food) is not int or not 1 <= self.food <= _CELLS - 2:
            raise UserError(f"food of fqi/Pacman-v0 must be a whole number from 1 to {_CELLS - 2} (got {self.food!r})")
        if isinstance(self.chase, bool) or not isinstance(self.chase, int | float) or not 0 <= self.chase <= 1:
            raise UserError(f"chase of fqi/Pacman-v0 must be a probability (got {self.chase!r})")


def pacman(**kwargs: Any) -> ProgramEnv:
    """fqi/Pacman-v0"""
    return ProgramEnv(program(Setting(**kwargs)))


def pacman_slots(count: int, **kwargs: Any) -> ProgramSlots:
    return ProgramSlots(count, program(Setting(**kwargs)))


def program(setting: Setting) -> Program:
    """States [25, B] int64: Pacman's cell, the ghost's, whether there is food in each cell, the key, steps so far."""

    def start(seeds: Array) -> Array:
        key = keys(seeds)
        none = np.zeros_like(key)
        pair = _PAIRS[(uniform(key, none, 1) * len(_PAIRS)).astype(np.int64)]  # [B, 2]
        order = np.stack([uniform(key, none, 2 + cell) for cell in range(_CELLS)])  # [21, B]
        np.put_along_axis(order, pair.T, 2.0, axis=0)
        food = order.argsort(0, kind="stable").argsort(0, kind="stable") < setting.food
        rows = [pair.T, food.astype(np.int64), key.astype(np.int64)[None], none.astype(np.int64)[None]]
        return np.concatenate(rows)

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        after = states.copy()
        every = np.arange(len(actions))
        place = NEXT[states[0], actions]
        caught = place == states[1]
        eats = (after[2 + place, every] == 1) & ~caught
        after[2 + place, every] -= eats
        won = ~after[2:-2].any(0) & ~caught
        ghost = _ghost(states[1], place, states[-2], states[-1], setting.chase)
        after[0], after[1], after[-1] = place, np.where(caught | won, states[1], ghost), states[-1] + 1
        caught |= ~won & (after[1] == place)
        return after, STEP + FOOD * eats + WON * won + CAUGHT * caught, won | caught

    return Program(
        observation_space=gym.spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8),
        action_space=gym.spaces.Discrete(len(_WAYS)),
        start=start,
        frames=_frames,
        step=step,
        success=lambda states: np.asarray(~np.any(states[2:-2], axis=0)),
    )


def _ghost(ghost: Array, place: Array, key: Array, tick: Array, chase: float) -> Array:
    """[B] where the ghost goes."""
    beside = NEXT[ghost]  # [B, 4]
    order = np.where(_OPEN[ghost], np.stack([uniform(key, tick, 32 + way) for way in range(4)], 1), 2.0)
    hunting = uniform(key, tick, 40) < chase
    score = np.where(hunting[:, None], DISTANCE[beside, place[:, None]] + 100.0 * ~_OPEN[ghost], order)
    return np.asarray(beside[np.arange(len(ghost)), score.argmin(1)])


def _frames(states: Array) -> Array:
    seen = np.zeros((states.shape[1], 3, _CELLS), np.uint8)
    every = np.arange(states.shape[1])
    seen[:, 0] = 255 * states[2:-2].T
    seen[every, 1, states[0]] = 255
    seen[every, 2, states[1]] = 255
    frames = np.zeros((states.shape[1], 3, SIZE, SIZE), np.uint8)
    frames[:, :, _PLACES[:, 0], _PLACES[:, 1]] = seen
    return frames


def features(frames: Any) -> Array:
    """[B, 20] of frames [B, 3, 7, 7]: five for each action, those of an action beside each other."""
    cells = np.asarray(frames)[:, :, _PLACES[:, 0], _PLACES[:, 1]] > 0  # [B, 3, 21]
    place, ghost = cells[:, 1].argmax(1), cells[:, 2].argmax(1)
    ahead = NEXT[place]  # [B, 4]
    danger = DISTANCE[ahead, ghost[:, None]]
    food = np.take_along_axis(cells[:, 0], ahead, axis=1)
    nearest = np.where(cells[:, None, 0], DISTANCE[ahead], _CELLS).min(2)
    near = np.where(cells[:, :1].any(2), nearest, 0) / 10
    made = (danger <= 1, danger == 2, food & (danger > 1), near, ~_OPEN[place])
    return np.stack(made, axis=2).reshape(len(cells), 5 * len(_WAYS)).astype(np.float64)


def eating(frames: Array) -> Array:
    """The scripted policy: the nearest food, by cells that are no step away from the ghost where there are such."""
    made = features(frames).reshape(-1, len(_WAYS), 5)
    bad = 10 * made[:, :, 0] + made[:, :, 3] - made[:, :, 2] + 5 * made[:, :, 4]
    return np.asarray(bad.argmin(1))
