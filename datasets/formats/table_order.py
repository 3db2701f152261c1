"""A table whose rows are brought in the order of episodes and steps, on disk: only narrow columns are held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.formats import cells
from fqi.datasets.formats.cells import Cells, Kind, Table
from fqi.datasets.formats.mapping import Mapping
from fqi.datasets.formats.ordering import Rows, ordered, ordering
from fqi.datasets.formats.scratch import Spool, scratch
from fqi.datasets.formats.sheet import Sheet
from fqi.datasets.formats.shelves import PLACE, Shelves, shelves
from fqi.datasets.formats.table_read import Feed, Tables
from fqi.datasets.hdf5 import memory_bytes
from fqi.nest import Array

_ROW = "row"  # of the file
_HELD = 64  # bytes for each row, while rows are sorted by two columns
_EXACT = 2.0**53  # beyond it a whole number is none any more once it is a float


@dataclass
class _Seen:
    """What the pieces of a column have in common."""

    kinds: set[np.dtype[Any]] = field(default_factory=set)
    shapes: set[tuple[int, ...]] = field(default_factory=set)  # of one cell
    blank: bool = False
    large: bool = False

    def see(self, values: Array, present: Array) -> None:
        self.blank |= not present.all()
        if values.dtype.kind in "iu" and values.size:
            self.large |= bool(np.abs(values.astype(np.float64)).max() > _EXACT)
        if present.any():
            self.kinds.add(values.dtype)
            self.shapes.add(values.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*self.kinds) if self.kinds else np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        return next(iter(self.shapes), ())

    @property
    def uneven(self) -> bool:
        """Whether its pieces make no column of one kind."""
        mixed = np.dtype(np.bool_) in self.kinds and len(self.kinds) > 1
        return mixed or len(self.shapes) > 1 or (self.large and self.dtype.kind == "f")


@contextmanager
def in_order(feed: Feed, path: Path, meaning: Mapping, kinds: dict[str, Kind]) -> Iterator[Tables | None]:
    """These columns by rows in order; None where only who holds all rows can tell what is wrong."""
    with scratch() as file:
        spool = Spool(file)
        survey = _survey(feed, path, meaning, kinds, spool)
        if survey is None:
            yield None
            return
        seen, rows, known, unread = survey
        fields: list[tuple[Any, ...]] = [(_ROW, np.int64)]
        for name, one in seen.items():
            fields += [(_values(name), one.dtype, one.shape)]
            fields += [(_present(name), np.bool_)] if one.blank else []
        with shelves(fields, len(rows.order)) as store:
            _put_away(spool, list(kinds), rows.order, store)
            spool.clear()
            found = _Ordered(path, rows.starts, rows.starts + rows.lengths, known, unread, store)
            del rows, survey  # which hold a few numbers of every row
            yield found.tables


def _survey(
    feed: Feed, path: Path, meaning: Mapping, kinds: dict[str, Kind], spool: Spool
) -> tuple[dict[str, _Seen], Rows, dict[str, Cells], tuple[str, ...]] | None:
    """What is seen of the columns, their order, what is the same in all rows, and the names of columns not read.

    None where something is wrong, and for lists, which may have any width.
    """
    if "list" in kinds.values():
        return None
    columns = {name: cells.Column(str(path), name, kind) for name, kind in kinds.items()}
    narrow: dict[str, list[Array]] = {name: [] for name in ordering(meaning.options)}
    seen = {name: _Seen() for name in kinds}
    rows = 0
    every: tuple[str, ...] = ()
    for names in feed(path, columns):
        every = names
        for name, column in columns.items():
            values, present = column.piece()
            seen[name].see(values, present)
            spool.put(values)
            spool.put(present)
            if name in narrow:
                narrow[name].append(values)
        rows = column.rows
        if rows > memory_bytes() // 2 // _HELD:
            return None
    if not rows or any(one.uneven for one in seen.values()) or any(seen[name].blank for name in narrow):
        return None
    known = {name: Cells(name, np.empty(0), column.words, None, column.keys) for name, column in columns.items()}
    found = {
        name: replace(known[name], values=np.concatenate([p.astype(seen[name].dtype) for p in pieces]))
        for name, pieces in narrow.items()
    }
    order = ordered(Sheet(Table(str(path), rows, found), meaning, str(path)))
    return seen, order, known, tuple(name for name in every if name not in columns)


def _put_away(spool: Spool, names: list[str], order: Array, store: Shelves) -> None:
    """All rows, each to its place in this order."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    pieces = spool.again()
    first = 0
    while first < len(order):
        block = {name: (next(pieces), next(pieces)) for name in names}
        over = first + len(block[names[0]][0])
        records = np.zeros(over - first, store.dtype)
        records[PLACE], records[_ROW] = places[first:over], np.arange(first, over)
        for name, (values, present) in block.items():
            if present.any():
                records[_values(name)] = values
            if _present(name) in (store.dtype.names or ()):
                records[_present(name)] = present
        store.put(records)
        first = over


@dataclass(frozen=True)
class _Ordered:
    path: Path
    starts: Array  # [M] rows
    overs: Array  # [M] rows
    known: dict[str, Cells]  # of each column what is the same in all rows
    unread: tuple[str, ...]
    store: Shelves

    def tables(self, kinds: dict[str, Kind]) -> Iterator[Table]:
        """Some columns in the order of episodes and steps, whole episodes at a time."""
        episode = 0
        while episode < len(self.starts):
            begin = int(self.starts[episode])
            after = max(episode + 1, int(np.searchsorted(self.overs, begin + self.store.many, "right")))
            records = self.store.rows(begin, int(self.overs[after - 1]))
            found = {name: self._cells(name, records) for name in kinds}
            yield Table(str(self.path), len(records), found, self.unread, numbers=records[_ROW].copy())
            episode = after

    def _cells(self, name: str, records: Array) -> Cells:
        blanks = _present(name) in (records.dtype.names or ())
        present = records[_present(name)].copy() if blanks else None
        return replace(self.known[name], values=records[_values(name)].copy(), present=present)


def _values(name: str) -> str:
    return f"values of {name}"


def _present(name: str) -> str:
    return f"presence of {name}"
