"""A table and what its columns mean: single columns of it, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fqi.datasets.formats.cells import Cells, Table
from fqi.datasets.formats.mapping import Mapping
from fqi.errors import UserError
from fqi.nest import Array


class Sheet:
    def __init__(self, table: Table, mapping: Mapping, reference: str) -> None:
        self.table, self.mapping, self.options = table, mapping, mapping.options
        self.source, self.reference = table.source, reference
        self.notes: dict[str, int] = {}

    def refuse_blanks(self) -> None:
        """Every cell is needed, but for those that are checked where they are used."""
        spared = {"next_observation", "next_mask", "mask"}
        if self.options.is_last is not None:  # where there is no action
            spared |= {"action", "label", "reward", "propensity", "behaviour"}
        for name, role in self.mapping.used().items():
            cells = self.table.cells.get(name)
            if role not in spared and cells is not None and cells.present is not None and not cells.present.all():
                row = int(np.flatnonzero(~cells.present)[0])
                raise UserError(
                    f"{self.source}: row {self.table.row(row)}: column {name}: expected a value, found a blank cell"
                )

    def fault(self, column: object, expected: str, found: object, row: int | None = None) -> UserError:
        """What is wrong with a column, in a row counted from 1 where it is in one."""
        where = "" if row is None else f"row {row}: "
        return UserError(f"{self.source}: {where}column {column}: expected {expected}, found {found}")

    def note(self, what: str, count: Any) -> None:
        if count:
            self.notes[what] = self.notes.get(what, 0) + int(count)

    def single(self, role: str) -> Cells:
        return self.table.cells[str(getattr(self.options, role))]

    def flag(self, role: str) -> Array:
        """[N] in the order of the file."""
        cells = self.single(role)
        values = cells.values
        if values.ndim == 1 and values.dtype == np.bool_:
            return values
        bad = np.ones(len(values), np.bool_) if values.ndim != 1 else (values != 0) & (values != 1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise self.fault(cells.name, "a flag", few(values[row]), self.table.row(row))
        return values.astype(np.bool_)

    def joined(self, names: tuple[str, ...], like: Array | None = None) -> Array:
        """[N, …] several columns side by side, or one as it is."""
        cells = [self.table.cells[name] for name in names]
        for one in cells:
            if one.words is not None:
                raise self.fault(one.name, "numbers", repr(one.words[0]))
        if len(cells) == 1:
            if like is not None and cells[0].values.shape != like.shape and not cells[0].there.any():
                return np.zeros_like(like)
            if like is not None and cells[0].values.shape != like.shape:
                expected = f"shape {like.shape[1:]} as of the observation"
                raise self.fault(names[0], expected, cells[0].values.shape[1:])
            return cells[0].values
        for one in cells:
            if one.values.ndim != 1:
                raise self.fault(one.name, "one number a row", one.values.shape[1:])
        return np.stack([one.values for one in cells], axis=1)

    def next_present(self) -> Array:
        """[N], in the order of the file: whether the observation after the step is given."""
        nest = self.mapping.columns("next_observation")
        if not nest:
            return np.zeros(self.table.rows, np.bool_)
        there = [self.table.cells[name].there for names in nest.values() for name in names]
        every = np.logical_and.reduce(there)
        some = np.logical_or.reduce(there)
        if (every != some).any():
            row = int(np.flatnonzero(every != some)[0])
            raise UserError(
                f"{self.source}: row {self.table.row(row)}: expected the whole next observation or none, found a part"
            )
        return np.asarray(every)

    def said(self, name: str, kind: type) -> Any:
        text = self.mapping.said.get(name)
        if text is None:
            return None
        try:
            value = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, kind):
            raise UserError(
                f"{self.mapping.where}: {name}: expected JSON of a {kind.__name__}, found {str(text)[:60]!r}"
            )
        return value


def few(value: Any) -> str:
    flat = np.asarray(value).reshape(-1)
    text = ", ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in flat[:6].tolist())
    return f"[{text}{', …' if flat.size > 6 else ''}]" if np.ndim(value) else text
