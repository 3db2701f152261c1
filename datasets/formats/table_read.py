"""Tables read in parts: first how long episodes are, by a few narrow columns, then rows, whole episodes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.columns import Column, Head, per
from fqi.datasets.formats import cells, steps
from fqi.datasets.formats.cells import Kind, Table
from fqi.datasets.formats.mapping import Mapping as Meaning
from fqi.datasets.source import Source
from fqi.datasets.windows import rows_at_once
from fqi.errors import UserError
from fqi.nest import Array

Feed = Callable[[Path, Mapping[str, cells.Column]], Iterator[tuple[str, ...]]]
Tables = Callable[[dict[str, Kind]], Iterator[Table]]  # some columns in order, whole episodes at a time


@dataclass(frozen=True)
class InFile:
    """A table in the order in which its rows are in the file."""

    feed: Feed
    path: Path
    meaning: Meaning

    def tables(self, kinds: dict[str, Kind]) -> Iterator[Table]:
        """Some columns, whole episodes at a time."""
        columns = {name: cells.Column(str(self.path), name, kind) for name, kind in kinds.items()}
        episode = columns[str(self.meaning.options.episode)]
        first, begun, before = 0, 0, -1  # rows handed over, where the last episode begins in those held, its number
        for _ in self.feed(self.path, columns):
            last = episode.last
            changes = np.flatnonzero(np.diff(last, prepend=before))
            before = int(last[-1])
            if len(changes):
                begun = episode.held - len(last) + int(changes[-1])
            if begun and sum(column.nbytes for column in columns.values()) >= rows_at_once(1):
                yield self._cut(columns, begun, first)
                first, begun = first + begun, 0
        if episode.held:
            yield self._cut(columns, episode.held, first)

    def _cut(self, columns: Mapping[str, cells.Column], rows: int, first: int) -> Table:
        return Table(str(self.path), rows, {name: column.cut(rows) for name, column in columns.items()}, (), first)


@dataclass(frozen=True)
class Parts:
    """A table and what its columns mean, nothing of which must be guessed from all rows."""

    tables: Tables
    path: Path
    meaning: Meaning
    reference: str
    origin: Array | None = None  # [M, 2] unless columns say it

    def outline(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """The columns per episode and the provenance; None where rows must be put in order first."""
        found: list[dict[str, Array]] = []
        notes: dict[str, int] = {}
        said: dict[str, Any] = {}
        seen = -1
        for table in self.tables(steps.outlining(self.meaning)):
            if self.meaning.options.episode is not None:
                numbers = table.cells[self.meaning.options.episode].values
                if int(numbers.min()) <= seen:
                    return None
                seen = int(numbers.max())
            part = steps.outline_of_table(table, self.meaning, self.reference)
            if part is None:
                return None
            arrays, noted, said = part
            found.append(arrays)
            for what, count in noted.items():
                notes[what] = notes.get(what, 0) + count
        if not any(len(part["lengths"]) for part in found):
            return None
        arrays = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        return arrays, {**said, **({"notes": notes} if notes else {})}

    def source(self) -> Source | None:
        """The table by rows, if it can be read so."""
        outline = self.outline()
        if outline is None or steps.unnamed(next(self.tables(steps.wanted(self.meaning))), self.meaning):
            return None
        arrays, provenance = outline
        rows = _Rows(self, arrays["lengths"])
        head = replace(rows.head, provenance=provenance)
        whole = (arrays["lengths"], arrays.get("seeds"), arrays.get("origin", self.origin))
        return Source(head, tuple(rows.columns.values()), *whole, self.reference, "table", rows.read)


class _Rows:
    """Rows of the log, of which those that were read last are kept; going back begins anew."""

    def __init__(self, parts: Parts, lengths: Array) -> None:
        self._parts, self._lengths = parts, lengths
        self.columns: dict[str, Column] = {}
        self._begin()
        while not self.columns:
            self._more()

    def read(self, name: str, first: int, last: int) -> Array:
        frames = per(name) == "frame"
        if first < (self._kept[0].bounds(frames)[0] if self._kept else self._at(self._episode, frames)):
            self._begin()
        while self._at(self._episode, frames) < last:
            self._forget(first, frames)
            self._more()
        self._forget(first, frames)
        found = []
        for part in self._kept:
            begin, over = part.bounds(frames)
            if begin < last:
                found.append(part.arrays[name][max(first, begin) - begin : min(last, over) - begin])
        if not found:
            column = self.columns[name]
            return np.empty((0, *column.shape), column.dtype)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _forget(self, first: int, frames: bool) -> None:
        """Whatever lies before a row is wanted no more."""
        while self._kept and self._kept[0].bounds(frames)[1] <= first:
            self._kept.pop(0)

    def _begin(self) -> None:
        self._tables = self._parts.tables(steps.wanted(self._parts.meaning))
        self._kept: list[_Part] = []
        self._episode = 0  # the first that was not read yet

    def _at(self, episode: int, frames: bool) -> int:
        """The first row of an episode."""
        return int(self._lengths[:episode].sum()) + (episode if frames else 0)

    def _more(self) -> None:
        table = next(self._tables, None)
        where = str(self._parts.path)
        if table is None:
            raise UserError(f"{where}: has fewer rows than it had; it was changed while it was read")
        try:
            found = steps.columns_of_table(table, self._parts.meaning, self._parts.reference)
        except steps.NoStepError:
            return
        assert found.head is not None
        lengths = found.arrays["lengths"]
        over = self._episode + len(lengths)
        if not np.array_equal(lengths, self._lengths[self._episode : over]):
            raise UserError(f"{where}: has other episodes than it had; it was changed while it was read")
        arrays = {name: array for name, array in found.arrays.items() if per(name) != "episode"}
        if not self.columns:
            self.head: Head = found.head
            self.columns = {n: Column(n, array.dtype, array.shape[1:], per(n)) for n, array in arrays.items()}
        for name, column in self.columns.items():
            if (arrays[name].dtype, arrays[name].shape[1:]) != (column.dtype, column.shape):
                expected = f"expected {column.dtype} {column.shape} as in earlier rows"
                what = f"{arrays[name].dtype} {arrays[name].shape[1:]}"
                raise UserError(f"{where}: from row {table.row(0)} on: {name}: {expected}, found {what}")
        steps_at = self._at(self._episode, False)
        self._kept.append(_Part(self._episode, over, steps_at, steps_at + int(lengths.sum()), arrays))
        self._episode = over


@dataclass(frozen=True)
class _Part:
    """Whole episodes that were read."""

    first: int  # episode
    last: int  # episode after the last
    begin: int  # step
    over: int  # step after the last
    arrays: dict[str, Array]

    def bounds(self, frames: bool) -> tuple[int, int]:
        return (self.begin + self.first, self.over + self.last) if frames else (self.begin, self.over)
