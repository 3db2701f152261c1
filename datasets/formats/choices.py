"""Actions of a table, labels beside them, and which of them were legal."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.formats.cells import Cells
from fqi.datasets.formats.extents import Extent
from fqi.datasets.formats.found_spaces import MOST_CHOICES, action_space
from fqi.datasets.formats.ordering import Rows, there
from fqi.datasets.formats.sheet import Sheet, few
from fqi.errors import UserError
from fqi.nest import Array


@dataclass(frozen=True)
class Choices:
    """Actions, and labels where there are some, by their roles."""

    values: dict[str, Array]
    names: tuple[str, ...] | None = None
    blank: frozenset[str] = frozenset()  # the roles of which a cell is blank anywhere, if only where no step is

    def extents(self) -> dict[str, Extent]:
        return {role: Extent.of(values) for role, values in self.values.items()}


def choices(sheet: Sheet, rows: Rows, steps: Array) -> Choices:
    """As they are in the table; words by their places among all names."""
    cells = {
        role: [sheet.table.cells[name] for name in sheet.mapping.columns(role)[""]]
        for role in ("action", "label")
        if sheet.mapping.columns(role)
    }
    every = [one for some in cells.values() for one in some]
    for one in every:
        there(sheet, rows, one, steps)
    worded = [one for one in every if one.words is not None]
    if worded:
        odd = next((one for one in every if one.words is None), None)
        if odd is not None or len(every) > len(cells):
            raise sheet.fault(worded[0].name, "numbers", repr((worded[0].words or ("",))[0]))
        return _named_actions(sheet, rows, steps, {role: some[0] for role, some in cells.items()})
    found = {role: sheet.joined(tuple(one.name for one in some))[rows.order[steps]] for role, some in cells.items()}
    if len({values.shape for values in found.values()}) > 1:
        label = sheet.mapping.columns("label")[""][0]
        raise sheet.fault(label, f"shape {found['action'].shape[1:]} as of the action", found["label"].shape[1:])
    blank = frozenset(role for role, some in cells.items() if any(one.present is not None for one in some))
    return Choices(found, None, blank)


def space_of(sheet: Sheet, extents: dict[str, Extent], blank: frozenset[str]) -> gym.Space[Any]:
    """The space of actions and labels that are numbers."""
    for role, seen in extents.items():
        if role in blank and seen.dtype.kind == "f" and seen.whole:
            _refuse_large(sheet, seen)
            extents = {**extents, role: seen.cast(np.int64)}  # other tools make floats of whole numbers beside blanks
    joined = functools.reduce(operator.or_, extents.values())
    if joined.dtype.kind in "iu":
        _refuse_large(sheet, joined)
    return action_space(joined)


def _refuse_large(sheet: Sheet, seen: Extent) -> None:
    """Whole numbers that are no numbers of actions."""
    low, high = seen.low.min().item(), seen.high.max().item()
    if max(high, -low) >= MOST_CHOICES:
        name = sheet.mapping.columns("action")[""][0]
        raise sheet.fault(name, f"numbers of actions, below {MOST_CHOICES}", high if high >= MOST_CHOICES else low)


def _named_actions(sheet: Sheet, rows: Rows, steps: Array, cells: dict[str, Cells]) -> Choices:
    codes = {role: one.values[rows.order[steps]] for role, one in cells.items()}
    used = {(one.words or ())[code] for role, one in cells.items() for code in np.unique(codes[role]).tolist()} | set(
        _legal_names(sheet)
    )  # a list of legal actions may name one that was never taken
    names = tuple(sheet.options.actions.split(",")) if sheet.options.actions else tuple(sorted(used))
    found = {}
    for role, one in cells.items():
        place = {name: i for i, name in enumerate(names)}
        numbers = np.array([place.get(word, -1) for word in one.words or ()], np.int64)[codes[role]]
        unknown = np.flatnonzero(numbers < 0)
        if len(unknown):
            word, row = (one.words or ())[codes[role][unknown[0]]], rows.row(int(steps[unknown[0]]))
            raise sheet.fault(one.name, f"one of {names}", repr(word), row)
        found[role] = numbers
    return Choices(found, names)


def _legal_names(sheet: Sheet) -> list[str]:
    name = sheet.options.mask
    if name is None or sheet.options.mask_means == "flags":
        return []
    return [item for legal in sheet.table.cells[name].lists or [] for item in legal or [] if isinstance(item, str)]


def mask(
    sheet: Sheet, rows: Rows, frames: tuple[Array, Array], space: gym.Space[Any], names: tuple[str, ...] | None
) -> Array:
    """[F, A] legal actions; where the final frame's are not given, all of them."""
    if not isinstance(space, gym.spaces.Discrete):
        raise sheet.fault(sheet.options.mask, "Discrete actions beside it", space)
    count, low = int(space.n), int(space.start)
    position, is_next = frames
    name, next_name = str(sheet.options.mask), sheet.options.next_mask
    lists = sheet.table.cells[name].lists or []
    flags = _holds_flags(sheet, lists, count, name)
    place = {text: i for i, text in enumerate(names or ())} | {i + low: i for i in range(count)}
    ahead = sheet.table.cells[next_name].lists or [] if next_name else [None] * len(lists)
    legal_ones = np.ones((len(position), count), np.bool_)
    unknown = 0
    after = is_next | np.concatenate(([False], position[1:] == position[:-1]))  # or the repeated frame of a row
    final = after | np.concatenate((np.diff(_episode_of(rows, position)) != 0, [True]))
    for frame, row in enumerate(rows.order[position].tolist()):
        legal = ahead[row] if after[frame] else lists[row]
        column = next_name if after[frame] else name
        if legal is None:
            if not final[frame]:
                raise sheet.fault(name, "legal actions", "a blank", sheet.table.row(row))
            unknown += 1
            continue
        legal_ones[frame] = _legal(sheet, legal, flags, count, place, row, str(column))
    sheet.note("final frames whose legal actions are not given: all are taken as legal", unknown)
    return legal_ones


def _episode_of(rows: Rows, positions: Array) -> Array:
    return np.asarray(np.searchsorted(rows.starts, positions, "right"))


def _holds_flags(sheet: Sheet, lists: list[Any], count: int, name: str) -> bool:
    if sheet.options.mask_means is not None:
        return sheet.options.mask_means == "flags"
    known = [legal for legal in lists if legal is not None]
    items = {type(item) for legal in known for item in legal}
    if items <= {bool} or str in items:
        return str not in items
    if all(len(legal) == count and set(legal) <= {0, 1} for legal in known):
        if count > 2 or all(legal == [1, 1] for legal in known) or "mask" in name.lower():
            return True
        if "possible" in name.lower() or "legal" in name.lower():
            return False
        raise UserError(f"{sheet.source}: column {name}: flags or actions? say --mask-means flags, or actions")
    return False


def _legal(
    sheet: Sheet, legal: list[Any], flags: bool, count: int, place: dict[Any, int], row: int, name: str
) -> Array:
    where = f"{sheet.source}: row {sheet.table.row(row)}: column {name}"
    if flags:
        if len(legal) != count or not all(isinstance(f, int) and f in (0, 1) for f in legal):
            raise UserError(f"{where}: expected {count} flags, found {few(legal)}")
        return np.array(legal, np.bool_)
    found = np.zeros(count, np.bool_)
    for item in legal:
        index = place.get(item) if isinstance(item, str | int) and not isinstance(item, bool) else None
        if index is None and isinstance(item, str) and item.lstrip("-").isdigit():
            index = place.get(int(item))
        if index is None:
            raise UserError(f"{where}: expected actions among {few(list(place))}, found {item!r}")
        found[index] = True
    return found
