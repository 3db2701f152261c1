"""Logs of which rows can be had, wherever they lie, and what is known of a log before any of its rows is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from fqi.datasets.columns import Column, Columns, Head, columns_of, head_of, per, to_log
from fqi.datasets.hdf5 import memory_bytes
from fqi.datasets.windows import Window, rows_at_once, windows
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array

Rows = Callable[[str, int, int], Array]  # column, first row, row after the last
Take = Callable[[dict[str, Array]], None]  # the columns of the next window


@dataclass(frozen=True)
class _Known:
    """What is known of a log before any of its rows is read."""

    head: Head
    columns: tuple[Column, ...]  # per frame and per step
    lengths: Array  # [M]
    seeds: Array | None
    origin: Array | None

    @property
    def steps(self) -> int:
        return int(self.lengths.sum())

    @property
    def episodes(self) -> int:
        return len(self.lengths)

    @property
    def whole(self) -> dict[str, Array]:
        """The columns per episode."""
        found = {"lengths": self.lengths, "seeds": self.seeds, "origin": self.origin}
        return {name: array for name, array in found.items() if array is not None}

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def has(self, name: str) -> bool:
        return self.column(name) is not None


@dataclass(frozen=True)
class Outline(_Known):
    """A log without its rows: by it a format says what it cannot hold, and prepares the place of what it can."""

    ends: Callable[[], tuple[Array, Array]]  # [M] whether each episode's last step is terminated, and truncated


@dataclass(frozen=True)
class Source(_Known):
    """A log that is there, of which rows can be had."""

    reference: str
    form: str  # the name of its format
    rows: Rows

    @property
    def outline(self) -> Outline:
        return Outline(self.head, self.columns, self.lengths, self.seeds, self.origin, self.ends)

    def pieces(self, name: str) -> Iterator[tuple[int, Array]]:
        """One column from its beginning: the first row of each piece, and the piece."""
        column = self.column(name)
        assert column is not None
        total = column.rows(self.steps, self.episodes)
        many = rows_at_once(column.row_bytes)
        for start in range(0, total, many):
            yield start, self.rows(name, start, min(start + many, total))

    def ends(self) -> tuple[Array, Array]:
        """[M] whether each episode's last step is terminated, and truncated."""
        last = np.cumsum(self.lengths) - 1
        found = []
        for name in ("terminations", "truncations"):
            flags = np.zeros(self.episodes, np.bool_)
            for first, piece in self.pieces(name):
                a, b = np.searchsorted(last, [first, first + len(piece)])
                flags[a:b] = piece[last[a:b] - first]
            found.append(flags)
        return found[0], found[1]

    def windows(self) -> Iterator[Window]:
        return windows(self.lengths, sum(column.row_bytes for column in self.columns))

    def within(self, window: Window) -> dict[str, Array]:
        """The columns of a window."""
        at = {"frame": window.frames, "step": window.steps}
        return {c.name: self.rows(c.name, at[c.per].start, at[c.per].stop) for c in self.columns}


@contextmanager
def undisturbed(opening: AbstractContextManager[Source]) -> Iterator[Source]:
    """The log that is opened; what goes wrong elsewhere meanwhile is not taken for damage of it."""
    one = opening.__enter__()
    try:
        yield one
    finally:
        opening.__exit__(None, None, None)


def held(reference: str, form: str, log: Log) -> Source:
    """A log in memory."""
    arrays = columns_of(log)
    columns = tuple(
        Column(name, array.dtype, array.shape[1:], per(name))
        for name, array in arrays.items()
        if per(name) != "episode"
    )
    known = head_of(log), columns, log.lengths, log.seeds, log.origin
    return Source(*known, reference, form, lambda name, first, last: arrays[name][first:last])


def gathered(one: Source) -> Columns:
    """All of the log in memory, if it fits there."""
    size = sum(column.rows(one.steps, one.episodes) * column.row_bytes for column in one.columns)
    if size > memory_bytes():
        raise UserError(f"{one.reference}: needs {size} bytes, more than this machine's memory holds")
    arrays = {column.name: _gathered(one, column) for column in one.columns}
    return Columns(one.reference, one.head, {**arrays, **one.whole})


def _gathered(one: Source, column: Column) -> Array:
    total = column.rows(one.steps, one.episodes)
    if total <= rows_at_once(column.row_bytes):
        return one.rows(column.name, 0, total)
    array = np.empty((total, *column.shape), column.dtype)
    for first, piece in one.pieces(column.name):
        array[first : first + len(piece)] = piece
    return array


def logged(columns: Columns) -> Log:
    """The log of these columns, checked."""
    if columns.head is None:
        raise UserError(f"{columns.source}: expected a log, found none")
    return to_log(columns.head, columns.arrays, columns.source)
