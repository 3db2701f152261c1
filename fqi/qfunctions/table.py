"""A table: the exact average of the targets of every state-action pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.errors import UserError
from fqi.nest import Array, Nest, leaf_spaces, leaves
from fqi.qfunctions.checks import checked, on_cpu, training_rows, within
from fqi.qfunctions.contract import QFunction, Weights, discrete_actions
from fqi.qfunctions.settings import TableSettings
from fqi.transitions import Transitions

LARGEST = 10**8  # state-action pairs: 800 MB of values


class TableQ(QFunction):
    """Pairs that the training rows do not hold are worth 0 and are left out of every maximum."""

    def __init__(
        self,
        settings: TableSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        on_cpu(device, "table")
        if len(seeds) != 1:
            raise UserError(
                f"a table draws nothing at random, so all heads would be equal: ask for one seed and no "
                f"ensemble, found {len(seeds)} heads"
            )
        self.heads, self.actions = 1, discrete_actions(action_space, "table")
        self.space = observation_space
        self.states = math.prod(math.prod(sizes) for sizes in _sizes(observation_space).values())
        if self.states * self.actions > LARGEST:
            raise UserError(
                f"a table of {self.states} states x {self.actions} actions is larger than {LARGEST} pairs; "
                f"choose another regressor, such as trees or mlp"
            )
        self.table = np.zeros((self.states, self.actions))  # [S, A]
        self.seen = np.zeros((self.states, self.actions), np.bool_)  # [S, A]

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        self.log_states = self.states_of(rows.observations())  # [F]
        self.training = training_rows(training, len(rows))
        pair = self.log_states[rows.frame[self.training]] * self.actions + rows.action[self.training]  # [b]
        # Slots instead of pairs: a round then costs as much as the log holds, however large the table is.
        self.pairs, slot, counts = np.unique(pair, return_inverse=True, return_counts=True)
        self.slot, self.counts = slot.astype(np.int64), counts.astype(np.float64)  # [b], [U]
        self.seen.fill(False)
        self.seen.flat[self.pairs] = True

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        wanted: Array = targets[0].numpy()[self.training]  # [b]
        counts: Array = self.counts  # [U]
        if weights is not None:
            shares = weights.shares(0, self.training)  # [b]
            wanted, counts = wanted * shares, np.bincount(self.slot, weights=shares, minlength=len(self.pairs))
        sums = np.bincount(self.slot, weights=wanted, minlength=len(self.pairs))  # [U]
        self.table.fill(0)
        self.table.flat[self.pairs] = sums / counts
        return {"pairs": [len(self.pairs)]}

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(self.table[self.log_states[start:stop]])[None]

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        return torch.from_numpy(self.table[self.states_of(frames)])[None][heads]

    def log_support(self, start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(self.seen[self.log_states[start:stop]])

    def support(self, frames: Nest) -> torch.Tensor:
        return torch.from_numpy(self.seen[self.states_of(frames)])

    def checkpoint(self) -> dict[str, torch.Tensor]:
        pairs = np.flatnonzero(self.seen)
        return {"pairs": torch.from_numpy(pairs), "values": torch.from_numpy(self.table.flat[pairs])}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        what = "checkpoint of a table"
        arrays = checked(tensors, {"pairs": (torch.int64, (None,)), "values": (torch.float64, (None,))}, what)
        pairs, values = arrays["pairs"], arrays["values"]
        if len(pairs) != len(values):
            raise UserError(f"{what}: expected as many values as pairs, found {len(values)} for {len(pairs)}")
        within(pairs, 0, self.table.size, "pairs", what)
        if (np.diff(pairs) <= 0).any():
            raise UserError(f"{what}: pairs must ascend, found one that does not exceed the one before")
        self.table.fill(0)
        self.seen.fill(False)
        self.table.flat[pairs] = values
        self.seen.flat[pairs] = True

    def states_of(self, frames: Nest) -> Array:
        """[B] the index of each frame's state: its categories as the digits of one number."""
        arrays = leaves(frames)
        index = np.zeros(len(next(iter(arrays.values()))), np.int64)
        spaces = leaf_spaces(self.space)
        for path, sizes in _sizes(self.space).items():
            digits = np.asarray(arrays[path]).reshape(len(index), -1).astype(np.int64)
            digits = digits - np.asarray(getattr(spaces[path], "start", 0), np.int64).reshape(1, -1)
            for column, size in enumerate(sizes):
                within(digits[:, column], 0, size, "states", f"observations {path}".rstrip())
                index = index * size + digits[:, column]
        return index


def _sizes(space: gym.Space[Any]) -> dict[str, list[int]]:
    """How many values each digit of a leaf takes, by the leaf's path."""
    return {path: _leaf_sizes(leaf) for path, leaf in leaf_spaces(space).items()}


def _leaf_sizes(space: gym.Space[Any]) -> list[int]:
    match space:
        case gym.spaces.Discrete():
            return [int(space.n)]
        case gym.spaces.MultiDiscrete():
            return [int(n) for n in space.nvec.flat]
        case gym.spaces.MultiBinary():
            return [2] * math.prod(space.shape)
    raise UserError(
        f"a table needs finitely many states, found {space}; choose another regressor, such as trees or mlp"
    )
