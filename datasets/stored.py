"""Frames that stay in the file of a log of the own format."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from h5py import h5d

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

    def read(self, first: int, last: int) -> Array:
        with self._file.damage(self.name):
            return self._file.read_rows(self._dataset, self.name, first, (last - first, *self.shape[1:]), self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_stack", "_file", "_dataset")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def names_on_disk(file: SafeFile, names: Sequence[str], memory: int | None) -> set[str]:
    """The columns of observations that stay in the file: all of them where together they exceed `memory` bytes."""
    if memory is None:
        return set()
    columns = [name for name in names if name.split("/")[0] == "observations"]
    datasets = [file.dataset(name) for name in columns]
    total = sum(math.prod(dataset.shape or ()) * dataset.dtype.itemsize for dataset in datasets)
    return set(columns) if total > memory else set()
