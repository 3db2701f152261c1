"""A log seen as regression rows for one (gamma, n, stack). Frames are gathered, never stored twice."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, Nest, take


@dataclass(frozen=True, eq=False)
class Transitions:
    """B rows. The discount carries termination: gamma^n, and 0 where the episode terminated on the way."""

    log: Log
    gamma: float
    n: int
    frame: Array  # [B] int64: frame in which the action was taken
    action: Array  # [B] int64 from 0 for Discrete spaces, else [B, *action]
    returns: Array  # [B] float64: sum of gamma^i * reward over the next n steps, or fewer at the episode's end
    discount: Array  # [B] float64: what the value of the next frame is multiplied by
    next_frame: Array  # [B] int64: frame after those steps; the final frame where the episode ended before
    stack: int = 1  # S: frames that are shown at once, the last ones of the episode

    def __len__(self) -> int:
        return len(self.frame)

    def observations(self, frames: Array | slice = slice(None)) -> Nest:
        """What is shown of these frames, by default of all: the log's own, or stacks [F, S, ...], copied out."""
        observed = self.log.observations
        return take(observed, frames if self.stack == 1 else stacked(self.log, self.stack)[frames])

    def shown(self) -> Array:
        """[F, S] int64: which frames are shown at once with each."""
        return stacked(self.log, self.stack)


def transitions(log: Log, gamma: float, n: int = 1, stack: int = 1) -> Transitions:
    """Every step of the log as one row."""
    if not 0 <= gamma <= 1:
        raise UserError(f"gamma must lie in [0, 1], found {gamma}")
    if n < 1:
        raise UserError(f"n-step must be at least 1, found {n}")
    frame = log.frame_of_step
    if n == 1:  # by far the commonest: no need to look for the end of the episode
        returns, ahead, last = log.rewards.astype(np.float64), 1, np.arange(log.steps)
        next_frame = frame + 1
        reach: Array | int = ahead
    else:
        end = np.repeat(log.starts + log.lengths, log.lengths)  # [N] one past the episode's last step
        reach = np.minimum(n, end - np.arange(log.steps))  # [N] steps that really lie ahead
        last = np.arange(log.steps) + reach - 1
        returns = _n_step_returns(log.rewards.astype(np.float64), reach, gamma, n)
        next_frame = frame + reach
    discount = np.where(log.terminations[last], 0.0, np.power(gamma, reach, dtype=np.float64))
    action = log.actions
    if isinstance(log.action_space, gym.spaces.Discrete):
        action = action.astype(np.int64) - int(log.action_space.start)
    return Transitions(log, gamma, n, frame, action, returns, discount, next_frame, stack)


def _n_step_returns(rewards: Array, reach: Array, gamma: float, n: int) -> Array:
    returns = np.zeros(len(rewards))
    for i in range(min(n, int(reach.max(initial=0)))):
        within = np.flatnonzero(reach > i)
        returns[within] += gamma**i * rewards[within + i]
    return returns


def stacked(log: Log, depth: int) -> Array:
    """[F, depth] for every frame the last `depth` frames of its episode, oldest first, the first one repeated."""
    frames = log.steps + log.episodes
    first = np.repeat(log.start_frames, log.lengths + 1)  # [F] first frame of the same episode
    back = np.arange(depth - 1, -1, -1)
    return np.asarray(np.maximum(np.arange(frames)[:, None] - back, first[:, None]))
