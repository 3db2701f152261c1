"""Columns of a table as arrays, whatever lies in their cells: numbers, words, lists or JSON maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fqi.errors import UserError
from fqi.nest import Array

# What a column is read as: `either` is numbers if the first cells are, else words; `list` is kept as it is.
Kind = Literal["number", "word", "either", "list"]

_TRUE = frozenset({"true", "True", "TRUE"})
_FLAGS = _TRUE | {"false", "False", "FALSE"}
_MISSING = frozenset({"", "null", "None", "NA", "N/A"})
# Cells, and the keys of earlier maps, to an array, where it is present and the maps' keys.
_Parse = Callable[[Sequence[Any], tuple[str, ...] | None], tuple[Array, Array | None, tuple[str, ...] | None]]


@dataclass(frozen=True)
class Cells:
    """One column of N rows."""

    name: str
    values: Array  # [N, …] numbers, or the numbers of the words
    words: tuple[str, ...] | None = None  # where the cells are words
    present: Array | None = None  # [N] bool; None: nowhere blank
    keys: tuple[str, ...] | None = None  # of JSON maps: what stands along the last axis
    lists: list[Any] | None = None  # [N] where cells are kept as they are

    @property
    def there(self) -> Array:
        """[N] where a cell is not blank."""
        return np.ones(len(self.values), np.bool_) if self.present is None else self.present


@dataclass(frozen=True)
class Table:
    """The columns of a table that somebody wants."""

    source: str
    rows: int
    cells: dict[str, Cells]
    unread: tuple[str, ...] = ()  # columns that nobody wants
    first: int = 0  # rows of the file before these
    numbers: Array | None = None  # [N] which rows of the file they are, where they do not follow one another

    def row(self, index: int) -> int:
        """The row of the file, counted from 1."""
        return 1 + (self.first + index if self.numbers is None else int(self.numbers[index]))


class BadCellError(Exception):
    """A cell that is not what its column should hold."""

    def __init__(self, row: int, expected: str, found: object) -> None:
        super().__init__(expected)
        self.row, self.expected, self.found = row, expected, found


class Column:
    """Takes a column in pieces and makes one array of it."""

    def __init__(self, source: str, name: str, kind: Kind) -> None:
        self.source, self.name, self.kind = source, name, kind
        self._pieces: list[Array] = []
        self._present: list[Array] = []
        self._blank = False
        self._rows = 0
        self._words: dict[str, int] = {}
        self._keys: tuple[str, ...] | None = None
        self._lists: list[Any] = []

    def texts(self, cells: Sequence[str]) -> None:
        """The next cells, as they stand in a file of text."""
        self._take(cells, parse_texts)

    def values(self, cells: Sequence[Any]) -> None:
        """The next cells, as values of JSON."""
        self._take(cells, parse_values)

    def numbers(self, piece: Array, present: Array | None = None) -> None:
        """The next cells, as an array that is one already."""
        if self.kind in ("word", "list"):
            there = np.ones(len(piece), np.bool_) if present is None else present
            cells = [cell if here else None for cell, here in zip(piece.tolist(), there.tolist(), strict=True)]
            self._take(cells, parse_values)
            return
        self.kind = "number"
        self._append(piece, present)

    def fault(self, row: int, expected: str, found: object) -> UserError:
        return UserError(
            f"{self.source}: row {row + 1}: column {self.name}: expected {expected}, found {_short(found)}"
        )

    @property
    def rows(self) -> int:
        """All rows that were taken in."""
        return self._rows

    @property
    def held(self) -> int:
        """Rows that were taken in and not handed over."""
        return sum(map(len, self._pieces))

    @property
    def nbytes(self) -> int:
        """Memory of the rows that are held; a list takes a word a number, at least."""
        lists = 8 * sum(len(cell) for cell in self._lists if cell is not None)
        return sum(piece.nbytes for piece in self._pieces) + lists

    @property
    def last(self) -> Array:
        """The rows that were taken in last."""
        return self._pieces[-1] if self._pieces else np.zeros(0, np.int64)

    @property
    def words(self) -> tuple[str, ...] | None:
        """Those seen so far, where the cells are words."""
        return tuple(self._words) if self.kind == "word" else None

    @property
    def keys(self) -> tuple[str, ...] | None:
        """Of JSON maps, as far as one was seen."""
        return self._keys

    def piece(self) -> tuple[Array, Array]:
        """The rows that were taken in last, and where they are not blank; they are held no longer."""
        values, present = self._pieces[-1], self._present[-1]
        self._pieces, self._present = [values[:0].copy()], [present[:0].copy()]
        return values, present

    def cut(self, rows: int) -> Cells:
        """The next so many rows, which are held no longer."""
        whole = self.cells()
        there = whole.there
        lists = None if whole.lists is None else whole.lists[:rows]
        self._pieces, self._present = [whole.values[rows:].copy()], [there[rows:].copy()]
        self._blank = whole.present is not None and not there[rows:].all()
        self._lists = self._lists[rows:]
        present = None if whole.present is None else there[:rows]
        return Cells(whole.name, whole.values[:rows], whole.words, present, whole.keys, lists)

    def cells(self) -> Cells:
        """The whole column."""
        present = np.concatenate(self._present) if self._blank else None
        values = self._joined()
        return Cells(self.name, values, self.words, present, self._keys, self._lists if self.kind == "list" else None)

    def _take(self, cells: Sequence[Any], parse: _Parse) -> None:
        try:
            if self.kind == "list":
                self._lists += _as_lists(cells)
                self._append(np.zeros(len(cells), np.int8), None)
                return
            if self.kind == "word":
                self._append(*_as_words(cells, self._words))
                return
            try:
                piece, present, keys = parse(cells, self._keys)
            except BadCellError as error:
                # An action's first cells tell whether it is words; one among numbers is a fault.
                if self.kind != "either" or self._rows or not isinstance(error.found, str):
                    raise
                if error.found[:1] in ("[", "{"):
                    raise
                self.kind = "word"
                self._append(*_as_words(cells, self._words))
                return
        except BadCellError as error:
            raise self.fault(self._rows + error.row, error.expected, error.found) from None
        if self._pieces and keys != self._keys and (present is None or present.any()):
            raise self.fault(self._rows, f"a JSON map of {self._keys}" if self._keys else "no JSON map", keys)
        self._keys = keys if self._keys is None else self._keys
        self.kind = "number"
        self._append(piece, present)

    def _append(self, piece: Array, present: Array | None) -> None:
        rows = len(piece)
        if present is not None and not present.any():  # nothing is known of the shape of blanks
            shape = self._pieces[0].shape[1:] if self._pieces else ()
            piece = np.zeros((rows, *shape), self._pieces[0].dtype if self._pieces else np.int8)
        elif self._pieces and piece.shape[1:] != self._pieces[0].shape[1:]:
            if any(found.any() for found in self._present):
                raise self.fault(self._rows, f"shape {self._pieces[0].shape[1:]} as in earlier rows", piece.shape[1:])
            self._pieces = [np.zeros((len(p), *piece.shape[1:]), piece.dtype) for p in self._pieces]
        self._pieces.append(piece)
        self._present.append(np.ones(rows, np.bool_) if present is None else present)
        self._blank |= present is not None
        self._rows += rows

    def _joined(self) -> Array:
        if not self._pieces:
            return np.zeros(0, np.int64)
        kinds = {piece.dtype for piece, there in zip(self._pieces, self._present, strict=True) if there.any()}
        if np.dtype(np.bool_) in kinds and len(kinds) > 1:
            raise UserError(f"{self.source}: column {self.name}: expected flags or numbers, found both")
        dtype = np.result_type(*kinds) if kinds else np.dtype(np.int64)
        if dtype.kind == "f":  # beyond 2^53 a whole number is none any more
            for i, piece in enumerate(self._pieces):
                if piece.dtype.kind in "iu" and piece.size and np.abs(piece.astype(np.float64)).max() > 2.0**53:
                    row = sum(map(len, self._pieces[:i]))
                    raise self.fault(row, "numbers that a float can hold, since other rows are not whole", piece[0])
        return np.concatenate([piece.astype(dtype, copy=False) for piece in self._pieces])


def parse_texts(
    cells: Sequence[str], keys: tuple[str, ...] | None = None
) -> tuple[Array, Array | None, tuple[str, ...] | None]:
    """Numbers, flags, lists or maps from texts: their array, where they are present, the maps' keys."""
    count = len(cells)
    try:
        return _whole(cells), None, None
    except (ValueError, OverflowError):
        pass
    try:
        return _real(cells), None, None
    except ValueError:
        pass
    distinct = {cell: cell.strip() for cell in set(cells)}  # flags and blanks are few words, many times
    if _FLAGS.issuperset(distinct.values()):
        flags = {cell: word in _TRUE for cell, word in distinct.items()}
        return np.fromiter(map(flags.__getitem__, cells), np.bool_, count), None, None
    if not _MISSING.isdisjoint(distinct.values()):
        filled = {cell: word not in _MISSING for cell, word in distinct.items()}
        return _with_blanks(cells, np.fromiter(map(filled.__getitem__, cells), np.bool_, count), keys, parse_texts)
    first = cells[0].lstrip()[:1]
    if first in ("[", "{"):
        return parse_values([_json(i, cell) for i, cell in enumerate(cells)], keys)
    if cells[0].strip() in _FLAGS:
        odd = next(i for i, cell in enumerate(cells) if cell.strip() not in _FLAGS)
        raise BadCellError(odd, "true or false as in the rows before", cells[odd])
    for i, cell in enumerate(cells):
        try:
            float(cell)
        except ValueError:
            raise BadCellError(i, "a number", cell) from None
        if "_" in cell:
            raise BadCellError(i, "a number", cell)
    raise BadCellError(0, "a number of at most 64 bits", cells[0])


def _with_blanks(
    cells: Sequence[Any], present: Array, keys: tuple[str, ...] | None, parse: _Parse
) -> tuple[Array, Array | None, tuple[str, ...] | None]:
    """What is there, with zeros in the places of blanks."""
    kept = [cell for cell, there in zip(cells, present.tolist(), strict=True) if there]
    if not kept:
        return np.zeros(len(cells), np.int64), present, keys
    try:
        found, _, keys = parse(kept, keys)
    except BadCellError as error:
        raise BadCellError(int(np.flatnonzero(present)[error.row]), error.expected, error.found) from None
    values = np.zeros((len(cells), *found.shape[1:]), found.dtype)
    values[present] = found
    return values, present, keys


def _whole(cells: Sequence[str]) -> Array:
    found = np.fromiter(map(int, cells), np.int64, len(cells))
    _no_underscores(cells)
    return found


def _real(cells: Sequence[str]) -> Array:
    found = np.fromiter(map(float, cells), np.float64, len(cells))
    _no_underscores(cells)
    if all(cell.strip().lstrip("+-").isdigit() for cell in cells):
        raise ValueError("whole numbers beyond 64 bits, of which a float would drop digits")
    return found


def _no_underscores(cells: Sequence[str]) -> None:
    if "_" in "".join(cells):  # Python takes 2020_01 for a number
        raise ValueError("underscore")


def _json(row: int, cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise BadCellError(row, 'a list such as [1.0, 2.0] or a JSON map such as {"speed": 1.0}', cell) from None


def parse_values(
    cells: Sequence[Any], keys: tuple[str, ...] | None = None
) -> tuple[Array, Array | None, tuple[str, ...] | None]:
    """The same from values of JSON."""
    if any(cell is None for cell in cells):
        present = np.fromiter((cell is not None for cell in cells), np.bool_, len(cells))
        return _with_blanks(cells, present, keys, parse_values)
    if isinstance(cells[0], dict):
        return _maps(cells, keys)
    if all(isinstance(cell, str) for cell in cells):
        return parse_texts(cells, keys)
    return _array(cells), None, None


def _maps(cells: Sequence[Any], keys: tuple[str, ...] | None) -> tuple[Array, None, tuple[str, ...]]:
    keys = tuple(cells[0]) if keys is None else keys
    wanted = set(keys)
    for i, cell in enumerate(cells):
        if not isinstance(cell, dict) or cell.keys() != wanted or not wanted:
            raise BadCellError(i, f"a JSON map of {', '.join(keys) or 'one key or more'}", cell)
    return _array([[cell[key] for key in keys] for cell in cells]), None, keys


def _array(cells: Sequence[Any]) -> Array:
    """Numbers, or lists of them of one shape."""
    try:
        found = np.array(cells)
    except (ValueError, OverflowError):
        found = None
    if found is not None and found.dtype.kind in "biuf" and _honest(cells, found):
        return found.astype(np.int64) if found.dtype.kind == "u" and found.max(initial=0) < 2**63 else found
    first = _shape(cells[0])
    for i, cell in enumerate(cells):
        if _shape(cell) != first or first is None:
            expected = "numbers" if first is None or first == () else f"numbers of shape {first} as in the rows before"
            raise BadCellError(i, expected, cell)
    if isinstance(cells[0], bool | int | float):
        odd = next((i for i, cell in enumerate(cells) if isinstance(cell, bool) != isinstance(cells[0], bool)), None)
        if odd is not None:
            what = "a flag" if isinstance(cells[0], bool) else "a number, as in the rows before"
            raise BadCellError(odd, what, cells[odd])
    raise BadCellError(0, "numbers, or flags, of at most 64 bits", cells[0])


def _honest(cells: Sequence[Any], found: Array) -> bool:
    """Whether no flag hides among numbers, and no digit was lost."""
    flat: Iterable[Any] = cells
    for _ in range(found.ndim - 1):
        flat = [item for inner in flat for item in inner]
    kinds = set(map(type, flat))
    if bool in kinds and len(kinds) > 1:
        return False
    return found.dtype.kind != "f" or all(abs(item) <= 1 << 53 for item in flat if type(item) is int)


def _shape(cell: Any) -> tuple[int, ...] | None:
    """The shape of one cell; None where it has none."""
    try:
        array = np.array(cell)
    except (ValueError, OverflowError):
        return None
    return array.shape if array.dtype.kind in "biuf" else None


def _as_words(cells: Sequence[Any], known: dict[str, int]) -> tuple[Array, Array | None]:
    """Every distinct word by a number of its own, in the order in which they appear."""
    texts = cells
    if set(map(type, cells)) != {str}:
        odd = next((i for i, cell in enumerate(cells) if isinstance(cell, list | dict)), None)
        if odd is not None:
            raise BadCellError(odd, "a word or a number", cells[odd])
        texts = [cell if isinstance(cell, str) else "" if cell is None else str(cell) for cell in cells]
    for text in dict.fromkeys(texts):
        known.setdefault(text, len(known))
    codes = np.fromiter(map(known.__getitem__, texts), np.int64, len(texts))
    present = codes != known.get("", -1)
    return codes, None if present.all() else present


def _as_lists(cells: Sequence[Any]) -> list[Any]:
    found = []
    for i, cell in enumerate(cells):
        value = cell
        if isinstance(cell, str):
            value = None if cell.strip() in _MISSING else _json(i, cell)
        if value is not None and not isinstance(value, list):
            raise BadCellError(i, "a list", cell)
        found.append(value)
    return found


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 80 else text[:79] + "…"
