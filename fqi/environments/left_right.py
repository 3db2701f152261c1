"""Left or right (Ernst, Geurts and Wehenkel 2005): a walk on [0, 10] that leaves by the left for 50 or the right for
100.

State: the place x. Action 0 moves by -2, action 1 by +2, and normal noise of variance 1 is added. Reward 50 where x
falls below 0, 100 where it exceeds 10, either of which ends the episode, else 0. Episodes begin at 5, or with
`start="uniform"` anywhere. The optimum at gamma .75 is found by value iteration with exact integrals
(`fqi.environments.optima.left_right`): 56.046 from 5; left is best below 2.527.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from scipy.special import ndtri

from fqi.environments.noise import keys, uniform
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.errors import UserError
from fqi.nest import Array

STARTS = ("middle", "uniform")
MOVES = np.array([-2.0, 2.0])  # by action
LENGTH = 10.0
LEFT, RIGHT = 50.0, 100.0  # rewards for leaving


def left_right(start: str = "middle") -> ProgramEnv:
    """fqi/LeftRight-v0"""
    return ProgramEnv(_program(start))


def left_right_slots(count: int, start: str = "middle") -> ProgramSlots:
    return ProgramSlots(count, _program(start))


def _program(start_at: Any) -> Program:
    if start_at not in STARTS:
        raise UserError(f"start of fqi/LeftRight-v0 must be one of {', '.join(STARTS)} (got {start_at!r})")

    # States [3, B]: place, the episode's key, steps so far.
    def start(seeds: Array) -> Array:
        key = keys(seeds)
        none = np.zeros_like(key)
        place = LENGTH * uniform(key, none, stream=1) if start_at == "uniform" else none + LENGTH / 2
        return np.stack((place, key, none))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        place, key, tick = states
        place = place + MOVES[actions] + ndtri(uniform(key, tick) + 2.0**-54)
        left, right = place < 0, place > LENGTH
        return np.stack((place, key, tick + 1)), LEFT * left + RIGHT * right, left | right

    return Program(
        observation_space=gym.spaces.Box(np.float32(-20), np.float32(LENGTH + 20), (1,)),
        action_space=gym.spaces.Discrete(2),
        start=start,
        frames=lambda states: np.ascontiguousarray(states[:1].T, np.float32),
        step=step,
    )
