"""Actions of several choices as one: an index into all their combinations, the last choice varying fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

_MOST = 1 << 16  # actions: a Q-function has an output for each
_LISTED = 1 << 12  # combinations that the log spells out


@dataclass(frozen=True)
class Flattening:
    """How combinations become an index."""

    space: gym.Space[Any]
    paths: tuple[str, ...]  # of the leaves
    starts: tuple[Array, ...]  # least value of each choice, by leaf
    counts: tuple[Array, ...]  # number of values of each choice, by leaf

    @property
    def count(self) -> int:
        return math.prod(int(n) for counts in self.counts for n in counts)

    def index(self, actions: Mapping[str, Array]) -> Array:
        """[N] the index of each action, whose parts are given by their paths."""
        found = np.zeros(len(next(iter(actions.values()))), np.int64)
        for path, starts, counts in zip(self.paths, self.starts, self.counts, strict=True):
            values = actions[path].reshape(len(found), -1).astype(np.int64) - starts
            if ((values < 0) | (values >= counts)).any():
                row = int(np.flatnonzero(((values < 0) | (values >= counts)).any(axis=1))[0])
                raise UserError(f"actions: row {row}: expected values of {self.space}, found {actions[path][row]}")
            for i, n in enumerate(counts.tolist()):
                found = found * n + values[:, i]
        return found

    def to_json(self) -> dict[str, Any]:
        """What each index means."""
        said: dict[str, Any] = {"space": spaces.to_json(self.space), "order": "the last choice varies fastest"}
        if self.count <= _LISTED:
            ranges = [
                range(int(start), int(start + n))
                for starts, counts in zip(self.starts, self.counts, strict=True)
                for start, n in zip(starts, counts, strict=True)
            ]
            said["choices"] = [
                (path or "action") if len(counts) == 1 else f"{path or 'action'}[{i}]"
                for path, counts in zip(self.paths, self.counts, strict=True)
                for i in range(len(counts))
            ]
            said["meaning"] = [list(combination) for combination in itertools.product(*ranges)]
        return said


def flattening(space: gym.Space[Any], where: str) -> Flattening:
    """How actions of this space become an index; only choices can."""
    if isinstance(space, gym.spaces.Discrete):
        raise UserError(f"{where}: actions are one choice already; leave out --flatten-actions")
    paths, starts, counts = [], [], []
    for path, leaf in leaf_spaces(space).items():
        match leaf:
            case gym.spaces.Discrete():
                start, count = np.array([leaf.start]), np.array([leaf.n])
            case gym.spaces.MultiDiscrete():
                start, count = leaf.start.reshape(-1), leaf.nvec.reshape(-1)
            case gym.spaces.MultiBinary():
                size = math.prod(leaf.shape or (1,))
                start, count = np.zeros(size, np.int64), np.full(size, 2)
            case _:
                raise UserError(f"{where}: only choices can become an index, found {leaf} among the actions")
        paths.append(path)
        starts.append(start.astype(np.int64))
        counts.append(count.astype(np.int64))
    found = Flattening(space, tuple(paths), tuple(starts), tuple(counts))
    if found.count > _MOST:
        raise UserError(f"{where}: {found.count:,} combinations of actions, of which at most {_MOST:,} can be an index")
    return found
