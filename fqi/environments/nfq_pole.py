"""NFQ's pole (Riedmiller 2005, after Lagoudakis and Parr 2003): balance a pole on a cart by three forces, under noise.

State: angle from the upright in rad and its rate in rad/s; the cart's own place is not part of the problem. Actions
0, 1, 2 push the cart with -50, 0, +50 N, to which each step adds a force drawn evenly from [-10, 10] N that is not
seen. A step lasts .1 s. Reward -1 where the pole leaves ±π/2, which ends the episode, else 0: the optimal value of
every state that can be held is 0, and the mean return is minus the share of episodes that fall. The registered limit
is 300 s.

Doubts. The sources do not say how the plant is integrated nor how near the upright an episode starts: here it is one
step of Runge and Kutta's rule of fourth order (within 2e-4 of the exact solution), the force held, and angle and rate
start evenly within ±.05. Random episodes are said to last about 6 steps; here they last 8.9, and 10.7 by Euler's
rule, and no start near the upright makes them shorter than 8.5, so the sources' plant differs in something that they
do not tell: 100 of their episodes hold as many steps as 67 of these.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.noise import keys, uniform
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.errors import UserError
from fqi.nest import Array

FORCES = np.array([-50.0, 0.0, 50.0])  # N, by action
NOISE = 10.0  # N
FALLEN = np.pi / 2
STEP = 0.1  # s
_START = 0.05
_GRAVITY, _POLE, _CART, _LENGTH = 9.8, 2.0, 8.0, 0.5
_SHARE = 1.0 / (_POLE + _CART)


def acceleration(angle: Array, rate: Array, force: Array) -> Array:
    """The pole's angular acceleration [B] in rad/s² under a force on the cart in N."""
    sine, cosine = np.sin(angle), np.cos(angle)
    lever = _SHARE * _POLE * _LENGTH
    # sin(2θ) / 2 = sin θ cos θ
    push = _GRAVITY * sine - lever * rate * rate * (sine * cosine) - _SHARE * cosine * force
    return np.asarray(push / (4.0 / 3.0 * _LENGTH - lever * (cosine * cosine)))


def advance(angle: Array, rate: Array, force: Array) -> tuple[Array, Array]:
    """Angle and rate [B] after a step under these forces [B]."""
    h = STEP
    v1, a1 = rate, acceleration(angle, rate, force)
    v2, a2 = rate + h / 2 * a1, acceleration(angle + h / 2 * v1, rate + h / 2 * a1, force)
    v3, a3 = rate + h / 2 * a2, acceleration(angle + h / 2 * v2, rate + h / 2 * a2, force)
    v4, a4 = rate + h * a3, acceleration(angle + h * v3, rate + h * a3, force)
    angle = angle + h / 6 * (v1 + 2 * (v2 + v3) + v4)
    rate = rate + h / 6 * (a1 + 2 * (a2 + a3) + a4)
    return angle, rate


def nfq_pole(noise: float = NOISE) -> ProgramEnv:
    """fqi/NfqPole-v0; `noise` is the largest unseen force in N."""
    return ProgramEnv(_program(noise))


def nfq_pole_slots(count: int, noise: float = NOISE) -> ProgramSlots:
    return ProgramSlots(count, _program(noise))


def balancing(frames: Array) -> Array:
    """The scripted policy: push towards where the pole leans or falls, not at all near the upright.

    No fall in 10,000 episodes of 300 s (seeds 0 to 9,999).
    """
    angle, rate = np.asarray(frames, np.float64).T  # [B] each
    leaning = angle + 0.2 * rate
    return 1 + np.where(np.abs(leaning) > 0.05, np.sign(leaning), 0).astype(np.int64)


def _program(noise: Any) -> Program:
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= 1000:
        raise UserError(f"noise of fqi/NfqPole-v0 must be a force from 0 to 1000 N (got {noise!r})")

    # States [4, B]: angle, rate, the episode's key, steps so far.
    def start(seeds: Array) -> Array:
        near = (2 * uniforms(seeds, 2) - 1) * _START  # [B, 2]
        return np.stack((near[:, 0], near[:, 1], keys(seeds), np.zeros(len(seeds))))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        angle, rate, key, tick = states
        force = FORCES[actions] + noise * (2 * uniform(key, tick) - 1)
        angle, rate = advance(angle, rate, force)
        fallen = np.abs(angle) > FALLEN
        return np.stack((angle, rate, key, tick + 1)), -fallen.astype(np.float64), fallen

    bounds = np.array([2 * np.pi, 100.0], np.float32)  # a fall ends far within them
    return Program(
        observation_space=gym.spaces.Box(-bounds, bounds),
        action_space=gym.spaces.Discrete(len(FORCES)),
        start=start,
        frames=lambda states: np.ascontiguousarray(states[:2].T, np.float32),
        step=step,
    )
