"""The episodes of a Minari dataset as columns of a log, of which any rows can be had."""

from __future__ import annotations

import math
from collections.abc import Sequence

import h5py
import numpy as np

from fqi.datasets.columns import Column
from fqi.datasets.formats.minari_columns import Header, Stored, decoded
from fqi.datasets.formats.minari_metadata import ORIGIN
from fqi.datasets.formats.minari_survey import Survey
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.windows import rows_at_once
from fqi.errors import UserError
from fqi.nest import Array

_TOGETHER = 256  # episodes read before the memory of the file's bytes may be given back
_FARTHEST = np.iinfo(np.int64).max  # to which HDF5 cuts a seed that does not fit


class Episodes:
    """All episodes that have a step, back to back; `lenient` leaves out those that cannot be read, and says why."""

    def __init__(self, file: SafeFile, parts: Sequence[Stored], with_origin: bool, lenient: bool = False) -> None:
        self._file, self._parts = file, {part.name: part for part in parts}
        self._survey = survey = Survey(file, parts, {"seed": (), **({ORIGIN: (2,)} if with_origin else {})})
        if lenient:
            self._try()
        elif survey.problems:
            raise UserError(survey.problems[min(survey.problems)])
        self._settle()
        seeds = survey.attributes["seed"]
        survey.count("episodes whose seed exceeds 63 bits, recorded as unknown", seeds == _FARTHEST)
        seeds = np.where(seeds == _FARTHEST, -1, seeds)[self._places]
        self.seeds = seeds if (seeds != -1).any() else None
        self.origin = survey.attributes[ORIGIN][self._places] if with_origin else None
        self._mend()

    @property
    def columns(self) -> tuple[Column, ...]:
        found = []
        for name, (shape, dtype) in self._survey.becomes.items():
            found.append(Column(name, dtype, shape, "frame" if self._parts[name].per_frame else "step"))
        return tuple(found)

    @property
    def notes(self) -> dict[str, int]:
        return self._survey.notes

    @property
    def problems(self) -> dict[str, str]:
        """By the name of an episode, why it cannot be read."""
        return {self._survey.name(place): said for place, said in sorted(self._survey.problems.items())}

    def rows(self, name: str, first: int, last: int) -> Array:
        """Some rows of a column."""
        part, header = self._parts[name], self._survey.becomes[name]
        shape, dtype = header
        array = np.empty((last - first, *shape), dtype)
        starts = self._frames if part.per_frame else self._steps
        a = int(np.searchsorted(starts, first, "right")) - 1
        b = max(a, int(np.searchsorted(starts, last, "left")))
        begins, ends = np.maximum(starts[a:b], first), np.minimum(starts[a + 1 : b + 1], last)
        row = math.prod(shape) * dtype.itemsize
        image, raw = self._survey.image.bytes, array.reshape(-1).view(np.uint8)
        at = self._begin[name][a:b]
        sizes, places = (ends - begins) * row, (begins - first) * row
        where = np.where(at >= 0, at + (begins - starts[a:b]) * row, -1)
        for i, (begin, place, size) in enumerate(zip(where.tolist(), places.tolist(), sizes.tolist(), strict=True)):
            if i % _TOGETHER == 0:
                self._survey.image.touched(where[i : i + _TOGETHER])
            if begin >= 0:
                raw[place : place + size] = image[begin : begin + size]
            else:
                lo, hi = int(begins[i] - starts[a + i]), int(ends[i] - starts[a + i])
                array[begins[i] - first : ends[i] - first] = self._read(part, header, a + i, lo, hi)
        self._survey.image.touched(where[:0], array.nbytes)
        if dtype == np.bool_ and array.size:
            self._check_flags(name, array, first, starts)
        if name == "truncations":
            over = starts[a + 1 : b + 1] - 1
            mended = over[self._mended[a:b] & (over < last)]
            array[mended - first] = True
        return array

    def _settle(self) -> None:
        """The episodes that are left, back to back."""
        self._places = np.flatnonzero(self._survey.alive)
        self.lengths = self._survey.steps[self._places]
        self._steps = np.concatenate(([0], np.cumsum(self.lengths)))
        self._frames = self._steps + np.arange(len(self._steps))
        self._begin = {name: begin[self._places] for name, begin in self._survey.begin.items()}
        self._mended = np.zeros(len(self._places), np.bool_)

    def _mend(self) -> None:
        """An episode that neither terminated nor was cut ends where its rows do."""
        last, ended = self._steps[1:] - 1, np.zeros(len(self.lengths), np.bool_)
        for name in ("terminations", "truncations") if len(last) else ():
            step = rows_at_once(1)
            for first in range(0, int(self._steps[-1]), step):
                flags = self.rows(name, first, min(first + step, int(self._steps[-1])))
                a, b = np.searchsorted(last, [first, first + len(flags)])
                ended[a:b] |= flags[last[a:b] - first].reshape(b - a, -1).any(axis=1)
        self._mended = ~ended
        if self._mended.any():
            what = "episodes whose last step was neither terminated nor truncated, now truncated"
            self._survey.notes[what] = int(self._mended.sum())

    def _try(self) -> None:
        """Read every episode once, and leave out what breaks."""
        self._settle()
        for episode, place in enumerate(self._places.tolist()):
            with self._survey.trying(place):
                for name, part in self._parts.items():
                    starts = self._frames if part.per_frame else self._steps
                    self.rows(name, int(starts[episode]), int(starts[episode + 1]))

    def _read(self, part: Stored, header: Header, episode: int, first: int, last: int) -> Array:
        """Rows of one episode that do not lie in the file as they will in memory."""
        place = int(self._places[episode])
        name = self._survey.name(place)
        with self._file.damage(name):
            stored = [self._stored(inside, part, place, first + part.skip, last + part.skip) for inside in part.inside]
            try:
                return part.change(tuple(stored), header)
            except UserError as error:
                raise UserError(f"{self._file.path}: {name}/{part.inside[0]}: {error}") from error

    def _stored(self, name: str, part: Stored, place: int, first: int, last: int) -> Array:
        known, where = self._survey.known[name], f"{self._survey.name(place)}/{name}"
        like = known.like(place)
        if part.picture is not None and (like is None or like[0][1:] != part.picture):
            dataset = self._survey.opened(name, place)
            if dataset.dtype.kind == "O" or dataset.shape[1:] != part.picture:
                try:
                    return decoded(h5py.Dataset(dataset)[first:last], part.picture, first)
                except UserError as error:
                    raise UserError(f"{self._file.path}: {where}: {error}") from error
        if like is not None:
            array = np.empty((last - first, *like[0][1:]), like[1])
            if known.read(place, array, first):
                return array
        dataset, dtype, memory = self._survey.dataset(name, place)
        shape = dataset.shape
        if (first, last) != (0, shape[0]):
            return self._file.read_rows(dataset, where, first, (last - first, *shape[1:]), dtype)
        array = np.empty(shape, dtype)
        self._file.read_into(dataset, where, array, memory)
        return array

    def _check_flags(self, name: str, array: Array, first: int, starts: Array) -> None:
        if array.view(np.uint8).max() > 1:
            row = int(np.flatnonzero(array.view(np.uint8).reshape(len(array), -1).max(axis=1) > 1)[0])
            episode = int(np.searchsorted(starts, first + row, "right")) - 1
            begin = int(starts[episode])
            end = min(int(starts[episode + 1]), first + len(array))
            where = f"{self._survey.name(int(self._places[episode]))}/{self._parts[name].inside[0]}"
            self._file.check_flags(where, array[max(0, begin - first) : end - first], max(0, first - begin))
