"""Environments whose model is known: a table of what follows each state and action, and what can be solved from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.make import make_single
from fqi.errors import UserError
from fqi.nest import Array

LARGEST = 3000  # states: a dense table of the states after each takes 8 A S^2 bytes
_SETTLED, _MOST = 1e-12, 100_000  # of an iteration without discount


@dataclass(frozen=True, eq=False)
class Model:
    """S states, A actions. Where an episode ends nothing follows, so that `onward` sums to the chance of going on."""

    onward: Array  # [S, A, S] probability of going on to each state
    reward: Array  # [S, A] expected
    starts: Array  # [S] where episodes begin
    legal: Array  # [S, A] bool
    lasting: Array  # [S] bool: states in which an episode can stand; the others are ends
    grid: tuple[int, int] | None = None  # rows and columns, where states are cells

    def backup(self, following: Array, gamma: float) -> Array:
        """[S, A] the reward and the discounted value [S] of what follows."""
        return np.asarray(self.reward + gamma * (self.onward @ following))

    def best(self, q: Array, known: Array | None = None) -> Array:
        """[S] the highest of q [S, A] among the legal actions, and of those that are known; 0 where there are none."""
        allowed = self.legal if known is None else self.legal & known
        return np.where(allowed.any(1), np.where(allowed, q, -np.inf).max(1), 0.0)

    def optimum(self, gamma: float, horizon: int | None) -> Array:
        """[S, A] Q of the best policy: without discount over this many steps at most."""
        q = np.zeros_like(self.reward)
        for _ in range(_steps(gamma, horizon)):
            after = self.backup(self.best(q), gamma)
            if np.abs(after - q).max() <= _SETTLED:
                return after
            q = after
        return q

    def worth(self, policy: Array, gamma: float, horizon: int | None) -> Array:
        """[S, A] Q of a policy [S], exactly: by its linear equations, or without discount over so many steps."""
        states = np.arange(len(policy))
        chain, earned = self.onward[states, policy], self.reward[states, policy]
        if gamma < 1:
            values = np.linalg.solve(np.eye(len(policy)) - gamma * chain, earned)
        else:
            values = np.zeros(len(policy))
            for _ in range(_steps(gamma, horizon)):
                after = earned + chain @ values
                if np.abs(after - values).max() <= _SETTLED:
                    break
                values = after
        return self.backup(values, gamma)


def _steps(gamma: float, horizon: int | None) -> int:
    return _MOST if gamma < 1 or horizon is None else horizon


def model_of(environment: dict[str, Any] | None) -> Model | None:
    """The model of an environment that keeps one as Gymnasium's toy text does (`P`, `initial_state_distrib`); None
    where it keeps none."""
    if environment is None:
        return None
    try:
        env: Any = make_single(environment)
    except UserError:
        return None
    try:
        return from_table(env)
    finally:
        env.close()


def from_table(env: gym.Env[Any, Any]) -> Model | None:
    """The model in `P`: state, action, then (probability, next state, reward, end) of each outcome."""
    inner: Any = env.unwrapped
    spaces = (env.observation_space, env.action_space)
    if not hasattr(inner, "P") or not hasattr(inner, "initial_state_distrib"):
        return None
    kwargs = env.spec.kwargs if env.spec else {}
    if "map_name" in kwargs and kwargs["map_name"] is None and kwargs.get("desc") is None:
        return None  # FrozenLake then draws another map each time
    if not all(isinstance(s, gym.spaces.Discrete) and s.start == 0 for s in spaces):
        return None
    S, A = (int(s.n) for s in spaces)  # type: ignore[attr-defined]
    if S > LARGEST or getattr(inner, "fickle_passenger", False):  # the latter changes the state beside its table
        return None
    onward, reward, legal = np.zeros((S, A, S)), np.zeros((S, A)), np.ones((S, A), np.bool_)
    stays: Array = np.ones((S, A), np.bool_)
    for s, a in np.ndindex(S, A):
        for probability, following, earned, ended in inner.P[s][a]:
            reward[s, a] += probability * earned
            onward[s, a, following] += probability * (not ended)
            stays[s, a] &= bool(ended) and int(following) == s
    if hasattr(inner, "action_mask"):
        legal = np.stack([np.asarray(inner.action_mask(s), np.bool_) for s in range(S)])
    starts = np.asarray(inner.initial_state_distrib, np.float64)
    return Model(onward, reward, starts / starts.sum(), legal, np.asarray(~stays.all(1)), _grid(inner, S))


def _grid(env: Any, states: int) -> tuple[int, int] | None:
    shape = getattr(env, "shape", None) or (getattr(env, "nrow", 0), getattr(env, "ncol", 0))
    if len(shape) == 2 and int(shape[0]) * int(shape[1]) == states:
        return int(shape[0]), int(shape[1])
    return None
