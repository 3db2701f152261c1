"""Frames that lie on disk: they stand in a log where an array would, and rows of them are read when asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import numpy as np

from fqi.errors import UserError
from fqi.nest import Array, Nest, leaves

PIECE = 8 << 20  # bytes read at a time where all rows are wanted
_NEAR = 1 << 17  # bytes: to read over so many costs less than to read anew
_FEW = 8  # rows of a piece: an index of shorter ones is better put in order first


class Frames(ABC):
    """One leaf of the observations, of which `frames[rows]` is an array in memory and nothing else ever is."""

    shape: tuple[int, ...]  # (F, *observation)
    dtype: np.dtype[Any]
    block: int  # rows that lie together: to read one costs about as much as to read all of them
    packed: bool  # whether a block must be unpacked as a whole to read any row of it
    memory: int  # bytes that rows of it may take at once, whoever reads them

    @abstractmethod
    def read(self, first: int, last: int) -> Array:
        """[last - first, *observation]"""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.row_bytes

    def __getitem__(self, index: int | slice | Array) -> Array:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self.read(first, max(first, last))
            index = np.arange(first, last, step)
        if isinstance(index, int | np.integer):
            return np.asarray(self._gathered(np.array([index]))[0])
        found = np.asarray(index)
        if found.dtype == np.bool_:
            found = np.flatnonzero(found)
        return self._gathered(found.reshape(-1)).reshape(*found.shape, *self.shape[1:])

    def _gathered(self, index: Array) -> Array:
        """The rows of an index [n] in any order: what lies together is read together."""
        count = len(self)
        if len(index) and (index.min() < -count or index.max() >= count):
            raise IndexError(f"rows {index.min()} to {index.max()} of {count}")
        index = np.where(index < 0, index + count, index)
        cuts = self._cuts(index)
        order = None
        if len(cuts) > len(index) // _FEW and (np.diff(index) < 0).any():
            order = np.argsort(index, kind="stable")
            index = index[order]
            cuts = self._cuts(index)
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        for a, b in zip([0, *cuts.tolist()], [*cuts.tolist(), len(index)], strict=True):
            if a < b:
                first = int(index[a])
                part, wanted = self.read(first, int(index[b - 1]) + 1), index[a:b] - first
                if order is None:
                    np.take(part, wanted, axis=0, out=found[a:b], mode="clip")  # the other modes copy it once more
                else:
                    found[order[a:b]] = part[wanted]
        return found

    def _cuts(self, index: Array) -> Array:
        """Where an index leaves what it is about to read."""
        step = np.diff(index)
        leaves_it = (step < 0) | (np.diff(index // self.block) != 0)
        if not self.packed:  # where a block of which some rows are wanted must be unpacked as a whole
            leaves_it |= step > max(1, _NEAR // max(1, self.row_bytes))
        return np.flatnonzero(leaves_it) + 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise UserError(
            f"observations: this needs all {len(self):,} frames in memory at once ({self.nbytes / 2**30:.2f} GiB); "
            "give a larger --memory, or none"
        )


def as_leaf(frames: Frames) -> Array:
    """The frames as a leaf of a nest: what takes rows of it gets arrays."""
    return cast(Array, frames)


def frames_on_disk(leaf: Any) -> Frames | None:
    """The leaf of a nest, if it lies on disk."""
    return leaf if isinstance(leaf, Frames) else None


def all_on_disk(nest: Nest) -> list[Frames]:
    """Every leaf that lies on disk."""
    return [frames for leaf in leaves(nest).values() if (frames := frames_on_disk(leaf)) is not None]


def on_disk(nest: Nest) -> bool:
    """Whether some leaf lies on disk."""
    return bool(all_on_disk(nest))


def pieces(array: Array) -> Iterator[tuple[int, Array]]:
    """The first row of each piece, and the piece: an array is one, frames on disk are a few megabytes at a time."""
    found = frames_on_disk(array)
    if found is None:
        yield 0, array
        return
    many = max(1, PIECE // max(1, found.row_bytes))
    many = max(found.block, many - many % found.block) if many >= found.block else many
    for first in range(0, len(found), many):
        yield first, found.read(first, min(first + many, len(found)))
