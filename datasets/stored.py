"""Frames that stay in the file of a log of the own format."""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5d, h5t

from fqi.datasets.hdf5 import SafeFile, opened
from fqi.errors import UserError
from fqi.frames import Frames
from fqi.nest import Array

_BLOCK_BYTES = 1 << 20


class StoredFrames(Frames):
    """A column of observations in an HDF5 file, which is kept open. A copy in another process opens it for itself."""

    def __init__(self, file: SafeFile, name: str, memory: int) -> None:
        self.path, self.name, self.memory = Path(file.path).absolute(), name, memory
        self.shape, self.dtype = file.check_rows(name)
        settings = file.dataset(name).get_create_plist()
        chunk = settings.get_chunk() if settings.get_layout() == h5d.CHUNKED else None
        self.block = max(1, chunk[0] if chunk else _BLOCK_BYTES // max(1, self.row_bytes))
        self.packed = settings.get_nfilters() > 0
        self._open()

    def _open(self) -> None:
        self._stack = contextlib.ExitStack()
        # Where chunks are packed, a piece of one costs the whole: a cache of some is worth its copies.
        self._file = self._stack.enter_context(opened(self.path, whole_rows=not self.packed, links_known=True))
        self._dataset = self._file.dataset(self.name)
        if self._file.check_rows(self.name) != (self.shape, self.dtype):
            raise UserError(f"{self.path}: {self.name}: has changed since it was opened; begin again")
        self._bytes = Bytes.of(self._file, self._dataset)

    def read(self, first: int, last: int) -> Array:
        if self._bytes is not None:
            array = np.empty((last - first, *self.shape[1:]), self.dtype)
            if self._bytes.read(first, array):
                return array
        with self._file.damage(self.name):
            return self._file.read_rows(self._dataset, self.name, first, (last - first, *self.shape[1:]), self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_stack", "_file", "_dataset", "_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


class Bytes:
    """Rows that lie in the file as they do in memory: where they lie is asked of HDF5 once, and then they are read."""

    def __init__(self, file: SafeFile, dataset: h5d.DatasetID, chunk: int) -> None:
        self._dataset, self._rows = dataset, chunk  # of a chunk
        self._handle = os.open(file.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._row_bytes = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        self._chunked = dataset.get_create_plist().get_layout() == h5d.CHUNKED
        self._known: dict[int, int | None] = {}  # by the number of a chunk, where it begins

    @classmethod
    def of(cls, file: SafeFile, dataset: h5d.DatasetID) -> Bytes | None:
        """None where HDF5 must unpack, turn round or check what it reads."""
        settings, shape, dtype = dataset.get_create_plist(), dataset.shape, dataset.dtype
        if settings.get_nfilters() or not math.prod(shape) or not dtype.isnative or dtype.kind not in "iuf":
            return None
        if not dataset.get_type().equal(h5t.py_create(dtype)) or file.file.id.get_create_plist().get_userblock():
            return None
        if settings.get_layout() == h5d.CONTIGUOUS:
            return cls(file, dataset, shape[0])
        if settings.get_layout() != h5d.CHUNKED or settings.get_chunk()[1:] != shape[1:]:
            return None
        return cls(file, dataset, settings.get_chunk()[0])

    def read(self, first: int, array: Array) -> bool:
        """Rows from this one on; False if they are nowhere in the file or end too early."""
        raw, last, done = array.reshape(-1).view(np.uint8).data, first + len(array), 0
        while first < last:
            number = first // self._rows
            stop = min(last, (number + 1) * self._rows)
            begin, size = self._begin(number), (stop - first) * self._row_bytes
            if begin is None:
                return False
            place = begin + (first - number * self._rows) * self._row_bytes
            if os.preadv(self._handle, [raw[done : done + size]], place) != size:
                return False
            first, done = stop, done + size
        return True

    def _begin(self, number: int) -> int | None:
        if number not in self._known:
            if self._chunked:
                corner = (number * self._rows, *(0 for _ in self._dataset.shape[1:]))
                info = self._dataset.get_chunk_info_by_coord(corner)
                whole = info.size == self._rows * self._row_bytes and not info.filter_mask
                self._known[number] = info.byte_offset if whole else None
            else:
                self._known[number] = self._dataset.get_offset()
        return self._known[number]


def names_on_disk(file: SafeFile, names: Sequence[str], memory: int | None) -> set[str]:
    """The columns of observations that stay in the file: all of them where together they exceed `memory` bytes."""
    if memory is None:
        return set()
    columns = [name for name in names if name.split("/")[0] == "observations"]
    datasets = [file.dataset(name) for name in columns]
    total = sum(math.prod(dataset.shape or ()) * dataset.dtype.itemsize for dataset in datasets)
    return set(columns) if total > memory else set()
