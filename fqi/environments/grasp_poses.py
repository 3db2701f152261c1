"""Grasping with continuous poses of the gripper and a reward for success alone: several moves, then one attempt.

A single disc, bar or ell lies on a table, and the gripper hovers over another place at another turn. An action moves it
by up to REACH pixels along and across its closing line, turns it by up to TURN, and says whether it then comes down and
closes (above 0) or goes on hovering. Closing ends the episode: reward 1 where the object is lifted, else 0, as
`fqi.environments.grasp_geometry.lifted` decides. Nothing else pays, and most episodes begin out of reach, so that
values have to spread back over the moves. With a discount below 1 fewer moves are better.

A frame is what a camera in the gripper's wrist would tell: where the object lies and how it is turned as seen from the
gripper, of which kind it is, and its length and width. Lengths are in pixels of `fqi/Grasp-v0`. Every scene can be
solved, so that the optimal success is 1: the scripted policy `grasp-poses` lifts the object in all of 10,000 scenes.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from fqi.environments.grasp_geometry import BAR, Objects, lifted
from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.environments.starts import uniforms
from fqi.hashing import mixed
from fqi.nest import Array

SIZE = 24.0  # of the table's sides
MARGIN = 4.0  # no object's centre is nearer to the table's edge
REACH = 5.0  # the farthest move in each direction
TURN = np.pi / 4  # the largest turn
MOVES = 8  # the time limit: actions of an episode
ON_ARM = 4.8  # from an ell's corner to where its arm is best held
FIELDS = 9  # of a frame

_CARELESS = 2.8  # pixels by which the careless policy misses at most


def grasp_poses() -> ProgramEnv:
    """fqi/GraspPoses-v0"""
    return ProgramEnv(_program())


def grasp_poses_slots(count: int) -> ProgramSlots:
    return ProgramSlots(count, _program())


def _program() -> Program:
    # States [10, B]: kind, x, y, turn, length and width of the object; x, y and turn of the gripper; whether it lifted.
    def start(seeds: Array) -> Array:
        drawn = uniforms(seeds, 9).T  # [9, B]
        kind = np.floor(3 * drawn[0])
        x, y = MARGIN + (SIZE - 2 * MARGIN) * drawn[1:3]
        chosen = [3 + 1.5 * drawn[4], 5 + 3 * drawn[4], 7 + 3 * drawn[4]]  # as in fqi/Grasp-v0
        length = np.choose(kind.astype(np.int64), chosen)
        width = np.where(kind == BAR, 1.5 + 1.5 * drawn[5], 1.5 + 0.7 * drawn[5])
        gripper = (SIZE * drawn[6], SIZE * drawn[7], 2 * np.pi * drawn[8])
        return np.stack((kind, x, y, 2 * np.pi * drawn[3], length, width, *gripper, np.zeros(len(seeds))))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        along, across, turn, close = np.clip(actions.astype(np.float64).T, -1, 1)
        after = states.copy()
        cosine, sine = np.cos(states[8]), np.sin(states[8])
        after[6] += REACH * (cosine * along - sine * across)
        after[7] += REACH * (sine * along + cosine * across)
        after[8] += TURN * turn
        closed = close > 0
        after[9] = 0
        after[9, closed] = _lifts(after[:, closed])
        return after, after[9].copy(), closed

    return Program(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (FIELDS,), np.float32),
        action_space=gym.spaces.Box(-1, 1, (4,), np.float32),
        start=start,
        frames=_frames,
        step=step,
        success=lambda states: states[9] == 1,
    )


def _frames(states: Array) -> Array:
    kind, x, y, turn, length, width, gx, gy, facing = states[:9]
    cosine, sine = np.cos(facing), np.sin(facing)
    along, across = cosine * (x - gx) + sine * (y - gy), cosine * (y - gy) - sine * (x - gx)
    kinds = [(kind == k).astype(np.float64) for k in range(3)]
    seen = (along, across, np.cos(turn - facing), np.sin(turn - facing), *kinds, length, width)
    return np.stack(seen, 1, dtype=np.float32)


def _lifts(states: Array) -> Array:
    """[B] 1 where closing the gripper there lifts the object."""
    kind, x, y, turn, length, width, gx, gy, facing = states[:9]
    one = np.ones_like(x)
    fields = (kind, x, y, np.cos(turn), np.sin(turn), length, width, one, 0 * one, one)
    objects = Objects(*(field[None] for field in fields))
    return (lifted(objects, gx, gy, facing) >= 0).astype(np.float64)


def skilled(frames: Array) -> Array:
    """Go where the object is best held, across a bar or an arm of an ell, and close there."""
    along, across, cosine, sine, _, bar, ell, length, width = np.asarray(frames, np.float64).T  # [B] each
    arm, corner = 2 * width * (length + width), 4 * width * width
    to_mass = arm * (length - width) / 2 / np.maximum(2 * arm - corner, 1e-12)  # from an ell's corner
    p, q = ell * (ON_ARM - to_mass), -ell * to_mass  # in the object's own frame
    along, across = along + cosine * p - sine * q, across + sine * p + cosine * q
    turn = (np.arctan2(sine, cosine) + np.pi) % np.pi - np.pi / 2  # to close across the object's length
    turn = np.where(bar + ell > 0, turn, 0.0)
    ready = (np.abs(along) <= REACH) & (np.abs(across) <= REACH) & (np.abs(turn) <= TURN)
    wanted = np.stack((along / REACH, across / REACH, turn / TURN, np.where(ready, 1.0, -1.0)), 1)
    return np.asarray(np.clip(wanted, -1, 1).astype(np.float32))


def careless(frames: Array) -> Array:
    """Go roughly to the object, turn at random, and close where it seems within reach, now and then anywhere.

    What looks random is a hash of the frame, so that the same frame gives the same action.
    """
    frames = np.ascontiguousarray(frames, np.float32)
    with np.errstate(over="ignore"):
        bits = np.zeros(len(frames), np.uint64)
        for column in frames.view(np.uint32).T:
            bits = mixed(bits ^ column.astype(np.uint64))
        chance = (
            np.stack([(mixed(bits + np.uint64(i)) >> np.uint64(11)).astype(np.float64) for i in range(5)]) * 2.0**-53
        )
    along, across = frames[:, :2].astype(np.float64).T + _CARELESS * (2 * chance[:2] - 1)
    near = (np.abs(along) <= REACH) & (np.abs(across) <= REACH)
    close = np.where(near ^ (chance[4] < 0.1), 1.0, -1.0) * np.maximum(chance[3], 0.01)
    wanted = np.stack((along / REACH, across / REACH, 2 * chance[2] - 1, close), 1)
    return np.asarray(np.clip(wanted, -1, 1).astype(np.float32))
