"""Extremely randomised trees, grown anew in each round, in some rounds, or not after some round.

With a fixed structure the regression is linear in the targets: every leaf is the mean of the targets of the rows in it.
Which rows those are is found once, so that a round costs a few sums instead of a search for splits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.ensemble import ExtraTreesRegressor

from fqi.encoding import encode, scaled_columns, width
from fqi.errors import UserError
from fqi.nest import Array, Nest, rows
from fqi.qfunctions.checks import checked, on_cpu, seen_actions, training_rows
from fqi.qfunctions.contract import QFunction, Weights, discrete_actions
from fqi.qfunctions.forest import Forest, Packed, constant
from fqi.qfunctions.settings import TreesSettings
from fqi.transitions import Transitions

WIDEST = 2**15 - 1  # columns that a packed tree can name


class TreesQ(QFunction):
    """A head is one forest for each action, or one on pairs. Frames are compared in single precision.

    Actions that the training rows do not hold are left out of every maximum.
    """

    def __init__(
        self,
        settings: TreesSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        on_cpu(device, "trees")
        self.settings, self.space, self.seeds = settings, observation_space, tuple(seeds)
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "trees")
        self.pair = settings.per == "pair"
        self.columns = width(observation_space)  # D
        self.measured = scaled_columns(observation_space)  # [D] bool
        R = settings.directions
        if R and self.measured.sum() < 2:
            raise UserError(f"trees: directions mix at least two measured columns, found {observation_space}")
        self.directions = np.zeros((self.heads, R, self.columns))
        self.inputs = self.columns + R + self.pair
        if self.inputs > WIDEST:
            raise UserError(f"trees look at no more than {WIDEST} columns, found {self.inputs} in {observation_space}")
        self.models = 1 if self.pair else self.actions  # forests of each head
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.jobs = settings.jobs or cores
        self.forests: list[list[Forest]] = []  # [P][models]; none before the first fit: Q is 0
        self.members: list[list[_Membership]] = []  # [P][models] while the structure is frozen
        self.seen = np.ones(self.actions, np.bool_)  # [A]
        self.round = 0

    # ---- regression

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        self.training = training_rows(training, len(rows))
        frame, action = rows.frame[self.training], rows.action[self.training]  # [b]
        self.seen = np.bincount(action, minlength=self.actions) > 0
        encoded = encode(rows.observations(), self.space)
        self._draw_directions(encoded[frame])
        self.x = [self._mixed(encoded, head) for head in range(self.heads)]  # [P][F, D + R]
        self.members = []
        # For each forest: which training rows it is fitted to, and where their inputs lie in `_inputs` of all frames.
        if self.pair:
            self.parts = [(np.arange(len(frame)), frame * self.actions + action)]
        else:
            of_action = [np.flatnonzero(action == a) for a in range(self.actions)]
            self.parts = [(part, frame[part]) for part in of_action]

    def _draw_directions(self, x: Array) -> None:
        """For each head unit vectors over the measured columns, each column in units of its spread in x [b, D]."""
        if not self.settings.directions:
            return
        spread = x.astype(np.float64).std(0)
        scale = np.where(self.measured & (spread > 0), 1 / np.where(spread > 0, spread, 1), 0)
        for head, seed in enumerate(self.seeds):
            drawn = np.random.default_rng([seed, 0]).normal(size=self.directions.shape[1:])
            drawn[:, ~self.measured] = 0
            self.directions[head] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * scale

    def _mixed(self, x: Array, head: int) -> Array:
        """[B, D + R] encoded frames x [B, D] and where they lie along the head's directions."""
        if not self.settings.directions:
            return x
        along = np.zeros((len(x), self.settings.directions))
        for column in np.flatnonzero(self.measured):  # not a matrix product: its bits depend on how many rows it has
            along += x[:, column, None].astype(np.float64) * self.directions[head, :, column]
        return np.concatenate([x, along.astype(np.float32)], axis=1)

    def _inputs(self, x: Array) -> Array:
        """What a forest is asked about rows x [B, ·]: themselves, or [B·A, · + 1] with every action beside them."""
        if not self.pair:
            return np.ascontiguousarray(x)
        action = np.tile(np.arange(self.actions, dtype=np.float32), len(x))
        return np.concatenate([np.repeat(x, self.actions, axis=0), action[:, None]], axis=1)

    def _fitted_inputs(self, head: int, place: Array) -> Array:
        """The inputs at these places."""
        if not self.pair:
            return self.x[head][place]
        frame, action = np.divmod(place, self.actions)
        return np.concatenate([self.x[head][frame], action[:, None].astype(np.float32)], axis=1)

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        self.round += 1
        wanted = targets.numpy()[:, self.training]  # [P, b]
        shares = [None if weights is None else weights.shares(head, self.training) for head in range(self.heads)]
        frozen = self._frozen()
        if frozen:
            self._refit_leaves(wanted, shares)
        else:
            self.forests = [
                [self._grow(head, model, y, w) for model in range(self.models)]
                for head, (y, w) in enumerate(zip(wanted, shares, strict=True))
            ]
            self.members = []
        return {
            "leaves": [sum(forest.leaf_count for forest in head) for head in self.forests],
            "grown": [int(not frozen)] * self.heads,
        }

    def _frozen(self) -> bool:
        """Whether this round keeps the structure of the last one."""
        last = self.settings.freeze_structure_after
        due = (self.round - 1) % self.settings.regrow_every == 0 and (last == 0 or self.round <= last)
        return bool(self.forests) and not due

    def _grow(self, head: int, model: int, targets: Array, shares: Array | None) -> Forest:
        """A new forest; its seed depends on nothing but the head's, the round and the action."""
        part, place = self.parts[model]
        if not len(part):
            return constant(self.settings.trees, self.inputs)
        settings = self.settings
        state = np.random.SeedSequence([self.seeds[head], self.round, model]).generate_state(1)[0]
        grown = ExtraTreesRegressor(
            settings.trees,
            min_samples_leaf=settings.leaf,
            min_samples_split=settings.split,
            max_features=settings.max_features,
            n_jobs=self.jobs,
            random_state=int(state),
        ).fit(self._fitted_inputs(head, place), targets[part], None if shares is None else shares[part])
        return Forest([tree.tree_ for tree in grown.estimators_], self.inputs)

    def _refit_leaves(self, wanted: Array, shares: list[Array | None]) -> None:
        if not self.members:
            self.members = [
                [
                    _Membership.of(forest, inputs, place, self.jobs)
                    for forest, (_, place) in zip(head, self.parts, strict=True)
                ]
                for head, inputs in zip(self.forests, map(self._inputs, self.x), strict=True)
            ]
        for head, members, y, w in zip(self.forests, self.members, wanted, shares, strict=True):
            for forest, member, (part, _) in zip(head, members, self.parts, strict=True):
                member.refit(forest, y[part], None if w is None else w[part])

    # ---- values

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        if not self.members:
            return self._values([x[start:stop] for x in self.x], slice(None), stop - start)
        A = self.actions
        shares = slice(start * A, stop * A) if self.pair else slice(start, stop)
        made = [
            [forest.predict_leaves(member.leaves[:, shares], self.jobs) for forest, member in zip(*both, strict=True)]
            for both in zip(self.forests, self.members, strict=True)
        ]
        return self._stacked(made, stop - start)

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        x = encode(frames, self.space)
        return self._values([self._mixed(x, head) for head in range(self.heads)[heads]], heads, len(x))

    def _values(self, x: list[Array], heads: slice, count: int) -> torch.Tensor:
        """[P, B, A] for the rows x [P][B, D + R] of these heads."""
        if not self.forests:
            return torch.zeros(len(x), count, self.actions, dtype=torch.float64)
        made = [
            [forest.predict(inputs, self.jobs) for forest in head]
            for head, inputs in zip(self.forests[heads], map(self._inputs, x), strict=True)
        ]
        return self._stacked(made, count)

    def _stacked(self, made: list[list[Array]], count: int) -> torch.Tensor:
        """[P, B, A] from what each forest says."""
        values = torch.from_numpy(np.array(made))  # [P, 1, B·A] or [P, A, B]
        return values.view(len(made), count, self.actions) if self.pair else values.transpose(1, 2).contiguous()

    def log_support(self, start: int, stop: int) -> torch.Tensor | None:
        return seen_actions(self.seen, stop - start)

    def support(self, frames: Nest) -> torch.Tensor | None:
        return seen_actions(self.seen, rows(frames))

    # ---- checkpoint

    def checkpoint(self) -> dict[str, torch.Tensor]:
        if not self.forests:
            raise RuntimeError("there is nothing to keep before the first fit")
        packed = [forest.pack() for head in self.forests for forest in head]
        nodes = np.stack([p.nodes for p in packed]).reshape(self.heads, self.models, self.settings.trees)
        arrays = {
            "seen": self.seen.copy(),
            "directions": self.directions.copy(),
            "nodes": nodes,
            "feature": np.concatenate([p.feature for p in packed]),
            "threshold": np.concatenate([p.threshold for p in packed]),
            "value": np.concatenate([p.value for p in packed]),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        what = "checkpoint of trees"
        arrays = checked(
            tensors,
            {
                "seen": (torch.bool, (self.actions,)),
                "directions": (torch.float64, self.directions.shape),
                "nodes": (torch.int64, (self.heads, self.models, self.settings.trees)),
                "feature": (torch.int16, (None,)),
                "threshold": (torch.float32, (None,)),
                "value": (torch.float64, (None,)),
            },
            what,
        )
        nodes, feature = arrays["nodes"].reshape(-1), arrays["feature"]
        try:
            forest = Forest.unpack(Packed(nodes, feature, arrays["threshold"], arrays["value"]), self.inputs)
        except ValueError as error:
            raise UserError(f"{what}: expected {error}") from None
        T = self.settings.trees
        parts = [
            Forest(forest.trees[i : i + T], self.inputs, forest.values[i : i + T]) for i in range(0, len(nodes), T)
        ]
        self.forests = [parts[i : i + self.models] for i in range(0, len(parts), self.models)]
        self.members, self.seen, self.directions = [], arrays["seen"], arrays["directions"].copy()

    def resume_state(self) -> dict[str, torch.Tensor]:
        return {"fits": torch.tensor([self.round])}

    def restore_resume_state(self, tensors: dict[str, torch.Tensor]) -> None:
        what = "state of trees"
        found = int(checked(tensors, {"fits": (torch.int64, (1,))}, what)["fits"][0])
        if found < 0:
            raise UserError(f"{what}: fits must be at least 0, found {found}")
        self.round = found


@dataclass(frozen=True)
class _Membership:
    """Which leaf of each tree every input of the log falls into, and which training rows are in each leaf."""

    leaves: Array  # [T, F] int32, or [T, F·A] on pairs
    held: list[Array]  # [T][L] the leaves that hold training rows
    sums: list[Any]  # [T] sparse [L, b]: sums over the rows of each such leaf
    counts: list[Array]  # [T][L] float64

    @classmethod
    def of(cls, forest: Forest, x: Array, place: Array, jobs: int) -> _Membership:
        leaves, ones = forest.leaves(x, jobs), np.ones(len(place))
        held, sums, every = [], [], []
        for leaf in leaves:
            own = leaf.take(place)
            counts = np.bincount(own)
            held.append(np.flatnonzero(counts))
            every.append(counts[held[-1]].astype(np.float64))
            order = np.argsort(own, kind="stable").astype(np.int32)
            edges = np.concatenate([[0], np.cumsum(every[-1])]).astype(np.int32)
            sums.append(csr_array((ones, order, edges), (len(held[-1]), len(place))))  # the ones are kept once
        return cls(leaves, held, sums, every)

    def refit(self, forest: Forest, targets: Array, shares: Array | None = None) -> None:
        """Every leaf becomes the mean of the targets [b] of its rows, by their shares [b] where they have any."""
        wanted = targets if shares is None else targets * shares
        for values, held, sums, counts in zip(forest.values, self.held, self.sums, self.counts, strict=True):
            total = counts if shares is None else sums @ shares
            values[held] = sums @ wanted / total
