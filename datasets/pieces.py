"""Logs too large for memory, column after column in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fqi.datasets.columns import Column, Columns, Head
from fqi.datasets.hdf5 import memory_bytes
from fqi.datasets.writer import log_writer
from fqi.errors import UserError
from fqi.nest import Array


@dataclass(frozen=True)
class Stream:
    """What a log says of itself, and its columns in pieces, each column from its first row to its last."""

    head: Head
    columns: tuple[Column, ...]
    steps: int
    episodes: int
    pieces: Iterator[tuple[str, Array]]

    @property
    def nbytes(self) -> int:
        return sum(column.rows(self.steps, self.episodes) * column.row_bytes for column in self.columns)


def save_stream(stream: Stream, path: Path | str, compress: bool = False) -> None:
    """Write the log in the own format, a piece in memory at a time."""
    with log_writer(Path(path), stream.head, stream.columns, stream.steps, stream.episodes, compress) as writer:
        for name, piece in stream.pieces:
            writer.append(name, piece)


def gathered(stream: Stream, source: str) -> Columns:
    """All of the stream in memory, if it fits there."""
    if stream.nbytes > memory_bytes():
        raise UserError(f"{source}: needs {stream.nbytes} bytes, more than this machine's memory holds")
    arrays = {
        column.name: np.empty((column.rows(stream.steps, stream.episodes), *column.shape), column.dtype)
        for column in stream.columns
    }
    filled = dict.fromkeys(arrays, 0)
    for name, piece in stream.pieces:
        arrays[name][filled[name] : filled[name] + len(piece)] = piece
        filled[name] += len(piece)
    return Columns(source, stream.head, arrays)
