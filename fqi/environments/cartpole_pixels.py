"""CartPole seen as images: what the lectures call learning from the difference of frames.

The world is CartPole-v1 (10 N, .02 s, reward 1 a step, over beyond ±2.4 m or ±12°, 500 steps, the same starts) with
Gymnasium's own other integrator, semi-implicit Euler: with explicit Euler a place lags one step behind the speed, so
that no two images would show what the last push did.

The camera stands still and shows the track from -2.5 to 2.5 m, twice as many columns as rows; heights are stretched so
that cart and upright pole fill the rows. Edges are mixtures of both sides, so that motions of a fraction of a pixel can
be seen. Channels, uint8 [C, size, 2 size]:

- `show="both"` (default): the image now, and its difference to the image one step before, as 128 + 2 (now - before),
  cut to 0…255. At a start "before" is where the cart and pole would have come from at their speed.
- `show="difference"`: the difference alone, as in the lectures. What rests cannot be seen in it.
- `show="pair"`: the image now and the image one step before.

An image pair determines the state up to rounding, so the optimum is CartPole's: 500.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.errors import UserError
from fqi.nest import Array

SHOWS = {"both": 2, "difference": 1, "pair": 2}  # channels
GAIN = 2.0  # of the difference
SECONDS = 0.02  # of a step
_FORCE, _GRAVITY, _HALF_POLE = 10.0, 9.8, 0.5
_POLE, _TOTAL = 0.1, 1.1  # kg: the pole, and pole and cart together
_TRACK, _LEAN = 2.4, 12 * 2 * np.pi / 360

# The picture, in metres; brightness from 0 to 255.
_VIEW = 5.0  # the length of track that is seen
_CART, _CART_HEIGHT, _CART_GREY = 0.5, 0.16, 120.0
_WIDTH, _POLE_GREY = 1.25, 255.0  # in pixels: over one, so that every motion crosses an edge of pixels
_HEIGHT = _CART_HEIGHT + 2 * _HALF_POLE
_PIECE = 64  # images at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Setting:
    """The kwargs of fqi/CartPolePixels-v0."""

    size: int = 24  # rows of pixels; there are twice as many columns
    show: str = "both"

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 8 <= self.size <= 128:
            raise UserError(
                f"size of fqi/CartPolePixels-v0 must be a whole number of pixels from 8 to 128 (got {self.size!r})"
            )
        if not isinstance(self.show, str) or self.show not in SHOWS:
            raise UserError(f"show of fqi/CartPolePixels-v0 must be one of {', '.join(SHOWS)} (got {self.show!r})")


def cartpole_pixels(**kwargs: Any) -> ProgramEnv:
    """fqi/CartPolePixels-v0"""
    return ProgramEnv(program(Setting(**kwargs)))


def cartpole_pixels_slots(count: int, **kwargs: Any) -> ProgramSlots:
    return ProgramSlots(count, program(Setting(**kwargs)))


def advance(states: Array, actions: Array) -> Array:
    """States [4, B] (place, speed, angle, its rate) a step later: Gymnasium's equations, speeds first."""
    place, speed, angle, rate = states
    sine, cosine = np.sin(angle), np.cos(angle)
    force = np.where(actions == 1, _FORCE, -_FORCE)
    push = (force + _POLE * _HALF_POLE * rate * rate * sine) / _TOTAL
    turn = (_GRAVITY * sine - cosine * push) / (_HALF_POLE * (4 / 3 - _POLE * cosine * cosine / _TOTAL))
    speed = speed + SECONDS * (push - _POLE * _HALF_POLE * turn * cosine / _TOTAL)
    rate = rate + SECONDS * turn
    return np.stack((place + SECONDS * speed, speed, angle + SECONDS * rate, rate))


def picture(place: Array, angle: Array, size: int) -> Array:
    """[B, size, 2 size] float32: brightness, 0 to 255, of carts at these places [B] with poles at these angles [B]."""
    drawn = np.empty((len(place), size, 2 * size), np.float32)
    for i in range(0, len(place), _PIECE):
        _draw(drawn[i : i + _PIECE], place[i : i + _PIECE], angle[i : i + _PIECE], size)
    return drawn


def _draw(drawn: Array, place: Array, angle: Array, size: int) -> None:
    across, up = 2 * size / _VIEW, size / _HEIGHT  # pixels of a metre
    middle = ((place + _VIEW / 2) * across)[:, None]  # [B, 1] the cart's middle, in columns
    height = (size - np.arange(size) - 0.5) / up - _CART_HEIGHT  # [size] of the rows' middles over the pivot, in m
    lean = np.tan(angle)[:, None] * height * across  # [B, size] columns
    tip = 2 * _HALF_POLE * np.cos(angle)[:, None]
    rows = np.clip((tip - height) * up + 0.5, 0, 1) * np.clip(height * up + 0.5, 0, 1)  # how much of each is pole
    _band(drawn, middle + lean - _WIDTH / 2, middle + lean + _WIDTH / 2)
    drawn *= (_POLE_GREY * rows).astype(np.float32)[:, :, None]
    cart = np.empty((len(place), 1, 2 * size), np.float32)
    half = _CART / 2 * across
    _band(cart, middle - half, middle + half)
    filled = np.clip(0.5 - height * up, 0, 1).astype(np.float32)  # [size] how much of each row is cart
    for row in np.flatnonzero(filled):
        np.maximum(drawn[:, row], _CART_GREY * filled[row] * cart[:, 0], out=drawn[:, row])


def _band(drawn: Array, left: Array, right: Array) -> None:
    """Into [B, R, W]: how much of each column lies between left and right [B, R]."""
    columns = np.arange(drawn.shape[2], dtype=np.float32)
    np.minimum(right.astype(np.float32)[:, :, None], columns + 1, out=drawn)
    drawn -= np.maximum(left.astype(np.float32)[:, :, None], columns)
    np.clip(drawn, 0, 1, out=drawn)


def program(setting: Setting) -> Program:
    size = setting.size

    def start(seeds: Array) -> Array:
        return np.ascontiguousarray((-0.05 + (0.05 - -0.05) * uniforms(seeds, 4)).T)

    def frames(states: Array) -> Array:
        place, speed, angle, rate = states
        now = np.rint(picture(place, angle, size))
        before = np.rint(picture(place - SECONDS * speed, angle - SECONDS * rate, size))
        change = np.clip(128 + np.float32(GAIN) * (now - before), 0, 255)
        shown = {"both": (now, change), "difference": (change,), "pair": (now, before)}[setting.show]
        return np.stack(shown, axis=1).astype(np.uint8)

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        after = advance(states, actions)
        over = (np.abs(after[0]) > _TRACK) | (np.abs(after[2]) > _LEAN)
        return after, np.ones(len(actions)), over

    return Program(
        observation_space=gym.spaces.Box(0, 255, (SHOWS[setting.show], size, 2 * size), np.uint8),
        action_space=gym.spaces.Discrete(2),
        start=start,
        frames=frames,
        step=step,
    )
