"""What deep Q-learning remembers, of P seeds at once: all that was experienced, and which of its rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from fqi.log import Log
from fqi.nest import Array, Nest, apply, leaves, unflatten
from fqi.transitions import Transitions

FLOOR = 1e-3  # added to every error, so that each row can still be drawn


@dataclass(eq=False)
class Rows:
    """Regression rows of P seeds, or of all seeds in common, in flat columns; a seed's rows begin at its base."""

    frames: Nest  # [.., *observation]
    frame: Array  # [R] int64: frame in which the action was taken
    action: Array  # [R] int64 from 0
    returns: Array  # [R] float32
    discount: Array  # [R] float32: carries termination
    next_frame: Array  # [R] int64
    base: Array  # [P, 1] where each seed's rows begin
    mask: Array | None = None  # [frames, A] bool: which actions were legal

    @classmethod
    def of_log(cls, table: Transitions, seeds: int) -> Rows:
        """Every row of a log, for each seed."""
        return cls(
            frames=table.log.observations,
            frame=table.frame,
            action=table.action,
            returns=table.returns.astype(np.float32),
            discount=table.discount.astype(np.float32),
            next_frame=table.next_frame,
            base=np.zeros((seeds, 1), np.int64),
            mask=table.log.action_mask,
        )


class Experience:
    """Every step of P seeds in lock-step, one episode after the other, laid out as in a log.

    Frames are stored once and as they are. A row becomes ready n steps after its own, for all seeds alike; it then
    holds what `transitions` would say of it.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: int,
        steps: int,
        gamma: float,
        n: int,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.gamma, self.n, self.seeds, self.steps = gamma, n, seeds, steps
        self.done, self.ready = 0, 0  # steps stored, rows that can be learned from
        P, shape = seeds, (seeds, steps)
        self.actions, self.rewards = np.zeros(shape, np.int64), np.zeros(shape)
        self.terminations, self.truncations = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        self.propensity, self.behaviour = np.zeros(shape), np.zeros(shape, np.int32)
        self.returns, self.discount = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.frame, self.next_frame = np.zeros(shape, np.int64), np.zeros(shape, np.int64)  # counted over all seeds
        self.capacity = steps + 1 + steps // 8  # frames of each seed: one more than steps for every episode
        self.columns: dict[str, Array] = {}  # [P * capacity, *observation]
        self.at = np.arange(P) * self.capacity  # [P] the frame in which each seed acts next
        self.reset_seeds: list[list[int]] = [[] for _ in range(P)]
        self.base = np.arange(P)[:, None] * steps

    def begin(self, seeds: Array, frames: Nest, reset_seeds: Array) -> None:
        """New episodes of these seeds."""
        for path, array in leaves(frames).items():
            if path not in self.columns:
                self.columns[path] = np.empty((self.seeds * self.capacity, *array.shape[1:]), array.dtype)
        self.at[seeds] += self.done > 0  # past the final frame
        for seed, reset_seed in zip(seeds.tolist(), reset_seeds.tolist(), strict=True):
            self.reset_seeds[seed].append(reset_seed)
        if self.steps + 1 + max(map(len, self.reset_seeds)) > self.capacity:
            self._grow()
        for path, array in leaves(frames).items():
            self.columns[path][self.at[seeds]] = array

    def add(
        self, frames: Nest, actions: Array, rewards: Array, terminated: Array, truncated: Array, propensity: Array,
        behaviour: int,
    ) -> None:  # fmt: skip
        """One step of every seed, and the frames [P, ...] it led to."""
        t = self.done
        self.actions[:, t], self.rewards[:, t] = actions, rewards
        self.terminations[:, t], self.truncations[:, t] = terminated, truncated
        self.propensity[:, t], self.behaviour[:, t] = propensity, behaviour
        self.frame[:, t] = self.at
        self.at += 1
        for path, array in leaves(frames).items():
            self.columns[path][self.at] = array
        self.done = t + 1

    def finish(self) -> None:
        """Make ready the rows that can be."""
        first, last = self.ready, self.done - self.n + 1
        if last <= first:
            return
        ended = self.terminations[:, first : self.done] | self.truncations[:, first : self.done]
        count = last - first
        alive = np.ones((self.seeds, count), np.bool_)  # the episode goes on before the i-th step
        returns, discount = np.zeros(alive.shape), np.ones(alive.shape)
        next_frame = self.frame[:, first:last].copy()
        for i in range(self.n):
            now = slice(first + i, last + i)
            returns += np.where(alive, self.gamma**i * self.rewards[:, now], 0.0)
            discount = np.where(alive, np.where(self.terminations[:, now], 0.0, self.gamma ** (i + 1)), discount)
            next_frame += alive
            alive &= ~ended[:, i : i + count]
        self.returns[:, first:last], self.discount[:, first:last] = returns, discount
        self.next_frame[:, first:last] = next_frame
        self.ready = last

    def rows(self) -> Rows:
        """The rows as they lie in memory now, ready or not."""
        columns = (self.frame, self.actions, self.returns, self.discount, self.next_frame)
        frame, action, returns, discount, next_frame = (column.reshape(-1) for column in columns)
        return Rows(unflatten(self.columns), frame, action, returns, discount, next_frame, self.base)

    def log(
        self, seed: int, behaviours: tuple[str, ...], environment: dict[str, Any] | None, provenance: dict[str, Any]
    ) -> Log:
        """All that one seed experienced; an episode that is still open is cut, as by a time limit."""
        n, first = self.done, seed * self.capacity
        terminations, truncations = self.terminations[seed, :n].copy(), self.truncations[seed, :n].copy()
        cut = not (terminations[-1] or truncations[-1])
        truncations[-1] |= cut
        ends = np.flatnonzero(terminations | truncations)
        lengths = np.diff(ends, prepend=-1)
        frames = slice(first, first + n + len(lengths))
        start = int(getattr(self.action_space, "start", 0))
        return Log(
            observations=apply(lambda column: column[frames].copy(), unflatten(self.columns)),
            actions=(self.actions[seed, :n] + start).astype(self.action_space.dtype or np.int64),
            rewards=self.rewards[seed, :n].copy(),
            terminations=terminations,
            truncations=truncations,
            lengths=lengths,
            observation_space=self.observation_space,
            action_space=self.action_space,
            propensity=self.propensity[seed, :n].copy(),
            behaviour=self.behaviour[seed, :n].copy(),
            behaviours=behaviours,
            seeds=np.array(self.reset_seeds[seed][: len(lengths)], np.int64),
            environment=environment,
            provenance={**provenance, "last_episode_cut": bool(cut)},
        )

    def _grow(self) -> None:
        """Room for more episodes; frames are counted anew."""
        wider = self.capacity + self.steps // 2 + 1
        for path, column in self.columns.items():
            grown = np.empty((self.seeds * wider, *column.shape[1:]), column.dtype)
            grown.reshape(self.seeds, wider, *column.shape[1:])[:, : self.capacity] = column.reshape(
                self.seeds, self.capacity, *column.shape[1:]
            )
            self.columns[path] = grown
        shift = np.arange(self.seeds) * (wider - self.capacity)
        self.at += shift
        self.frame += shift[:, None]
        self.next_frame += shift[:, None]
        self.capacity = wider


class Draws:
    """Uniform numbers in [0, 1) of P seeds, drawn ahead in blocks from a generator of each seed's own."""

    def __init__(self, seeds: Sequence[int], purpose: int, block: int = 1 << 14) -> None:
        self.generators = [np.random.default_rng(np.random.SeedSequence((seed, purpose))) for seed in seeds]
        self.ahead, self.block, self.used = np.zeros((len(seeds), 0)), block, 0

    def take(self, count: int) -> Array:
        """The next [P, count]; the same numbers in the same order, however many are taken at once."""
        if self.used + count <= self.ahead.shape[1]:
            self.used += count
            return self.ahead[:, self.used - count : self.used]
        kept = self.ahead[:, self.used :]
        self.ahead = np.concatenate([kept, np.empty((len(kept), max(count, self.block)))], 1)
        for generator, row in zip(self.generators, self.ahead, strict=True):
            generator.random(out=row[kept.shape[1] :])
        self.used = count
        return self.ahead[:, :count]


class Sampler(Protocol):
    """Chooses rows among the latest `capacity` that are ready."""

    several: bool  # whether rows for several gradient steps may be drawn at once

    def admit(self, ready: int) -> None:
        """So many rows are ready now."""

    def draw(self, count: int, progress: float) -> tuple[Array, Array | None]:
        """Rows [P, count], and the weights [P, count] of their errors unless all are 1."""

    def learned(self, rows: Array, errors: Array) -> None:
        """The errors [P, count] that these rows had."""


class Latest:
    """The newest row only: no replay at all."""

    several = False

    def __init__(self, seeds: int) -> None:
        self.seeds, self.ready = seeds, 0

    def admit(self, ready: int) -> None:
        self.ready = ready

    def draw(self, count: int, progress: float) -> tuple[Array, Array | None]:
        return np.full((self.seeds, count), self.ready - 1), None

    def learned(self, rows: Array, errors: Array) -> None: ...


class Uniform:
    """Every row alike."""

    several = True

    def __init__(self, seeds: Sequence[int], capacity: int, purpose: int) -> None:
        self.capacity, self.ready, self.draws = capacity, 0, Draws(seeds, purpose)

    def admit(self, ready: int) -> None:
        self.ready = ready

    def draw(self, count: int, progress: float) -> tuple[Array, Array | None]:
        held = min(self.ready, self.capacity)
        # A product that rounds up to the number of rows itself would name one too many.
        offsets = np.minimum((self.draws.take(count) * held).astype(np.int64), held - 1)
        return self.ready - held + offsets, None

    def learned(self, rows: Array, errors: Array) -> None: ...


class Proportional:
    """Row i with probability p_i / sum of p, p = (|error| + FLOOR) ^ alpha; a new row is as likely as the likeliest.

    The error is weighted by (rows * probability) ^ -beta, divided by the largest such weight in the batch; beta rises
    linearly to 1 with the progress of the training.
    """

    several = False  # each step changes the priorities of the next

    def __init__(self, seeds: Sequence[int], capacity: int, purpose: int, alpha: float, beta: float) -> None:
        self.capacity, self.alpha, self.beta = capacity, alpha, beta
        self.tree, self.draws = SumTree(len(seeds), capacity), Draws(seeds, purpose)
        self.largest = np.ones((len(seeds), 1))  # [P, 1]
        self.ready = 0

    def admit(self, ready: int) -> None:
        new = np.arange(max(self.ready, ready - self.capacity), ready) % self.capacity
        slots = np.broadcast_to(new, (len(self.largest), len(new)))
        self.tree.set(slots, np.broadcast_to(self.largest, slots.shape))
        self.ready = ready

    def draw(self, count: int, progress: float) -> tuple[Array, Array | None]:
        slots = self.tree.find(self.draws.take(count))
        held = min(self.ready, self.capacity)
        chances = self.tree.get(slots) / self.tree.total
        beta = self.beta + (1 - self.beta) * progress
        weights = (held * chances) ** -beta
        weights /= weights.max(1, keepdims=True)
        last = self.ready - 1
        return last - (last - slots) % self.capacity, weights.astype(np.float32)

    def learned(self, rows: Array, errors: Array) -> None:
        priorities = (np.abs(errors).astype(np.float64) + FLOOR) ** self.alpha
        self.largest = np.maximum(self.largest, priorities.max(1, keepdims=True))
        self.tree.set(rows % self.capacity, priorities)


class SumTree:
    """P binary trees whose nodes hold the sum of what lies below, so that a leaf is found by its share of the whole."""

    def __init__(self, trees: int, leaves: int) -> None:
        self.depth = max(leaves - 1, 0).bit_length()
        self.width = 1 << self.depth
        self.sums = np.zeros(trees * 2 * self.width)  # node 1 is the root, node i has the children 2 i and 2 i + 1
        self.base = np.arange(trees)[:, None] * (2 * self.width)

    @property
    def total(self) -> Array:
        """[P, 1]"""
        return self.sums[self.base + 1]

    def get(self, leaves: Array) -> Array:
        """[P, k] what these leaves [P, k] hold."""
        return self.sums[self.base + self.width + leaves]

    def set(self, leaves: Array, values: Array) -> None:
        """Leaves [P, k] hold these values now; where a leaf stands twice, its last value."""
        nodes = leaves + self.width
        self.sums[self.base + nodes] = values
        for _ in range(self.depth):
            nodes = nodes >> 1
            left = self.base + 2 * nodes
            self.sums[self.base + nodes] = self.sums[left] + self.sums[left + 1]

    def find(self, shares: Array) -> Array:
        """[P, k] the leaves at these shares [P, k] in [0, 1) of the whole."""
        mass = shares * self.total
        nodes = np.ones(shares.shape, np.int64)
        for _ in range(self.depth):
            nodes = nodes << 1
            left = self.sums[self.base + nodes]
            # An empty right half is never entered, whatever rounding says.
            right = (mass >= left) & (self.sums[self.base + nodes + 1] > 0)
            mass = np.where(right, mass - left, mass)
            nodes += right
        return nodes - self.width
