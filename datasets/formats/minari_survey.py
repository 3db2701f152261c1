"""What the headers of a Minari dataset say of its episodes, found before any of their rows is read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5o, h5t

from fqi.datasets.alike import Attributes, Datasets
from fqi.datasets.formats.minari_columns import Header, Stored
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.headers import Image
from fqi.errors import UserError
from fqi.nest import Array

PACKED: Header = ((), np.dtype(object))  # rows of JPEG


@dataclass
class _Headers:
    """One dataset in all episodes."""

    kinds: list[Header]
    kind: Array  # [n] which of them it is, -1 where it cannot be read
    rows: Array  # [n] -1 where it has none

    def shape(self, place: int) -> tuple[int, ...]:
        rows = int(self.rows[place])
        return () if rows < 0 else (rows, *self.kinds[int(self.kind[place])][0])


class Survey:
    """Looks at the headers of all episodes, of which those that can be recognised need no opening."""

    def __init__(self, file: SafeFile, parts: Sequence[Stored], numbered: dict[str, tuple[int, ...]]) -> None:
        self.file, self.image, self.parts = file, Image(file), parts
        self.numbers = _episode_numbers(file)
        groups = [b"episode_%d" % number for number in self.numbers]
        inside = dict.fromkeys(name for part in parts for name in part.inside)
        self.known = {name: Datasets(self.image, [b"%s/%s" % (g, name.encode()) for g in groups]) for name in inside}
        self._attributes = Attributes(self.image, groups, numbered)
        self._types: dict[str, tuple[h5t.TypeID, np.dtype[Any], h5t.TypeID]] = {}  # in the file, as dtype, in memory
        self.notes: dict[str, int] = {}  # what had to be mended or said, with how many episodes it concerns
        self.problems: dict[int, str] = {}  # by the place of an episode: why it cannot be read
        self.alive = np.ones(len(groups), np.bool_)  # [n] whether an episode is read
        self.begin: dict[str, Array] = {}  # [n] where the rows of a column lie in the file as in memory; else -1
        self.becomes: dict[str, Header] = {}
        with file.by_rows():
            self.steps = self._lengths()
            for part in parts:
                self._settle(part)
            self.attributes = {name: self._numbers(name, shape) for name, shape in numbered.items()}

    def name(self, place: int) -> str:
        return f"episode_{self.numbers[place]}"

    def count(self, what: str, which: Array) -> None:
        if found := int(np.count_nonzero(which & self.alive)):
            self.notes[what] = found

    @contextmanager
    def trying(self, place: int) -> Iterator[None]:
        """What is wrong with an episode is kept, and the episode left out."""
        try:
            with self.file.damage(self.name(place)):
                yield
        except UserError as error:
            self.fail(place, str(error))

    def fail(self, place: int, said: str) -> None:
        self.problems[place], self.alive[place] = said, False

    def dataset(self, name: str, place: int) -> tuple[h5d.DatasetID, np.dtype[Any], h5t.TypeID]:
        """A dataset of numbers by HDF5 itself, its dtype, and HDF5's own type of that."""
        dataset = self.opened(name, place)
        kind = dataset.get_type()
        known = self._types.get(name)
        if known is None or not kind.equal(known[0]):  # to build a dtype anew for every dataset takes long
            dtype = self.file.plain_dtype(dataset, f"{self.name(place)}/{name}")
            known = self._types[name] = (kind, dtype, kind if dtype.kind == "b" else h5t.py_create(dtype))
        return dataset, known[1], known[2]

    def opened(self, name: str, place: int) -> h5d.DatasetID:
        return h5d.open(self.file.file.id, f"{self.name(place)}/{name}".encode())

    def _lengths(self) -> Array:
        """[n] steps; an episode without any has nothing else either."""
        rewards = self._rewards = self._look("rewards", self.alive)
        steps = np.maximum(rewards.rows, 0)
        empty = steps == 0
        if (empty & self.alive).any():
            names = [name for part in self.parts if part.name == "actions" for name in part.inside]
            actions = [self._look(name, empty & self.alive) for name in names]
            for place in np.flatnonzero(empty & self.alive).tolist():
                if rows := max(abs(int(found.rows[place])) for found in actions):
                    said = f"rewards: expected {rows} rows, found none"
                    self.fail(place, f"{self.file.path}: {self.name(place)}: {said}")
        self.count("episodes without a step, left out", empty)
        self.alive &= ~empty
        return steps

    def _look(self, name: str, which: Array, picture: tuple[int, ...] | None = None) -> _Headers:
        """A dataset of these episodes."""
        known = self.known[name]
        kinds: list[Header] = list(known.kinds)
        found = _Headers(kinds, np.where(which, known.kind, -1), np.where(which, known.rows, -1))
        for i, (row, dtype) in enumerate(known.kinds):
            rows = int(found.rows[found.kind == i].sum())
            self.file.charge_plain(name, rows * math.prod(row) * dtype.itemsize)
            if picture is not None and row != picture:
                kinds[i] = PACKED
        for place in np.flatnonzero(which & (known.kind < 0)).tolist():
            with self.trying(place):
                shape, dtype = self._header(name, place, picture)
                header = (shape[1:], dtype) if dtype != PACKED[1] else PACKED
                if header not in kinds:
                    kinds.append(header)
                found.kind[place], found.rows[place] = kinds.index(header), shape[0] if shape else -1
        return found

    def _header(self, name: str, place: int, picture: tuple[int, ...] | None) -> tuple[tuple[int, ...], np.dtype[Any]]:
        where = f"{self.name(place)}/{name}"
        if picture is not None:
            dataset = self.opened(name, place)
            if dataset.dtype.kind == "O" or dataset.shape[1:] != picture:
                self.file.charge(dataset, where, dataset.shape[:1], 1)
                return dataset.shape[:1], PACKED[1]
        dataset, dtype, _ = self.dataset(name, place)
        self.file.charge(dataset, where, dataset.shape, dtype.itemsize)
        return dataset.shape, dtype

    def _settle(self, part: Stored) -> None:
        """What the column's rows are: all episodes' like those of the first."""
        for name in part.inside:
            found = self._rewards if name == "rewards" else self._look(name, self.alive, part.picture)
            self._check_rows(part, name, found)
            results = [self._result(part, name, found, i) for i in range(len(found.kinds))]
            alive = np.flatnonzero(self.alive)
            if not len(alive):
                return
            expected = results[int(found.kind[alive[0]])]
            assert expected is not None
            self._check_kinds(part, found, results, expected)
            self.becomes[part.name] = expected
            for i, header in enumerate(found.kinds):
                self._note(part, name, header, found.kind == i)
            same = np.array([header == expected for header in found.kinds])[found.kind] & (found.kind >= 0)
            known = self.known[name].begin
            skipped = part.skip * math.prod(expected[0]) * expected[1].itemsize
            plain = same & (known >= 0) & (len(part.inside) == 1) & (not part.indexed)
            self.begin[part.name] = np.where(plain, known + skipped, -1)

    def _check_rows(self, part: Stored, name: str, found: _Headers) -> None:
        for place in np.flatnonzero(self.alive & (found.rows != self.steps + part.more)).tolist():
            expected = f"expected {int(self.steps[place]) + part.more} rows, found shape {found.shape(place)}"
            self.fail(place, f"{self.file.path}: {self.name(place)}: {part.name}: {expected}")

    def _result(self, part: Stored, name: str, found: _Headers, kind: int) -> Header | None:
        """What rows of this kind become; None where that cannot be."""
        header = found.kinds[kind]
        if header is PACKED:
            return part.picture or (), np.dtype(np.uint8)
        try:
            return part.becomes(header)
        except UserError as error:
            for place in np.flatnonzero(self.alive & (found.kind == kind)).tolist():
                self.fail(place, f"{self.file.path}: {self.name(place)}/{name}: {error}")
            return None

    def _check_kinds(self, part: Stored, found: _Headers, results: list[Header | None], expected: Header) -> None:
        for kind, result in enumerate(results):
            if result in (None, expected):
                continue
            for place in np.flatnonzero(self.alive & (found.kind == kind)).tolist():
                said = f"expected rows of {expected[1]} {expected[0]} as in earlier episodes"
                where = f"{self.file.path}: {self.name(place)}: {part.name}"
                self.fail(place, f"{where}: {said}, found {result[1]} {result[0]}")

    def _note(self, part: Stored, name: str, header: Header, which: Array) -> None:
        if header is PACKED:
            self.count("episodes whose pixels had lost detail to JPEG when the dataset was made", which)
        elif part.space is not None and header[1] != part.space.dtype:
            self.count(f"episodes whose {name} were {header[1]}, cast to the space's {part.space.dtype}", which)

    def _numbers(self, name: str, shape: tuple[int, ...]) -> Array:
        """[n, *shape] an attribute of the episodes, by HDF5 where it was not recognised; -1 where there is none."""
        found = self._attributes
        there = found.present[name]
        values = np.where(there.reshape(-1, *(1 for _ in shape)), found.values[name], -1)
        for place in np.flatnonzero(self.alive & ~found.known).tolist():
            with self.trying(place):
                group = h5o.open(self.file.file.id, self.name(place).encode())
                if h5a.exists(group, name.encode()):
                    value = np.empty(shape, np.int64)
                    h5a.open(group, name.encode()).read(value, mtype=h5t.NATIVE_INT64)
                    values[place] = value
        return values


def _episode_numbers(file: SafeFile) -> list[int]:
    names = [name.decode(errors="replace") for name in file.file.id]
    numbers = [int(name[8:]) for name in names if re.fullmatch(r"episode_\d{1,12}", name)]
    if not numbers:
        raise UserError(f"{file.path}: expected groups episode_0, episode_1, …, found {names[:3]}")
    return sorted(numbers)
