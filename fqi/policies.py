"""Policies: frames in, action probabilities out (Discrete), or actions out (continuous)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.errors import UserError
from fqi.maximise import TOGETHER, from_unit, mean, search, unmoved
from fqi.nest import Array, Nest, rows, take
from fqi.qfunctions.contract import ContinuousQ, Fitted, QFunction


class Policy(ABC):
    """What acts. It keeps no memory and draws nothing by itself."""

    stack: int = 1  # frames that it looks at, [B, stack, ...]: the last ones of each episode; 1: [B, ...]

    @abstractmethod
    def probabilities(self, frames: Nest) -> Array:
        """[B, A] the probability of each action; for Discrete action spaces."""

    @abstractmethod
    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        """[B, *action] actions; for continuous action spaces."""

    def certain(self, frames: Nest, legal: Array | None) -> Array | None:
        """[B] the index of the action that `among` is sure of in each frame; None of a policy that may be in doubt."""
        return None

    def among(self, frames: Nest, legal: Array | None) -> Array:
        """[B, A] the probability of each action where only those in `legal` [B, A] may be played (None: all)."""
        exact = self.probabilities(frames)
        if legal is None:
            return exact
        kept = np.where(legal, exact, 0.0)
        total = kept.sum(1, keepdims=True)
        if (total == 0).any():
            row = int(np.flatnonzero(total[:, 0] == 0)[0])
            raise UserError(
                f"the environment allows the actions {np.flatnonzero(legal[row]).tolist()} (counted from 0) in a frame "
                f"where the policy takes only {np.flatnonzero(exact[row]).tolist()}; a policy must choose a legal one"
            )
        return np.asarray(kept / total)


class Uniform(Policy):
    """Every action equally likely."""

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space

    def probabilities(self, frames: Nest) -> Array:
        count = int(_discrete(self.action_space).n)
        return np.full((rows(frames), count), 1 / count)

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        space = self.action_space
        if not isinstance(space, gym.spaces.Box) or not space.is_bounded():
            raise UserError(f"a uniform policy needs a bounded action space, found {space}")
        return draws.uniform(space.low, space.high, (rows(frames), *space.shape)).astype(space.dtype)


class Function(Policy):
    """A batch function of the frames: it returns actions, or for Discrete actions also probabilities [B, A]."""

    def __init__(self, function: Callable[[Nest], Any], action_space: gym.Space[Any], name: str) -> None:
        self.function, self.action_space, self.name = function, action_space, name

    def probabilities(self, frames: Nest) -> Array:
        space = _discrete(self.action_space)
        B, A = rows(frames), int(space.n)
        found = np.asarray(self.function(frames))
        if found.shape == (B, A) and found.dtype.kind == "f":
            if not (np.isfinite(found).all() and (found >= 0).all() and np.allclose(found.sum(1), 1, atol=1e-6)):
                raise UserError(f"{self.name} returned action probabilities that do not sum to 1")
            exact: Array = found.astype(np.float64)
            exact /= exact.sum(1, keepdims=True)  # actions are drawn with these very probabilities
            return exact
        if found.shape != (B,) or found.dtype.kind not in "iub":
            raise UserError(
                f"{self.name} must return {B} integer actions or probabilities of shape {(B, A)}, "
                f"found {found.dtype} of shape {found.shape}"
            )
        index = found.astype(np.int64) - int(space.start)
        if ((index < 0) | (index >= A)).any():
            raise UserError(f"{self.name} returned an action outside {space}: {found[(index < 0) | (index >= A)][0]}")
        return one_hot(index, A)

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        space = self.action_space
        expected = (rows(frames), *(space.shape or ()))
        found = np.asarray(self.function(frames), dtype=space.dtype)
        if found.shape != expected:
            raise UserError(f"{self.name} must return actions of shape {expected}, found shape {found.shape}")
        return np.clip(found, space.low, space.high) if isinstance(space, gym.spaces.Box) else found


class Greedy(Policy):
    """The best action by the mean of some heads of a Q-function."""

    def __init__(self, q: QFunction, heads: slice = slice(None)) -> None:
        self.q, self.heads, self.stack = q, heads, q.stack

    def q_values(self, frames: Nest) -> torch.Tensor:
        """[B, A] the mean over the heads."""
        values = self.q.values(frames, self.heads)
        return values[0] if len(values) == 1 else values.mean(0)

    def probabilities(self, frames: Nest) -> Array:
        return self.among(frames, None)

    def among(self, frames: Nest, legal: Array | None) -> Array:
        values = self._allowed(frames, legal)
        return one_hot(values.argmax(1).cpu().numpy(), values.shape[1])

    def certain(self, frames: Nest, legal: Array | None) -> Array:
        return np.asarray(self._allowed(frames, legal).argmax(1).cpu().numpy())

    def _allowed(self, frames: Nest, legal: Array | None) -> torch.Tensor:
        """[B, A] the values of what may be played, -inf elsewhere."""
        values = self.q_values(frames)
        if legal is not None:
            forbidden = ~torch.from_numpy(legal).to(values.device)
            values = values.masked_fill(forbidden, -torch.inf)
        support = self.q.support(frames)
        if support is not None:
            known = support if legal is None else support & ~forbidden
            values = values.masked_fill(~known & known.any(1, keepdim=True), -torch.inf)
        return values

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        raise UserError("a greedy policy needs a Discrete action space")


def of_single_frames(policy: Policy, asked: str) -> Policy:
    """The policy, if it can be asked about frames one by one."""
    if policy.stack > 1:
        raise UserError(
            f"{asked} asks a policy about single frames, and this one looks at {policy.stack} at once; give one that "
            "was trained with stack 1"
        )
    return policy


class Searched(Policy):
    """The best continuous action by the mean of some heads of a Q-function, as far as a search finds it."""

    def __init__(self, q: ContinuousQ, heads: slice = slice(None)) -> None:
        self.q, self.heads, self.stack = q, heads, q.stack
        self.cem = q.cem.to_act()

    def probabilities(self, frames: Nest) -> Array:
        raise UserError("a search for continuous actions has no probabilities of Discrete ones")

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        count = rows(frames)
        size = max(1, TOGETHER // self.cem.samples)
        parts = [self._best(take(frames, slice(start, start + size))) for start in range(0, count, size)]
        return from_unit(np.concatenate(parts), self.q.box)

    def _best(self, frames: Nest) -> Array:
        """[B, K] in [-1, 1]."""
        shift = unmoved(self.cem, rows(frames), int(np.prod(self.q.box.shape)))
        best = search(self.q.score(frames, self.heads), mean, self.cem, shift.to(self.q.like()))
        return np.asarray(best[0, 0].cpu().numpy())


def greedy(q: Fitted, heads: slice = slice(None)) -> Policy:
    """The policy that takes the best action by the mean of some heads."""
    match q:
        case QFunction():
            return Greedy(q, heads)
        case ContinuousQ():
            return Searched(q, heads)
    raise TypeError(f"expected a QFunction or a ContinuousQ, found {type(q).__name__}")


def one_hot(index: Array, count: int) -> Array:
    """[B, A] certainty of one action each."""
    certain = np.zeros((len(index), count))
    certain[np.arange(len(index)), index] = 1
    return certain


def _discrete(space: gym.Space[Any]) -> gym.spaces.Discrete:
    if not isinstance(space, gym.spaces.Discrete):
        raise UserError(f"probabilities need a Discrete action space, found {space}")
    return space
