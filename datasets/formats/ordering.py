"""The rows of a table by episode and step, in whatever order they are in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fqi.datasets.formats.cells import Cells, Table
from fqi.datasets.formats.options import MappingOptions
from fqi.datasets.formats.sheet import Sheet
from fqi.errors import UserError
from fqi.nest import Array


@dataclass(frozen=True)
class Rows:
    """The rows by episode and step, and where they stand in the file."""

    order: Array  # [N] rows of the file
    starts: Array  # [M]
    lengths: Array  # [M]
    ids: tuple[Any, ...]  # [M] what the file calls the episodes
    table: Table

    @property
    def lasts(self) -> Array:
        return np.asarray(self.starts + self.lengths - 1)

    def row(self, position: int) -> int:
        """The row of the file, counted from 1, that stands here."""
        return self.table.row(int(self.order[position]))


def ordering(options: MappingOptions) -> list[str]:
    """The columns that put rows in order and tell episodes apart."""
    if options.episode is not None:
        by = [options.episode, options.step]
    elif options.is_last is not None:
        by = [options.is_last, options.is_first]
    else:
        by = [options.termination, options.truncation, options.done]
    return [name for name in by if name is not None]


def ordered(sheet: Sheet) -> Rows:
    count = sheet.table.rows
    if sheet.options.episode is None:
        return _split_by_ends(sheet)
    cells = sheet.table.cells[sheet.options.episode]
    if sheet.options.step is None:
        order = np.argsort(cells.values, kind="stable")
    else:
        order = np.lexsort((_step_numbers(sheet), cells.values))
    codes = cells.values[order]
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    lengths = np.diff(np.concatenate((starts, [count])))
    words = cells.words or ()
    rows = Rows(order, starts, lengths, tuple(words[code] for code in codes[starts].tolist()), sheet.table)
    if sheet.options.step is not None:
        _check_steps(sheet, rows)
    elif (np.diff(order) < 0).any() or len(starts) > 1:
        _check_together(sheet, cells)
    return rows


def _check_together(sheet: Sheet, cells: Cells) -> None:
    """Without step numbers, an episode that goes on after another may as well be two."""
    changes = np.flatnonzero(cells.values[1:] != cells.values[:-1]) + 1
    _, first = np.unique(cells.values, return_index=True)
    again = np.setdiff1d(changes, first)
    if len(again):
        row, words = int(again[0]), cells.words or ()
        raise UserError(
            f"{sheet.source}: row {sheet.table.row(row)}: column {cells.name}: episode {words[cells.values[row]]!r} "
            "goes on after another one, and nothing tells in which order; name the column of step numbers by --step"
        )


def _step_numbers(sheet: Sheet) -> Array:
    cells = sheet.single("step")
    if cells.values.ndim != 1 or cells.values.dtype.kind not in "iuf":
        raise sheet.fault(cells.name, "numbers of steps", cells.values.dtype)
    if cells.values.dtype.kind == "f" and not np.isfinite(cells.values).all():
        row = int(np.flatnonzero(~np.isfinite(cells.values))[0])
        raise sheet.fault(cells.name, "a number", "nan", sheet.table.row(row))
    return cells.values


def _check_steps(sheet: Sheet, rows: Rows) -> None:
    """Every step of an episode once, and none left out."""
    name = str(sheet.options.step)
    numbers = sheet.table.cells[name].values[rows.order]
    gap = np.diff(numbers)
    inside = np.ones(len(gap), np.bool_)
    inside[rows.starts[1:] - 1] = False
    twice = np.flatnonzero(inside & (gap == 0))
    episode = np.searchsorted(rows.starts, twice[:1], "right") - 1
    if len(twice):
        row, other = rows.row(int(twice[0]) + 1), rows.row(int(twice[0]))
        raise UserError(
            f"{sheet.source}: row {row}: column {name}: step {numbers[twice[0]]} of episode "
            f"{rows.ids[int(episode[0])]!r} is there twice (also in row {other})"
        )
    if sheet.options.step_means == "order":
        return
    missing = np.flatnonzero(inside & (gap != 1))
    if len(missing):
        at = int(missing[0])
        expected = f"step {numbers[at] + 1} after step {numbers[at]} (row {rows.row(at)})"
        why = "rows are missing, or the numbers only put rows in order, which --step-means order says"
        raise sheet.fault(name, expected, f"{numbers[at + 1]}: {why}", rows.row(at + 1))


def _split_by_ends(sheet: Sheet) -> Rows:
    """Episodes back to back, in the order of the rows, told apart by their flags."""
    count = sheet.table.rows
    if sheet.options.is_last is not None:
        ends = sheet.flag("is_last")
        begins = sheet.flag("is_first") if sheet.options.is_first else None
    else:
        ends, begins = _any_flag(sheet), None
    cut = np.concatenate(([True], ends[:-1]))
    if begins is not None:
        cut |= begins
    starts = np.flatnonzero(cut)
    lengths = np.diff(np.concatenate((starts, [count])))
    return Rows(np.arange(count), starts, lengths, tuple(range(len(starts))), sheet.table)


def _any_flag(sheet: Sheet) -> Array:
    found = np.zeros(sheet.table.rows, np.bool_)
    for role in ("termination", "truncation", "done"):
        if getattr(sheet.options, role) is not None:
            found |= sheet.flag(role)
    return found


def taken(sheet: Sheet, rows: Rows, cells: Cells, positions: Array) -> Array:
    """One number for each of these rows, none of them blank."""
    there(sheet, rows, cells, positions)
    if cells.values.ndim != 1:
        raise sheet.fault(cells.name, "one number a row", cells.values.shape[1:])
    return cells.values[rows.order[positions]]


def there(sheet: Sheet, rows: Rows, cells: Cells, positions: Array) -> None:
    if cells.present is None:
        return
    blank = np.flatnonzero(~cells.present[rows.order[positions]])
    if len(blank):
        row = rows.row(int(positions[blank[0]]))
        raise sheet.fault(cells.name, "a value", "a blank cell", row)
