"""Atari games through ale-py, prepared as the literature does, one frame at a time.

`fqi/Atari-v0` with the kwarg `game` (fqi/Pong-v0, fqi/Breakout-v0 and fqi/Qbert-v0 are short for three of them). Each
action is held for 4 frames of the game; the frame seen is the brighter of the last two, grey, shrunk to 84 x 84
uint8. A log keeps these single frames; learners stack several of them. An episode begins with 1 to `noops` idle
frames. Kwargs:

- `sticky`: probability that the game repeats its last action instead (.25 in the later literature, 0 by default);
- `clip_rewards`: keep only the signs of rewards; without it returns are the game's own score;
- `life_loss`: a lost life terminates the episode. The next one starts the game afresh, so later lives are never seen.

The game's own actions, without those that do nothing in it. An episode is truncated after 27,000 steps (108,000
frames of the game, half an hour). ALE's own ids (ALE/Pong-v5) remain what they are: colours, 210 x 160.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.nest import Array

SIZE = 84
_SKIP = 4

# Pong's picture: rows of the field, columns between the paddles, columns of our own paddle, grey levels.
_TOP, _BOTTOM = 14, 77
_FIELD, _PADDLE = slice(12, 73), slice(73, 76)
_BACKGROUND, _FAINT = 87, 20
_UP, _DOWN = 2, 3
_NEAR, _GLIDE = 1.5, 6.0  # rows within which a resting and a moving paddle is left alone
_TALL = 8  # rows: a paddle that looks taller is moving


def atari(
    game: Any = None,
    sticky: Any = 0.0,
    noops: Any = 30,
    life_loss: Any = False,
    clip_rewards: Any = False,
) -> gym.Env[Any, Any]:
    """fqi/Atari-v0"""
    for module, package in (("ale_py", "ale-py"), ("cv2", "opencv-python-headless")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"fqi/Atari-v0 needs the module {module!r}, which is not installed: pip install {package}")
    _check(sticky, noops, life_loss, clip_rewards)
    import ale_py
    from gymnasium.wrappers import AtariPreprocessing, TransformReward

    gym.register_envs(ale_py)
    id = f"ALE/{game}-v5"
    if id not in gym.registry:
        raise UserError(f'fqi/Atari-v0 needs the kwarg game, such as "Pong" or "SpaceInvaders" (got {game!r})')
    env = gym.make(
        id, frameskip=1, repeat_action_probability=float(sticky), obs_type="grayscale", disable_env_checker=True
    )
    env = AtariPreprocessing(env, noop_max=noops, frame_skip=_SKIP, screen_size=SIZE, terminal_on_life_loss=life_loss)
    return TransformReward(env, lambda reward: float(np.sign(float(reward)))) if clip_rewards else env


def _check(sticky: Any, noops: Any, life_loss: Any, clip_rewards: Any) -> None:
    if isinstance(sticky, bool) or not isinstance(sticky, int | float) or not 0 <= sticky < 1:
        raise UserError(f"sticky of fqi/Atari-v0 must be a probability below 1 (got {sticky!r})")
    if type(noops) is not int or not 0 <= noops <= 1000:
        raise UserError(f"noops of fqi/Atari-v0 must be a whole number from 0 to 1000 (got {noops!r})")
    for name, value in (("life_loss", life_loss), ("clip_rewards", clip_rewards)):
        if not isinstance(value, bool):
            raise UserError(f"{name} of fqi/Atari-v0 must be true or false (got {value!r})")


def pong(frames: Array) -> Array:
    """The scripted policy for Pong: keep the paddle level with the ball, stay where no ball is seen.

    A single push carries the paddle on for 9 rows, more than its own 7. A frame is the brighter of two, so a paddle
    that moves looks taller, and is left to glide.
    """
    field = np.abs(np.asarray(frames, np.float64)[:, _TOP:_BOTTOM] - _BACKGROUND)  # [B, H, W]
    field[field < _FAINT] = 0
    ball, paddle = field[:, :, _FIELD].sum(2), field[:, :, _PADDLE].sum(2)  # [B, H] brightness of the rows
    seen = (ball.sum(1) > 0) & (paddle.sum(1) > 0)
    above = np.where(seen, _middle(paddle) - _middle(ball), 0.0)  # rows that the ball is above the paddle
    near = np.where((paddle > 0).sum(1) > _TALL, _GLIDE, _NEAR)
    return np.where(above > near, _UP, np.where(above < -near, _DOWN, 0))


def _middle(rows: Array) -> Array:
    """[B] the mean row, weighted by brightness."""
    weighted = (rows * np.arange(rows.shape[1])).sum(1)
    return np.asarray(weighted / np.maximum(rows.sum(1), 1e-9))
