"""Grasping from above with one action for each pixel and turn of the gripper; the image shows heights.

A heap of discs, bars and ells, later ones on top of earlier ones. The frame [1, size, size] uint8 shows 30 grey
levels for each object's thickness, with noise that is drawn anew for every frame. Action (turn * size + row) * size +
column brings the gripper down over that pixel, closing along the angle turn * pi / turns;
`fqi.environments.grasp_geometry.lifted` decides. Reward 1 where an object is lifted, else 0.

With `attempts` 1 an episode is one grasp, which terminates it: values are probabilities of success whatever gamma is.
With more, what was lifted is gone, the episode terminates when the table is empty, and `attempts` is its time limit.
Success: the grasp, or the empty table. Uniformly random grasps succeed in 3.4 % of the default scenes; 99.9 % of them
have a grasp that succeeds, which is the ceiling (`good_grasps` finds them all from the true geometry).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.grasp_geometry import BAR, Objects, heaped, heights, lifted, pixels, signed_distance
from fqi.environments.noise import keys, normal_images
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.errors import UserError
from fqi.nest import Array

GREY = 30.0  # grey levels of one object's thickness
_MARGIN = 4.0  # no object's centre is nearer to the image's edge
_FIELDS = len(Objects.__dataclass_fields__)
_BOUNDS: dict[str, tuple[int, int]] = {"size": (16, 96), "objects": (1, 8), "attempts": (1, 100), "turns": (1, 16)}


@dataclass(frozen=True)
class Setting:
    """The kwargs of fqi/Grasp-v0."""

    size: int = 24  # pixels of a side
    objects: int = 4
    attempts: int = 1
    turns: int = 4  # of the gripper, evenly over half a turn
    noise: float = 0.1  # standard deviation in thicknesses

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise UserError(f"{name} of fqi/Grasp-v0 must be a whole number from {low} to {high} (got {value!r})")
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0 <= self.noise <= 10:
            raise UserError(f"noise of fqi/Grasp-v0 must be a number from 0 to 10 (got {self.noise!r})")

    @property
    def actions(self) -> int:
        return self.turns * self.size * self.size

    def pose(self, actions: Array) -> tuple[Array, Array, Array]:
        """x, y and angle [B] of the gripper for these actions [B]."""
        turn, pixel = np.divmod(actions, self.size * self.size)
        row, column = np.divmod(pixel, self.size)
        return column + 0.5, row + 0.5, turn * (np.pi / self.turns)


def grasp(**kwargs: Any) -> ProgramEnv:
    """fqi/Grasp-v0"""
    return ProgramEnv(program(Setting(**kwargs)))


def grasp_slots(count: int, **kwargs: Any) -> ProgramSlots:
    return ProgramSlots(count, program(Setting(**kwargs)))


def scenes(seeds: Array, setting: Setting) -> Objects:
    """The heaps that episodes with these reset seeds [B] begin with."""
    K = setting.objects
    drawn = uniforms(seeds, 6 * K).T.reshape(6, K, len(seeds))
    kind = np.floor(3 * drawn[0])
    x, y = _MARGIN + (setting.size - 2 * _MARGIN) * drawn[1:3]
    angle = 2 * np.pi * drawn[3]
    # radius 3 to 4.5; half length 5 to 8; arms of 7 to 10
    length = np.choose(kind.astype(np.int64), [3 + 1.5 * drawn[4], 5 + 3 * drawn[4], 7 + 3 * drawn[4]])
    width = np.where(kind == BAR, 1.5 + 1.5 * drawn[5], 1.5 + 0.7 * drawn[5])
    flat = np.zeros_like(x)
    return heaped(Objects(kind, x, y, np.cos(angle), np.sin(angle), length, width, flat, flat, flat), setting.size)


def good_grasps(objects: Objects, scene: int, setting: Setting) -> Array:
    """Every action that lifts something in this scene, from the true geometry."""
    x, y = pixels(setting.size)
    one = objects.take(np.array([scene]))
    count = len(objects.x)
    covered = np.any([signed_distance(one, k, x[None], y[None])[0] < 1 for k in range(count) if one.present[k, 0]], 0)
    at = np.flatnonzero(covered)
    actions = (np.arange(setting.turns)[:, None] * setting.size**2 + at).ravel()
    same = one.take(np.zeros(len(actions), np.int64))
    return np.asarray(actions[lifted(same, *setting.pose(actions)) >= 0])


def program(setting: Setting) -> Program:
    """States [S, B]: the objects' fields, the episode's key, steps so far, whether the last grasp lifted something."""
    K, size = setting.objects, setting.size
    rows = _FIELDS * K

    def objects_of(states: Array) -> Objects:
        return Objects(*states[:rows].reshape(_FIELDS, K, -1))

    def start(seeds: Array) -> Array:
        fields = np.concatenate(scenes(seeds, setting).rows())
        none = np.zeros((1, len(seeds)))
        return np.concatenate((fields, keys(seeds)[None], none, none))

    def frames(states: Array) -> Array:
        seen = heights(objects_of(states), size)  # [B, size * size]
        if setting.noise:
            seen += np.float32(setting.noise) * normal_images(states[rows], states[rows + 1], size * size)
        grey = np.clip(np.rint(seen * np.float32(GREY)), 0, 255).astype(np.uint8)
        return grey.reshape(-1, 1, size, size)

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        found = lifted(objects_of(states), *setting.pose(actions))  # [B]
        after, won = states.copy(), found >= 0
        present = after[rows - K : rows]
        present[found[won], np.flatnonzero(won)] = 0
        after[rows + 1] += 1
        after[rows + 2] = won
        over: Array = ~np.any(present > 0, axis=0) | (setting.attempts == 1)
        return after, won.astype(np.float64), over

    def success(states: Array) -> Array:
        left = np.any(states[rows - K : rows] > 0, axis=0)
        return np.asarray((states[rows + 2] == 1) & (~left | (setting.attempts == 1)))

    return Program(
        observation_space=gym.spaces.Box(0, 255, (1, size, size), np.uint8),
        action_space=gym.spaces.Discrete(setting.actions),
        start=start,
        frames=frames,
        step=step,
        success=success,
    )
