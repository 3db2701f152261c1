"""The replay oracle: logged steps are played again from their logged frames, and compared with what was logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.doctor.structure import bounds, finite_rows, flat, valid_actions
from fqi.environments.states import Outcomes, replayer
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array

_PRECISION = 2e-6  # of a column's size; the largest error seen in float32 frames is 5e-8
_SIZE = 0.99  # of the values are no larger than what is called the size of a column
_MEASURED = 100_000  # rows that the sizes are taken from
_NUDGED = 500  # rows that are played again from the neighbours of their frame, if others agree


@dataclass(frozen=True, eq=False)
class Played:
    """What the oracle says of some rows."""

    rows: Array  # [R] the steps
    frames: Array  # [R] bool: the next frame is one to which the action can lead
    rewards: Array  # [R] bool: the reward is what that earns
    ends: Array  # [R] bool: it is terminated where the environment is
    reward: Array  # [R] what the environment gives
    terminated: Array  # [R] bool: whether the environment ends there
    sure: Array  # [R] bool: there is but one such reward and end, given the next frame

    @property
    def agree(self) -> Array:
        return np.asarray(self.frames & self.rewards & self.ends)


class Oracle:
    """Plays the steps of one log again. Raises a UserError where that cannot be done."""

    def __init__(self, log: Log) -> None:
        if not isinstance(log.observations, np.ndarray):
            raise UserError("observations are a nest of arrays")
        self.log = log
        self.replayer = replayer(log.environment)
        _same_spaces(log, self.replayer.observation_space, self.replayer.action_space)
        self.frames = log.observations  # [F, *observation]
        self.frame = log.frame_of_step  # [N]
        finite, inside = finite_rows(self.frames), _inside(self.frames, self.replayer.observation_space)
        valid = valid_actions(log) & _inside(log.actions - _start(log), self.replayer.action_space)
        known = finite[self.frame] & finite[self.frame + 1] & valid
        self.usable = known & inside[self.frame]  # [N] bool: steps that can be played
        self.strange = known & ~inside[self.frame]  # [N] bool: steps from frames that the environment does not have
        self._frame_slack = _PRECISION * _sizes(self.frames)
        self._reward_slack = _PRECISION * np.maximum(_sizes(log.rewards), 1e-3)
        last = np.zeros(log.steps, np.bool_)
        last[np.cumsum(log.lengths) - 1] = True
        self.last = last  # [N] bool: the last step of its episode
        self.first = np.roll(last, 1)  # [N] bool

    def sample(self, most: int | None = None) -> Array:
        """Usable rows in order: all, or as many as a second allows, a quarter of them last steps of episodes."""
        most = self.replayer.rows if most is None else most
        rows = np.flatnonzero(self.usable)
        if len(rows) <= most:
            return rows
        draws = np.random.default_rng(0)
        ends = rows[self.last[rows]]
        chosen = np.zeros(self.log.steps, np.bool_)
        chosen[draws.choice(ends, min(len(ends), most // 4), replace=False)] = True
        others = rows[~chosen[rows]]
        chosen[draws.choice(others, most - np.count_nonzero(chosen), replace=False)] = True
        return np.flatnonzero(chosen)

    def play(
        self, rows: Array, actions: Array | None = None, rewards: Array | None = None, *, nudge: bool = True
    ) -> Played:
        """The verdict on these rows, with their own actions and rewards [R] or with others."""
        log = self.log
        actions = log.actions[rows] if actions is None else actions
        rewards = log.rewards[rows] if rewards is None else rewards
        before: Array = self.frames[self.frame[rows]]
        found = self._compare(rows, before, actions, rewards)
        odd = np.flatnonzero(~found.agree)
        if nudge and len(odd) <= _NUDGED and before.dtype.kind == "f" and len(odd):
            self._nudge(found, odd, before, actions, rewards)
        return found

    def _nudge(self, found: Played, odd: Array, before: Array, actions: Array, rewards: Array) -> None:
        """A frame is rounded: what follows from a state that shows the same frame may lie beyond a bound."""
        for dimension in range(before.shape[1]):
            for way in (-np.inf, np.inf):
                near = before[odd].copy()  # what was float32 once is rounded so, whatever it is now
                near[:, dimension] = np.nextafter(near[:, dimension].astype(np.float32), np.float32(way))
                other = self._compare(found.rows[odd], near, actions[odd], rewards[odd])
                better = odd[other.agree]
                for part in ("frames", "rewards", "ends"):
                    getattr(found, part)[better] = True
                found.reward[better], found.terminated[better] = (
                    other.reward[other.agree],
                    other.terminated[other.agree],
                )

    def _compare(self, rows: Array, before: Array, actions: Array, rewards: Array) -> Played:
        log = self.log
        out = self.replayer.outcomes(before, actions - _start(log))
        after = self.frames[self.frame[rows] + 1]
        near = self._near(out, after) & out.possible  # [K, R]
        frames = near.any(axis=0)
        alternatives = np.where(frames, near, out.possible)  # [K, R] those that the next frame leaves
        with np.errstate(invalid="ignore"):
            same = np.abs(out.rewards - rewards) <= self._reward_slack
        ended = log.terminations[rows]
        chosen = np.argmax(alternatives, axis=0), np.arange(len(rows))
        reward, terminated = out.rewards[chosen], out.terminations[chosen]
        alike = (np.abs(out.rewards - reward) <= self._reward_slack) & (out.terminations == terminated)
        return Played(
            rows=rows,
            frames=np.asarray(frames),
            rewards=(alternatives & same).any(axis=0),
            ends=(alternatives & (out.terminations == ended)).any(axis=0),
            reward=reward,
            terminated=terminated,
            sure=(alike | ~alternatives).all(axis=0),
        )

    def _near(self, out: Outcomes, after: Array) -> Array:
        if after.dtype.kind != "f":
            return np.asarray(out.frames == after)
        gap = np.abs(out.frames.astype(np.float64) - after)  # [K, R, D]
        return np.asarray((gap <= self._frame_slack).all(axis=-1))


def oracle(log: Log) -> Oracle | str:
    """The log's oracle, or why there is none."""
    try:
        return Oracle(log)
    except UserError as error:
        return str(error)


def _same_spaces(log: Log, observations: gym.Space[Any], actions: gym.Space[Any]) -> None:
    said = []
    for mine, its in ((log.observation_space, observations), (log.action_space, actions)):
        alike = type(mine) is type(its) and mine.shape == its.shape
        if isinstance(mine, gym.spaces.Discrete) and isinstance(its, gym.spaces.Discrete):
            alike = mine.n == its.n and (mine is log.action_space or mine.start == its.start)
        if not alike:
            said.append(f"{its} in the environment, {mine} in the log")
    if said:
        raise UserError(f"the environment has other spaces: {'; '.join(said)}")


def _start(log: Log) -> int:
    """What stands for the environment's first action."""
    return int(log.action_space.start) if isinstance(log.action_space, gym.spaces.Discrete) else 0


def _inside(values: Array, space: gym.Space[Any]) -> Array:
    """[rows] bool: what the environment has, but for a little that rounding explains. Far outside, its own arithmetic
    may raise or never end."""
    low, high = bounds(space)
    slack = 0 if values.dtype.kind in "iub" else 1e-3
    with np.errstate(invalid="ignore"):
        return np.asarray(flat((values >= low - slack) & (values <= high + slack)).all(axis=1))


def _sizes(array: Array) -> Array:
    """[D] how large the values of each column usually are."""
    if array.dtype.kind != "f" or not array.size:
        return np.zeros(array.shape[1:])
    step = max(1, len(array) // _MEASURED)
    some = np.abs(flat(array[::step]).astype(np.float64))
    some = np.where(np.isfinite(some), some, 0.0)
    sizes: Array = np.quantile(some, _SIZE, axis=0).reshape(array.shape[1:])
    return sizes
