"""NFQ's other two benchmarks (Riedmiller 2005): the mountain car, and the cart-pole regulator.

Mountain car, `fqi/NfqMountainCar-v0`: steps of .05 s, pushes of -4 and +4; each step costs .01, the goal at position
.7 ends the episode, a position below -1 ends it too and costs 1. Limit 50 steps. Starts: positions evenly in [-1,
.7), at rest. Doubts: the paper does not tell the plant's equations; here they are Car-on-the-Hill's, which has the
same pushes and the same left end, without its limit of the speed. Nor does it tell the starts of its tests.

Cart-pole regulator, `fqi/NfqRegulator-v0`: steps of .02 s, pushes of -10 and +10 N; each step costs .01 unless the
cart ends it within .05 m of the middle and the pole within .05 rad of the upright; a cart beyond ±2.4 m or a pole
beyond ±.7 rad ends the episode and costs 1. Success: the last state is in that region. Limit 100 steps, as in
training; the paper's tests last 3,000 (--max-steps 3000) and begin within ±1 m (`spread` 1). Starts: places evenly
within ±`spread` (2.3 m), angles within ±.3 rad, at rest. Doubts: the equations are CartPole's (pole .1 kg and 1 m,
cart 1 kg, semi-implicit Euler); the paper says neither them nor where a pole counts as fallen or as upright.

Neither has noise, and a frame shows the whole state.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments import car_on_the_hill, cartpole_pixels
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.errors import UserError
from fqi.nest import Array

COST = 0.01
GOAL, EDGE = 0.7, -1.0
CAR_STEPS = 50  # of .001 s
TRACK, FALLEN = 2.4, 0.7
REGION = 0.05  # of m and of rad
SPREAD, LEAN = 2.3, 0.3


def mountain_car() -> ProgramEnv:
    """fqi/NfqMountainCar-v0"""
    return ProgramEnv(_mountain_car())


def mountain_car_slots(count: int) -> ProgramSlots:
    return ProgramSlots(count, _mountain_car())


def regulator(spread: float = SPREAD) -> ProgramEnv:
    """fqi/NfqRegulator-v0"""
    return ProgramEnv(_regulator(spread))


def regulator_slots(count: int, spread: float = SPREAD) -> ProgramSlots:
    return ProgramSlots(count, _regulator(spread))


def drive(states: Array, actions: Array) -> Array:
    """The mountain car's states [B, 2] after one step."""
    return car_on_the_hill.advance(states, actions, CAR_STEPS)


def arrived(states: Array) -> tuple[Array, Array]:
    """Which of the mountain car's states [B, 2] are the goal, and which are off the edge."""
    return states[:, 0] >= GOAL, states[:, 0] < EDGE


def _mountain_car() -> Program:
    def start(seeds: Array) -> Array:
        position = EDGE + (GOAL - EDGE) * uniforms(seeds, 1)[:, 0]
        return np.stack((position, np.zeros(len(seeds))))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        after = drive(states.T, actions)
        goal, off = arrived(after)
        rewards = np.where(off, -1.0, np.where(goal, 0.0, -COST))
        return np.ascontiguousarray(after.T), rewards, goal | off

    return Program(
        observation_space=gym.spaces.Box(-np.float32(20), np.float32(20), (2,)),
        action_space=gym.spaces.Discrete(2),
        start=start,
        frames=_frames,
        step=step,
        states=_states,
        success=lambda states: np.asarray(states[0] >= GOAL),
    )


def _regulator(spread: Any) -> Program:
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 <= spread <= TRACK:
        raise UserError(f"spread of fqi/NfqRegulator-v0 must be a length from 0 to {TRACK} m (got {spread!r})")

    def start(seeds: Array) -> Array:
        drawn = 2 * uniforms(seeds, 2).T - 1
        rest = np.zeros(len(seeds))
        return np.stack((spread * drawn[0], rest, LEAN * drawn[1], rest))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        after = cartpole_pixels.advance(states, actions)
        failed = (np.abs(after[0]) > TRACK) | (np.abs(after[2]) > FALLEN)
        return after, np.where(failed, -1.0, np.where(_regulated(after), 0.0, -COST)), failed

    return Program(
        observation_space=gym.spaces.Box(-np.float32(100), np.float32(100), (4,)),
        action_space=gym.spaces.Discrete(2),
        start=start,
        frames=_frames,
        step=step,
        states=_states,
        success=_regulated,
    )


def _regulated(states: Array) -> Array:
    return np.asarray((np.abs(states[0]) <= REGION) & (np.abs(states[2]) <= REGION))


def _frames(states: Array) -> Array:
    return np.ascontiguousarray(states.T, np.float32)


def _states(frames: Array) -> Array:
    return np.ascontiguousarray(frames.T, np.float64)
