"""Gymnasium's Acrobot, MountainCar, MountainCarContinuous and Pendulum in slots, equal to the originals bit by bit.

Equal bits need the originals' order of operations, their mixture of float32 and float64, and their powers: Python's
and NumPy's `x**2` of one number is the C library's `pow`, which in one case of a thousand rounds unlike `x * x`.
`np.float_power` is that `pow` for arrays of float64 (`np.power` is not).
Checked on x86-64; a machine that fuses multiplications and additions may round the last bit otherwise.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from fqi.environments.program import Program, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.errors import UserError
from fqi.nest import Array

_PI = np.pi


def acrobot_slots(count: int) -> ProgramSlots:
    return _slots(count, AcrobotEnv(), _acrobot_start, _acrobot_frames, _acrobot_step, _acrobot_states)


def mountain_car_slots(count: int, goal_velocity: float = 0) -> ProgramSlots:
    """`goal_velocity`: the least speed at which the goal counts."""
    goal = _number("MountainCar-v0", "goal_velocity", goal_velocity)

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        return _mountain_car_step(states, actions, goal)

    return _slots(count, MountainCarEnv(), _hill_start, _hill_frames, step, _hill_states)


def mountain_car_continuous_slots(count: int) -> ProgramSlots:
    env = Continuous_MountainCarEnv()
    return _slots(count, env, _continuous_start, _hill_frames, _continuous_step, _continuous_states)


def pendulum_slots(count: int, g: float = 10.0) -> ProgramSlots:
    """`g`: the acceleration of gravity."""
    gravity = _number("Pendulum-v1", "g", g)

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        return _pendulum_step(states, actions, gravity)

    return _slots(count, PendulumEnv(), _pendulum_start, _pendulum_frames, step, _pendulum_states)


def _slots(count: int, env: gym.Env[Any, Any], *functions: Any) -> ProgramSlots:
    return ProgramSlots(count, Program(env.observation_space, env.action_space, *functions))


def _number(id: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{id} could not be made: {name} must be a number (got {value!r})")
    return value


def _square(x: Array) -> Array:
    return np.asarray(np.float_power(x, 2))


def _square32(x: Array) -> Array:
    """The C library's float32 `pow`. It has no twin for arrays, but errs only where the square lies near a tie."""
    exact = x.astype(np.float64) * x
    rounded: Array = exact.astype(np.float32)
    doubtful = np.abs(exact - rounded) > 0.49 * np.spacing(rounded)
    rounded[doubtful] = [number**2 for number in x[doubtful]]
    return rounded


# Acrobot: two links hang in a chain; a torque at the joint between them swings them up. States [4, B]: two angles and
# their rates.

_MAX_RATE_1, _MAX_RATE_2 = 4 * _PI, 9 * _PI


def _acrobot_start(seeds: Array) -> Array:
    return (-0.1 + (0.1 - -0.1) * uniforms(seeds, 4)).T.astype(np.float32)  # sines of the start are taken in float32


def _acrobot_frames(states: Array) -> Array:
    angle1, angle2, rate1, rate2 = states
    return np.stack([np.cos(angle1), np.sin(angle1), np.cos(angle2), np.sin(angle2), rate1, rate2], 1, dtype=np.float32)


def _acrobot_states(frames: Array) -> Array:
    cos1, sin1, cos2, sin2, rate1, rate2 = frames.T.astype(np.float64)
    return np.stack((np.arctan2(sin1, cos1), np.arctan2(sin2, cos2), rate1, rate2))


def _acrobot_step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
    torques = actions - 1.0
    half = 0.2 / 2.0
    k1 = _acrobot_rates(states, torques)
    k2 = _acrobot_rates(states + half * k1, torques)
    k3 = _acrobot_rates(states + half * k2, torques)
    k4 = _acrobot_rates(states + 0.2 * k3, torques)
    angle1, angle2, rate1, rate2 = states + 0.2 / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
    angle1, angle2 = _wrapped(angle1), _wrapped(angle2)
    rate1, rate2 = np.clip(rate1, -_MAX_RATE_1, _MAX_RATE_1), np.clip(rate2, -_MAX_RATE_2, _MAX_RATE_2)
    terminations = -np.cos(angle1) - np.cos(angle2 + angle1) > 1.0
    return np.stack((angle1, angle2, rate1, rate2)), np.where(terminations, 0.0, -1.0), terminations


def _acrobot_rates(states: Array, torques: Array) -> Array:
    """The time derivatives [4, B], by the equations of Sutton and Barto's book: masses, lengths and inertias 1."""
    angle1, angle2, rate1, rate2 = states
    cos2, sin2 = np.cos(angle2), np.sin(angle2)
    d1 = 0.25 + (1.25 + cos2) + 1.0 + 1.0
    d2 = (0.25 + 0.5 * cos2) + 1.0
    phi2 = 4.9 * np.cos(angle1 + angle2 - _PI / 2)
    phi1 = -0.5 * _square(rate2) * sin2 - rate2 * rate1 * sin2 + 1.5 * 9.8 * np.cos(angle1 - _PI / 2) + phi2
    push2 = torques + d2 / d1 * phi1 - 0.5 * _square(rate1) * sin2 - phi2
    acceleration2 = push2 / (1.25 - _square(d2) / d1)
    acceleration1 = -(d2 * acceleration2 + phi1) / d1
    return np.stack((rate1, rate2, acceleration1, acceleration2))


def _wrapped(angles: Array) -> Array:
    """Angles brought into [-pi, pi] by whole turns, one at a time as the original does."""
    while (above := angles > _PI).any():
        angles = np.where(above, angles - 2 * _PI, angles)
    while (below := angles < -_PI).any():
        angles = np.where(below, angles + 2 * _PI, angles)
    return angles


# Both mountain cars. States [2 or 3, B]: position, speed, and for the continuous one whether it stands at its start.

_SPEED, _LEFT, _RIGHT = 0.07, -1.2, 0.6


def _hill_start(seeds: Array) -> Array:
    positions = -0.6 + (-0.4 - -0.6) * uniforms(seeds, 1)[:, 0]
    return np.stack((positions, np.zeros(len(seeds))))


def _continuous_start(seeds: Array) -> Array:
    return np.concatenate((_hill_start(seeds), np.ones((1, len(seeds)))))


def _hill_frames(states: Array) -> Array:
    return np.ascontiguousarray(states[:2].T, np.float32)


def _hill_states(frames: Array) -> Array:
    return np.ascontiguousarray(frames.T, np.float64)


def _continuous_states(frames: Array) -> Array:
    return np.concatenate((_hill_states(frames), np.zeros((1, len(frames)))))


def _mountain_car_step(states: Array, actions: Array, goal_velocity: float) -> tuple[Array, Array, Array]:
    position, speed = states
    speed = np.clip(speed + ((actions - 1) * 0.001 + np.cos(3 * position) * -0.0025), -_SPEED, _SPEED)
    position, speed = _against_the_wall(position + speed, speed)
    terminations = (position >= 0.5) & (speed >= goal_velocity)
    return np.stack((position, speed)), np.full(len(actions), -1.0), terminations


def _against_the_wall(position: Array, speed: Array) -> tuple[Array, Array]:
    position = np.clip(position, _LEFT, _RIGHT)
    wall = position.dtype.type(_LEFT)
    return position, np.where((position == wall) & (speed < 0), speed.dtype.type(0), speed)


def _continuous_step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
    """The original counts its first step in float64 and every later one in float32."""
    after = np.zeros_like(states)  # the row that marks a start becomes 0
    push = actions[:, 0].astype(np.float32, copy=False)
    first = states[2] == 1
    for rows, dtype in ((first, np.float64), (~first, np.float32)):
        if rows.any():
            after[:2, rows] = _continuous_drive(states[:2, rows].astype(dtype), push[rows])
    terminations = (after[0] >= np.float32(0.45)) & (after[1] >= 0)
    rewards = np.where(terminations, 100.0, 0.0) - _square(push) * 0.1
    return after, rewards, terminations


def _continuous_drive(states: Array, push: Array) -> Array:
    position, speed = states
    slope = 0.0025 * np.cos((3 * position).astype(np.float64))
    # A push within bounds is a float32 number, one beyond them becomes Python's 1.0 and is counted in float64.
    within = push * np.float32(0.0015) - slope.astype(np.float32)
    beyond = np.where(push > 0, 0.0015, -0.0015) - slope
    change = np.where(np.abs(push) > 1, beyond.astype(speed.dtype), within.astype(speed.dtype))
    speed = np.clip(speed + change, -_SPEED, _SPEED)
    return np.stack(_against_the_wall(position + speed, speed), dtype=np.float32)


# Pendulum: a rod to swing up and hold upright. States [2, B]: angle (0 is upright) and its rate.


def _pendulum_start(seeds: Array) -> Array:
    high = np.array([_PI, 1.0])
    return np.ascontiguousarray((-high + (high - -high) * uniforms(seeds, 2)).T)


def _pendulum_frames(states: Array) -> Array:
    angle, rate = states
    return np.stack((np.cos(angle), np.sin(angle), rate), 1, dtype=np.float32)


def _pendulum_states(frames: Array) -> Array:
    cosine, sine, rate = frames.T.astype(np.float64)
    return np.stack((np.arctan2(sine, cosine), rate))


def _pendulum_step(states: Array, actions: Array, gravity: float) -> tuple[Array, Array, Array]:
    angle, rate = states
    torque = np.clip(actions[:, 0].astype(np.float32, copy=False), -2.0, 2.0)
    off = (angle + _PI) % (2 * _PI) - _PI
    costs = _square(off) + 0.1 * _square(rate) + 0.001 * _square32(torque)
    rate = np.clip(rate + (3 * gravity / 2.0 * np.sin(angle) + 3.0 * torque) * 0.05, -8, 8)
    return np.stack((angle + rate * 0.05, rate)), -costs, np.zeros(len(actions), np.bool_)
