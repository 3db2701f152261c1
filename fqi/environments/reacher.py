"""Reacher with eight joint moves: MuJoCo's two-link arm (Reacher-v5) turns each joint by -.1, 0 or +.1 rad a step.

Action 0 to 7 are the pairs of moves of shoulder and elbow but (0, 0), the shoulder's changing last. A step lasts .1
s: five control steps of Reacher-v5, in each of which a proportional-derivative law sets the torques that bring the
joints to where the move says. The frame is Reacher-v5's [10]: cosines and sines of both angles, the target's place,
both speeds, and the way from the target to the fingertip. Reward: minus the distance of the fingertip in metres; an
episode terminates, as a success, when it is at most .02 m (the two touch), and is truncated after 100 steps. Starts
are Reacher-v5's.

Doubt: the lectures do not say how far a move goes nor how near counts; these are our choices.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.nest import Array

MOVE = 0.1  # rad
NEAR = 0.02  # m
MOVES = np.array([(a, b) for b in (-1, 0, 1) for a in (-1, 0, 1) if (a, b) != (0, 0)])  # [8, 2] shoulder, elbow
_CONTROLS = 5  # of a step
_STIFFNESS, _DAMPING = 8.0, 0.4
_UPPER, _LOWER = 0.1, 0.11  # m, the links
_ELBOW = 3.0  # rad, the elbow's limit on both sides


class Reacher(gym.Env[Array, np.int64]):
    """fqi/Reacher-v0"""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(self) -> None:
        if importlib.util.find_spec("mujoco") is None:
            raise UserError("fqi/Reacher-v0 needs MuJoCo, which is not installed: pip install 'fqi[mujoco]'")
        os.environ.setdefault("MUJOCO_GL", "egl")
        self._env: Any = gym.make("Reacher-v5", disable_env_checker=True).unwrapped
        self._aim = np.zeros(2)  # where the joints are to be, in rad
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (10,), np.float32)
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        frame, _ = self._env.reset(seed=int(self.np_random.integers(2**31)))
        self._aim = self._env.data.qpos[:2].copy()
        return frame.astype(np.float32), {"is_success": False}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"action must be a whole number below {len(MOVES)} (got {action!r})")
        self._aim = self._env.data.qpos[:2] + MOVE * MOVES[action]
        self._aim[1] = np.clip(self._aim[1], -_ELBOW, _ELBOW)
        for _ in range(_CONTROLS):
            torque = _STIFFNESS * (self._aim - self._env.data.qpos[:2]) - _DAMPING * self._env.data.qvel[:2]
            frame, *_ = self._env.step(np.clip(torque, -1, 1))
        distance = float(np.hypot(frame[8], frame[9]))
        near = distance <= NEAR
        return frame.astype(np.float32), -distance, near, False, {"is_success": near}

    def close(self) -> None:
        self._env.close()


def reaching(frames: Array) -> Array:
    """The scripted policy: solve for the joint angles that reach the target, and turn both joints towards them."""
    frames = np.asarray(frames, np.float64)
    shoulder, elbow = np.arctan2(frames[:, 2], frames[:, 0]), np.arctan2(frames[:, 3], frames[:, 1])
    x, y = frames[:, 4], frames[:, 5]
    bend = (x * x + y * y - _UPPER**2 - _LOWER**2) / (2 * _UPPER * _LOWER)
    bent = np.arccos(np.clip(bend, -1, 1))
    away = [_turns(shoulder, elbow, x, y, side * bent) for side in (1, -1)]  # [B, 2] each: one for either elbow
    shorter = np.abs(away[0]).max(1) <= np.abs(away[1]).max(1)
    turns = np.where(shorter[:, None], away[0], away[1])
    moves = np.rint(np.clip(turns / MOVE, -1, 1)).astype(np.int64)  # [B, 2]
    still = ~moves.any(1)
    larger = np.abs(turns).argmax(1)
    moves[still, larger[still]] = np.where(turns[still, larger[still]] >= 0, 1, -1)
    number = (moves[:, 1] + 1) * 3 + moves[:, 0] + 1
    return np.asarray(number - (number > 4))


def _turns(shoulder: Array, elbow: Array, x: Array, y: Array, bent: Array) -> Array:
    """[B, 2] what is missing to reach (x, y) with the elbow bent so."""
    aim = np.arctan2(y, x) - np.arctan2(_LOWER * np.sin(bent), _UPPER + _LOWER * np.cos(bent))
    turn = (aim - shoulder + np.pi) % (2 * np.pi) - np.pi
    return np.stack((turn, bent - elbow), axis=1)
