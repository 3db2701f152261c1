"""Columns of a file of which rows are had by asking, and logs made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.columns import Column, Head, per
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.datasets.source import Source
from fqi.datasets.windows import rows_at_once
from fqi.errors import UserError
from fqi.nest import Array

_NEAR = 1 << 17  # bytes that nobody wants, over which it is read on


@dataclass(frozen=True)
class Strip:
    """N rows of one column."""

    shape: tuple[int, ...]  # (N, *row)
    dtype: np.dtype[Any]
    read: Callable[[int, int], Array]  # first row, row after the last

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.row) * self.dtype.itemsize

    @staticmethod
    def of(array: Array) -> Strip:
        """A column in memory."""
        return Strip(array.shape, array.dtype, lambda first, last: array[first:last])

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """All rows, a few megabytes at a time: the first row of each piece, and the piece."""
        step = rows_at_once(self.row_bytes)
        for first in range(0, len(self), step):
            yield first, self.read(first, min(first + step, len(self)))

    def at(self, index: Array) -> Array:
        """Rows of a rising index; what lies near each other is read together."""
        if not len(index):
            return self.read(0, 0)
        cuts = np.flatnonzero(np.diff(index) > max(1, _NEAR // max(1, self.row_bytes))) + 1
        parts = []
        for some in np.split(index, cuts):
            begin, over = int(some[0]), int(some[-1]) + 1
            block = self.read(begin, over)
            parts.append(block if (np.diff(some) == 1).all() else block[some - begin])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def without(self, rows: Array) -> Strip:
        """The column but for these rows, whose numbers rise."""
        before = rows - np.arange(len(rows))  # rows that are left before each of them

        def read(first: int, last: int) -> Array:
            kept = np.arange(first, last)
            return self.at(kept + np.searchsorted(before, kept, "right"))

        return Strip((len(self) - len(rows), *self.row), self.dtype, read)

    def changed(
        self, change: Callable[[int, Array], Array], dtype: Any = None, row: tuple[int, ...] | None = None
    ) -> Strip:
        """The column with something made of its rows, of which the first one's number is told."""

        def read(first: int, last: int) -> Array:
            return change(first, self.read(first, last))

        shape = self.shape if row is None else (len(self), *row)
        return Strip(shape, self.dtype if dtype is None else np.dtype(dtype), read)

    def cast(self, dtype: Any) -> Strip:
        return self if self.dtype == dtype else self.changed(lambda _, rows: rows.astype(dtype), dtype)

    def shaped(self, *row: int) -> Strip:
        """Rows of as many numbers in another shape."""
        return self.changed(lambda _, rows: rows.reshape(len(rows), *row), row=row)

    def bounds(self) -> tuple[Array, Array]:
        """The least and the greatest value at each place of a row; there must be one row at least."""
        low, high = zip(*((piece.min(axis=0), piece.max(axis=0)) for _, piece in self.pieces()), strict=True)
        return np.minimum.reduce(low), np.maximum.reduce(high)


def stored(file: SafeFile, name: str, checked: bool = False) -> Strip:
    """A dataset by its name, which must be there; `checked` where it was opened before and its bytes were charged."""
    if not file.has(name):
        raise UserError(f"{file.path}: expected the dataset {name}, found none")
    with file.damage(name):
        dataset = file.dataset(name)
        shape, dtype = (dataset.shape, file.plain_dtype(dataset, name)) if checked else file.check_rows(name)

    def read(first: int, last: int) -> Array:
        with file.damage(name):
            return file.read_rows(dataset, name, first, (last - first, *shape[1:]), dtype)

    return Strip(shape, dtype, read)


def small(file: SafeFile, name: str) -> Array:
    """A dataset by its name, in memory."""
    if not file.has(name):
        raise UserError(f"{file.path}: expected the dataset {name}, found none")
    with file.damage(name):
        return file.read(file.dataset(name), name)


def by_rows(reference: str, form: str, path: Path, head: Head, strips: Mapping[str, Strip], lengths: Array) -> Source:
    """The log of these columns; what is wrong with their rows is said of this file."""
    if not len(lengths):
        raise UserError(f"{reference}: expected at least one episode, found no episode")
    columns = tuple(Column(name, strip.dtype, strip.row, per(name)) for name, strip in strips.items())

    def rows(name: str, first: int, last: int) -> Array:
        with named(path):
            return strips[name].read(first, last)

    return Source(head, columns, lengths, None, None, reference, form, rows)


Found = tuple[Head, Mapping[str, Strip], Array]  # the head, the columns and the lengths of a log


@contextmanager
def file_by_rows(reference: str, form: str, path: Path, find: Callable[[SafeFile], Found]) -> Iterator[Source]:
    """The log that is found in an HDF5 file; what is wrong with it, and nothing else meanwhile, is said of the file."""
    with ExitStack() as stack:
        with named(path):
            one = by_rows(reference, form, path, *find(stack.enter_context(opened(path))))
        yield one


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever is found wrong is said of this file."""
    try:
        yield
    except UserError as error:
        if str(error).startswith(str(path)):
            raise
        raise UserError(f"{path}: {error}") from error
