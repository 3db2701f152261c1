"""Writing the own format of a log: columns lie on disk as they do in memory, in chunks, each with a checksum."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from fqi.datasets.columns import Column, Head, dump_json
from fqi.files import replacing
from fqi.nest import Array

FORMAT_NAME = "fqi-log"
VERSION = 1
_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 1 << 16
_PACKING = {"compression": "gzip", "compression_opts": 2}  # beyond level 2, frames shrink little and take twice as long


@contextmanager
def log_writer(
    path: Path, head: Head, columns: Iterable[Column], steps: int, episodes: int, compress: bool = False
) -> Iterator[LogWriter]:
    """A writer whose file appears at `path`, whole, when the block ends without an error.

    With `compress`, chunks are deflated: nothing is lost, and HDF5 itself knows how to read them.
    """
    header = dump_json(head.to_json())
    layout = {"libver": "v110", "rdcc_nbytes": 0, "alignment_threshold": 1 << 16, "alignment_interval": 1 << 12}
    with (
        replacing(path) as draft,
        h5py.File(draft, "w", **layout) as file,
    ):  # chunks begin on pages: read a tenth faster
        file.attrs["format"] = np.bytes_(FORMAT_NAME)
        file.attrs["version"] = VERSION
        file.create_dataset("header", data=np.frombuffer(header, np.uint8)).attrs["crc32"] = np.uint32(
            zlib.crc32(header)
        )
        writer = LogWriter(file, {column.name: column for column in columns}, steps, episodes, compress)
        yield writer
        writer.close()


class LogWriter:
    """Takes each column whole or in pieces, and holds at most one chunk of each in memory."""

    def __init__(
        self, file: h5py.File, columns: dict[str, Column], steps: int, episodes: int, compress: bool = False
    ) -> None:
        self._datasets: dict[str, h5py.Dataset] = {}
        self._rows = {name: column.rows(steps, episodes) for name, column in columns.items()}
        self._written = dict.fromkeys(columns, 0)
        self._checksums = dict.fromkeys(columns, 0)
        for name, column in columns.items():
            shape = (self._rows[name], *column.shape)
            chunks = chunk_shape(shape, column.dtype.itemsize)
            dtype = column.dtype.newbyteorder("=")
            packed = dict(_PACKING, shuffle=dtype.itemsize > 1) if compress and chunks else {}
            self._datasets[name] = file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, **packed)

    def append(self, name: str, array: Array) -> None:
        """The next rows of one column. Every piece but the last must fill whole chunks to be written fast."""
        start = self._written[name]
        if start + len(array) > self._rows[name]:
            raise ValueError(f"{name}: {start + len(array)} rows for {self._rows[name]} places")
        step = chunk_rows(array.shape, array.itemsize)
        for i in range(0, len(array) if array.size else 0, step):
            piece = np.ascontiguousarray(array[i : i + step])  # written and summed while in the processor's cache
            self._checksums[name] = checksum(piece, self._checksums[name])
            self._datasets[name][start + i : start + i + len(piece)] = piece
        self._written[name] = start + len(array)

    def close(self) -> None:
        """Seal the columns with their checksums."""
        if self._written != self._rows:
            raise ValueError(f"incomplete columns: {self._written} of {self._rows} rows")
        for name, value in self._checksums.items():
            self._datasets[name].attrs["crc32"] = np.uint32(value)


class Gathered:
    """Rows of one column held back until they fill whole chunks, which are written fast."""

    def __init__(self, writer: LogWriter, column: Column) -> None:
        self._writer, self._column = writer, column
        self._chunk = chunk_rows((1, *column.shape), column.dtype.itemsize)
        self._parts: list[Array] = []
        self._rows = 0

    def append(self, array: Array) -> None:
        self._parts.append(np.asarray(array, self._column.dtype))
        self._rows += len(array)
        if self._rows >= self._chunk:
            joined = np.concatenate(self._parts)
            full = self._rows - self._rows % self._chunk
            self._writer.append(self._column.name, joined[:full])
            self._parts, self._rows = [joined[full:].copy()], self._rows - full

    def flush(self) -> None:
        if self._rows:
            self._writer.append(self._column.name, np.concatenate(self._parts))


def checksum(array: Array, before: int = 0) -> int:
    """CRC-32 of a column's bytes, row after row; `before` is that of the rows already summed."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, before)


def chunk_rows(shape: tuple[int, ...], itemsize: int) -> int:
    """Rows that lie together: about 1 MB, and no more than 65,536."""
    row = max(1, math.prod(shape[1:]) * itemsize)
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // row))


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
    """The chunks of a column; an empty one has none."""
    if not math.prod(shape):
        return None
    return (min(shape[0], chunk_rows(shape, itemsize)), *shape[1:])
