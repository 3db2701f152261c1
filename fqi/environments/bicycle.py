"""Balancing a bicycle (Randløv and Alstrøm 1998, as in Ernst 2005): steer and lean so that it does not fall for 500 s.

State: the bicycle's tilt and its rate, the handlebars' angle and its rate, in rad and rad/s. The nine actions are the
pairs of a torque of -2, 0, 2 Nm on the handlebars and a shift of the rider's mass by -2, 0, 2 cm (which changes
faster), to which each step adds up to 2 cm that are not seen. A step lasts .01 s at 10 km/h. Reward -1 where the tilt
exceeds 12°, which ends the episode, else 0. Starts: upright and at rest. The limit is 50,000 steps (500 s).

Equations, constants, the order of integration (rates first) and the numbers of the actions were checked against a
public C++ version of Randløv's own program, the equations against a second implementation too. Doubts: (1) beyond
±80° the handlebars stop but keep their rate, as there, which is odd; (2) the weight of wheels counts in no moment but
their own; (3) Ernst's state also has the course ψ, which balancing does not depend on: it is left out here.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.noise import keys, uniform
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.errors import UserError
from fqi.nest import Array

TORQUES, SHIFTS = np.array([-2.0, 0.0, 2.0]), np.array([-0.02, 0.0, 0.02])  # Nm, m
NOISE = 0.02  # m
FALLEN = 12 * np.pi / 180
STOP = 80 * np.pi / 180  # of the handlebars
SECONDS = 0.01

_GRAVITY, _SPEED, _TYRE = 9.82, 10 / 3.6, 0.34
_BASE, _BACK, _HEIGHT, _RIDER_UP = 1.11, 0.66, 0.94, 0.30  # wheelbase; front wheel to mass; mass; rider over it
_CYCLE, _WHEEL, _RIDER = 15.0, 1.7, 60.0  # kg
_LAWS = np.array([[34.0, 7.8, -8.3, -1.5], [7.0, 0.0, -5.6, -2.4]])  # of torque and shift over the state
_MASS = _CYCLE + _RIDER
_SPIN = _SPEED / _TYRE
_TILT = 13 / 3 * _CYCLE * _HEIGHT**2 + _RIDER * (_HEIGHT + _RIDER_UP) ** 2
_AXLE, _ACROSS, _STEER = _WHEEL * _TYRE**2, 1.5 * _WHEEL * _TYRE**2, 0.5 * _WHEEL * _TYRE**2


def accelerations(states: Array, torque: Array, shift: Array) -> tuple[Array, Array]:
    """Of tilt and handlebars [B], in states [4, B], under a torque in Nm and a shift in m."""
    tilt, tilting, steer, steering = states
    lean = tilt + np.arctan(shift / _HEIGHT)
    sine, tangent = np.abs(np.sin(steer)), np.abs(np.tan(steer))
    front, back = sine / _BASE, tangent / _BASE  # curvatures 1 / r
    middle = tangent / np.sqrt(((_BASE - _BACK) * tangent) ** 2 + _BASE**2)
    outwards = np.sign(steer) * _SPEED**2 * (_WHEEL * _TYRE * (front + back) + _MASS * _HEIGHT * middle)
    push = _MASS * _HEIGHT * _GRAVITY * np.sin(lean) - np.cos(lean) * (_AXLE * _SPIN * steering + outwards)
    return push / _TILT, (torque - _ACROSS * _SPIN * tilting) / _STEER


def riding(frames: Array) -> Array:
    """The scripted policy: torque and shift by linear laws, found by a random search; no fall in 100 episodes."""
    frames = np.asarray(frames, np.float64)
    torque, shift = (np.clip(np.rint((frames * law).sum(1)), -1, 1).astype(np.int64) for law in _LAWS)
    return np.asarray((torque + 1) * 3 + shift + 1)


def bicycle(noise: float = NOISE) -> ProgramEnv:
    """fqi/Bicycle-v0; `noise` is the largest unseen shift in m."""
    return ProgramEnv(_program(noise))


def bicycle_slots(count: int, noise: float = NOISE) -> ProgramSlots:
    return ProgramSlots(count, _program(noise))


def _program(noise: Any) -> Program:
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= 1:
        raise UserError(f"noise of fqi/Bicycle-v0 must be a length from 0 to 1 m (got {noise!r})")

    # States [6, B]: tilt, its rate, handlebars, their rate, the episode's key, steps so far.
    def start(seeds: Array) -> Array:
        states = np.zeros((6, len(seeds)))
        states[4] = keys(seeds)
        return states

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        torque_number, shift_number = np.divmod(actions, 3)
        shift = SHIFTS[shift_number] + noise * (2 * uniform(states[4], states[5]) - 1)
        tilt_faster, steer_faster = accelerations(states[:4], TORQUES[torque_number], shift)
        after = np.empty_like(states)
        after[1] = states[1] + SECONDS * tilt_faster
        after[0] = states[0] + SECONDS * after[1]
        after[3] = states[3] + SECONDS * steer_faster
        after[2] = np.clip(states[2] + SECONDS * after[3], -STOP, STOP)
        after[4], after[5] = states[4], states[5] + 1
        fallen = np.abs(after[0]) > FALLEN
        return after, -fallen.astype(np.float64), fallen

    bounds = np.array([1.0, 50.0, 2.0, 200.0], np.float32)
    return Program(
        observation_space=gym.spaces.Box(-bounds, bounds),
        action_space=gym.spaces.Discrete(9),
        start=start,
        frames=lambda states: np.ascontiguousarray(states[:4].T, np.float32),
        step=step,
    )
