"""From logged frames back to the environment's states, so that logged steps can be played again.

Where a frame holds the whole state, the environment is set to it, takes the logged action, and says what must follow.
Frames are rounded: CartPole, MountainCar, Pendulum and Car-on-the-Hill keep their state in float64 and show float32,
and Acrobot and Pendulum show angles as cosine and sine. What follows is therefore exact to some 1e-7 of its size, and
an end that hangs on a bound can fall on either side of it. The toy-text tables are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from fqi.environments.car_on_the_hill import ACTION_SPACE, OBSERVATION_SPACE, advance, outcome
from fqi.environments.make import make_single
from fqi.errors import UserError
from fqi.nest import Array

_LONGEST = 20_000  # letters of a map
_PIECE = 1 << 14  # rows of an array program at a time: they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Outcomes:
    """All that can follow B steps, in K alternatives; K is 1 where the environment is deterministic."""

    frames: Array  # [K, B, *observation]
    rewards: Array  # [K, B] float64
    terminations: Array  # [K, B] bool
    possible: Array  # [K, B] bool: whether the alternative exists


class Replayer(Protocol):
    """Plays single steps from any logged frame."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    rows: int  # steps that it replays in about a second

    def outcomes(self, frames: Array, actions: Array) -> Outcomes:
        """What follows when these actions [B] are taken in these frames [B, *observation]."""


def replayer(environment: dict[str, Any] | None) -> Replayer:
    """The replayer of the environment that a log names; one sentence where its state cannot be told from a frame."""
    if environment is None:
        raise UserError("the log does not name its environment")
    name = str(environment.get("id"))
    kwargs = {k: v for k, v in (environment.get("kwargs") or {}).items() if k != "render_mode"}
    if name not in _MAKERS:
        raise UserError(f"{name} cannot be set to a logged frame: known are {', '.join(_MAKERS)}")
    return _MAKERS[name]({"id": name, "kwargs": kwargs})


def _mountain_car(env: Any, frame: Array) -> None:
    env.state = (float(frame[0]), float(frame[1]))


def _continuous_mountain_car(env: Any, frame: Array) -> None:
    env.state = frame.astype(np.float32)  # so it is kept there


def _acrobot(env: Any, frame: Array) -> None:
    cos1, sin1, cos2, sin2, rate1, rate2 = frame.tolist()
    env.state = np.array([math.atan2(sin1, cos1), math.atan2(sin2, cos2), rate1, rate2])


def _pendulum(env: Any, frame: Array) -> None:
    cosine, sine, rate = frame.tolist()
    env.state = np.array([math.atan2(sine, cosine), rate])


class _Singles:
    """One environment, set to each state in turn."""

    def __init__(self, environment: dict[str, Any], set_state: Callable[[Any, Array], None], rows: int) -> None:
        self._env: Any = make_single(environment).unwrapped
        self._set_state, self.rows = set_state, rows
        _try(self._env, environment)
        self.observation_space: gym.Space[Any] = self._env.observation_space
        self.action_space: gym.Space[Any] = self._env.action_space

    def outcomes(self, frames: Array, actions: Array) -> Outcomes:
        count = len(frames)
        after, rewards = np.zeros((count, *frames.shape[1:]), frames.dtype), np.zeros(count)
        ends = np.zeros(count, np.bool_)
        chosen = actions.tolist() if actions.ndim == 1 else list(actions)
        for row, action in enumerate(chosen):
            self._set_state(self._env, frames[row])
            after[row], rewards[row], ends[row], _, _ = self._env.step(action)
        return _certain(after, rewards, ends)


def _try(env: Any, environment: dict[str, Any]) -> None:
    """A step, so that arguments that the environment's own arithmetic does not like are found before all others."""
    first = np.zeros(env.action_space.shape, np.float32) if env.action_space.shape else 0
    try:
        env.reset(seed=0)
        env.step(first)
    except Exception as error:  # whatever such arguments make it raise
        raise UserError(f"{environment['id']} cannot be played with {environment['kwargs']}: {error}") from error


class _CartPoles:
    """Gymnasium's vectorised CartPole, every copy in a state of its own."""

    rows = 1_000_000

    def __init__(self, environment: dict[str, Any]) -> None:
        self._kwargs = environment["kwargs"]
        if not set(self._kwargs) <= {"sutton_barto_reward"}:
            raise UserError(f"{environment['id']} with {self._kwargs} cannot be set to a logged frame")
        env: Any = CartPoleVectorEnv
        self._env = env(1, max_episode_steps=int(np.iinfo(np.int32).max), **self._kwargs)
        self.observation_space: gym.Space[Any] = self._env.single_observation_space
        self.action_space: gym.Space[Any] = self._env.single_action_space

    def outcomes(self, frames: Array, actions: Array) -> Outcomes:
        return _in_pieces(self._step, frames, actions)

    def _step(self, frames: Array, actions: Array) -> tuple[Array, Array, Array]:
        env, count = self._env, len(frames)
        env.num_envs = count
        env.action_space = gym.spaces.MultiDiscrete(np.full(count, 2))
        env.steps, env.prev_done = np.zeros(count, np.int32), np.zeros(count, np.bool_)
        env.state = frames.T.astype(np.float64)
        after, rewards, terminations, _, _ = env.step(actions.astype(np.int64, copy=False))
        return after, rewards, terminations


class _Cars:
    """Car-on-the-Hill, whose dynamics are an array program."""

    rows = 100_000
    observation_space, action_space = OBSERVATION_SPACE, ACTION_SPACE

    def outcomes(self, frames: Array, actions: Array) -> Outcomes:
        return _in_pieces(self._step, frames, actions)

    def _step(self, frames: Array, actions: Array) -> tuple[Array, Array, Array]:
        states = advance(frames.astype(np.float64), actions.astype(np.int64))
        goal, crashed = outcome(states)
        return states.astype(np.float32), goal.astype(np.float64) - crashed, goal | crashed


class _Table:
    """An environment that is a table of transitions `P`: state, action, (probability, next, reward, end) each."""

    rows = 2_000_000

    def __init__(self, environment: dict[str, Any]) -> None:
        if len(str(environment["kwargs"])) > _LONGEST:
            raise UserError(f"the map of {environment['id']} is too large to be played again")
        made = make_single(environment)
        kwargs = made.spec.kwargs if made.spec else {}
        if "FrozenLake" in environment["id"] and kwargs.get("desc") is None and kwargs.get("map_name", "4x4") is None:
            raise UserError("FrozenLake without a map draws another one each time: it cannot be played again")
        if kwargs.get("fickle_passenger"):
            raise UserError("Taxi with a fickle passenger changes its destination beside its table of transitions")
        env: Any = made.unwrapped
        self.observation_space, self.action_space = env.observation_space, env.action_space
        states, actions = int(self.observation_space.n), int(self.action_space.n)
        width = max(len(env.P[s][a]) for s in range(states) for a in range(actions))
        self._next = np.zeros((width, states, actions), np.int64)
        self._rewards = np.zeros((width, states, actions))
        self._ends = np.zeros((width, states, actions), np.bool_)
        self._possible = np.zeros((width, states, actions), np.bool_)
        for s in range(states):
            for a in range(actions):
                for k, (probability, after, reward, end) in enumerate(env.P[s][a]):
                    at = k, s, a
                    self._next[at], self._rewards[at], self._ends[at] = after, reward, end
                    self._possible[at] = probability > 0

    def outcomes(self, frames: Array, actions: Array) -> Outcomes:
        states, taken = frames.astype(np.int64), actions.astype(np.int64)
        parts = (self._next, self._rewards, self._ends, self._possible)
        after, rewards, ends, possible = (part[:, states, taken] for part in parts)
        return Outcomes(after, rewards, ends, possible)


def _certain(frames: Array, rewards: Array, terminations: Array) -> Outcomes:
    return Outcomes(frames[None], rewards[None], terminations[None], np.ones((1, len(frames)), np.bool_))


def _in_pieces(step: Callable[[Array, Array], tuple[Array, Array, Array]], frames: Array, actions: Array) -> Outcomes:
    after, rewards = np.zeros(frames.shape, frames.dtype), np.zeros(len(frames))
    ends = np.zeros(len(frames), np.bool_)
    for i in range(0, len(frames), _PIECE):
        some = slice(i, i + _PIECE)
        after[some], rewards[some], ends[some] = step(frames[some], actions[some])
    return _certain(after, rewards, ends)


def _singles(set_state: Callable[[Any, Array], None], rows: int) -> Callable[[dict[str, Any]], Replayer]:
    return lambda environment: _Singles(environment, set_state, rows)


_MAKERS: dict[str, Callable[[dict[str, Any]], Replayer]] = {
    "CartPole-v1": _CartPoles,
    "CartPole-v0": _CartPoles,
    "MountainCar-v0": _singles(_mountain_car, 40_000),
    "MountainCarContinuous-v0": _singles(_continuous_mountain_car, 40_000),
    "Acrobot-v1": _singles(_acrobot, 15_000),
    "Pendulum-v1": _singles(_pendulum, 40_000),
    "fqi/CarOnTheHill-v0": lambda environment: _Cars(),
    "FrozenLake-v1": _Table,
    "FrozenLake8x8-v1": _Table,
    "CliffWalking-v1": _Table,
    "CliffWalkingSlippery-v1": _Table,
    "Taxi-v4": _Table,
}
