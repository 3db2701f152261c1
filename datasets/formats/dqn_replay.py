"""Replay buffers of Dopamine, as in the DQN replay dataset: a folder of gzipped columns for each checkpoint.

The buffer is a ring. Every episode begins with rows of zeros, from which Dopamine makes its first stacks of frames;
they are no steps and are left out. Frames are single ones and stay bytes. All is read in pieces.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from fqi.datasets.formats import rows
from fqi.datasets.formats.arrays import DEFLATE_LIMIT, Header, as_bool, checked_dtype, fill, read_header
from fqi.datasets.formats.heading import environment, limit, with_head
from fqi.datasets.formats.reference import Reference, flat_format, parse
from fqi.datasets.forward import forward
from fqi.datasets.hdf5 import damage, memory_bytes
from fqi.datasets.source import Source
from fqi.datasets.strips import Strip, by_rows, named
from fqi.errors import UserError
from fqi.nest import Array

PREFIX = "dqn-replay:"
PADDED = "rows of zeros before episodes, from which Dopamine makes its first stacks, left out"
_COLUMN = "$store$_{}_ckpt.{}.gz"
_FOUND = re.compile(r"\$store\$_observation_ckpt\.(\d{1,9})\.gz")
_MOST_PADDING = 3  # a stack of four frames
_PIECE = 1 << 23  # bytes of frames at a time


def holds(path: Path) -> bool:
    """Whether the path is that of a folder with a checkpoint."""
    return bool(_checkpoints(path))


@dataclass(frozen=True)
class _Ring:
    """Where the rows of the buffer lie, oldest first."""

    folder: Path
    number: int
    order: tuple[slice, ...]
    count: int

    def path(self, column: str) -> Path:
        return self.folder / _COLUMN.format(column, self.number)


@contextmanager
def open_replay(text: str) -> Iterator[Source]:
    """The log by rows: the small columns lie in memory, frames never do."""
    reference, folder, number = _folder(text)
    record = environment(reference)
    with named(folder):
        ring = _ring(folder, number)
        small = {name: _small(ring, name) for name in ("action", "reward", "terminal")}
        over = _flags(small["terminal"], "terminal")
        frame = _frame_header(ring)
        padding = _padding(ring, small, over)
        actual = np.flatnonzero(~padding)
        ends, notes = rows.limited(rows.find_ends(Strip.of(over[actual]), None), limit(reference, record))
        strips, lengths, said = rows.episodes(
            rows.Rows(
                {"": _frames_of(ring, frame, actual)},
                Strip.of(small["action"][actual]),
                rows.rewards(Strip.of(small["reward"][actual])),
                ends,
            )
        )
        notes = {**notes, **said, **({PADDED: int(padding.sum())} if padding.any() else {})}
        provenance = {
            "source": "dqn-replay",
            "checkpoint": number,
            "reference": text,
            "rewards": "as stored; Dopamine's runner clips them to [-1, 1]",
        }
        head, strips = with_head(strips, record, provenance, notes, observation_from_data=True)
        one = by_rows(text, "dqn-replay", folder, head, strips, lengths)
    yield one


def _frames_of(ring: _Ring, frame: Header, actual: Array) -> Strip:
    """The frames of the rows that are steps, which are read forward only, since they are packed."""
    every = forward((ring.count, *frame.shape[1:]), np.dtype(np.uint8), lambda: _frames(ring))
    return Strip((len(actual), *every.row), every.dtype, lambda first, last: every.at(actual[first:last]))


# Names


def _checkpoints(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    found = (_FOUND.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def _folder(text: str) -> tuple[Reference, Path, int]:
    """The folder and which of its checkpoints is meant."""
    reference = parse(text, PREFIX)
    folder, number = reference.path, None
    if not folder.exists():
        path, colon, last = str(folder).rpartition(":")
        if colon and last.isdecimal() and len(last) < 10:
            folder, number = Path(path), int(last)
    found = _checkpoints(folder)
    if not found:
        raise UserError(f"{folder}: expected a folder with $store$_observation_ckpt.N.gz, found none")
    if number is None and len(found) > 1:
        raise UserError(
            f"{folder}: holds the checkpoints {', '.join(map(str, found[:20]))}; name one: {PREFIX}{folder}:{found[-1]}"
        )
    number = found[0] if number is None else number
    if number not in found:
        raise UserError(f"{folder}: expected the checkpoint {number}, found {', '.join(map(str, found[:20]))}")
    return reference, folder, number


# Columns


@contextmanager
def _array(path: Path) -> Iterator[tuple[Header, IO[bytes]]]:
    """A gzipped array: its header, whose size has been checked, and its data."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; a checkpoint has observation, action, reward and terminal")
    with damage(path), _gzip_damage(path), gzip.open(path, "rb") as opened:
        file = cast(IO[bytes], opened)
        header = read_header(file, str(path))
        checked_dtype(header, str(path))
        if header.fortran and len(header.shape) > 1:
            raise UserError(f"{path}: expected rows one after another, found columns")
        if header.nbytes > DEFLATE_LIMIT * path.stat().st_size:
            raise UserError(f"{path}: declares {header.nbytes} bytes, beyond compression")
        yield header, file


@contextmanager
def _gzip_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: expected an intact gzip file, found damage ({error})") from error


def _whole(path: Path) -> Array:
    """A small column."""
    with _array(path) as (header, file):
        if header.nbytes > memory_bytes() // 4:
            raise UserError(f"{path}: declares {header.nbytes} bytes, more than this machine's memory holds")
        array = np.empty(header.shape, header.dtype)
        fill(file, array, str(path))
        _refuse_more(file, path)
    array = as_bool(array, str(path)) if array.dtype == np.bool_ else array
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _refuse_more(file: IO[bytes], path: Path) -> None:
    if file.read(1):
        raise UserError(f"{path}: expected an end after the data, found more")


def _ring(folder: Path, number: int) -> _Ring:
    """The order of rows, by how many were ever added."""
    with _array(folder / _COLUMN.format("terminal", number)) as (header, _):
        places = header.shape[0] if header.shape else 0
    added = folder / f"add_count_ckpt.{number}.gz"
    if not added.is_file():
        raise UserError(f"{added}: no such file, so nobody can tell the oldest row; take the whole checkpoint")
    stated = _whole(added)
    if stated.size != 1 or stated.dtype.kind not in "iu":
        raise UserError(f"{added}: expected one whole number, found {stated.dtype} {stated.shape}")
    count = int(stated.reshape(-1)[0])
    if count < 1 or places < 1:
        raise UserError(f"{added}: expected at least one row, found {count} in {places} places")
    if count <= places:
        return _Ring(folder, number, (slice(0, count),), count)
    cursor = count % places
    return _Ring(folder, number, (slice(cursor, places), slice(0, cursor)), places)


def _small(ring: _Ring, name: str) -> Array:
    """One number a row, oldest first."""
    strip = rows.vector(Strip.of(_whole(ring.path(name))), name)
    array = strip.read(0, len(strip))
    if len(array) < ring.order[0].stop:
        raise UserError(f"{name}: expected {ring.order[0].stop} rows as in terminal, found {len(array)}")
    return np.concatenate([array[part] for part in ring.order])


def _flags(array: Array, name: str) -> Array:
    strip = rows.flags(Strip.of(array), name)
    return strip.read(0, len(strip))


def _frame_header(ring: _Ring) -> Header:
    with _array(ring.path("observation")) as (header, _):
        if header.dtype != np.uint8 or len(header.shape) < 2 or header.shape[0] < ring.order[0].stop:
            expected = f"at least {ring.order[0].stop} frames of bytes"
            raise UserError(f"observation: expected {expected}, found {header.dtype} {header.shape}")
        if header.nbytes // max(1, header.shape[0]) > _PIECE:
            raise UserError(f"observation: expected frames of at most {_PIECE} bytes, found {header.shape[1:]}")
        return header


def _frames(ring: _Ring) -> Iterator[Array]:
    """Frames, oldest first, in pieces. Two passes where the ring has turned, since gzip only goes forward."""
    for part in ring.order:
        with _array(ring.path("observation")) as (header, file):
            at, step = 0, max(1, _PIECE // max(1, header.nbytes // header.shape[0]))
            while at < part.stop:
                piece = np.empty((min(step, part.stop - at), *header.shape[1:]), np.uint8)
                fill(file, piece, str(ring.path("observation")))
                yield_from = max(0, part.start - at)
                if yield_from < len(piece):
                    yield piece[yield_from:]
                at += len(piece)
            if part.stop == header.shape[0]:
                _refuse_more(file, ring.path("observation"))


def _padding(ring: _Ring, small: dict[str, Array], ends: Array) -> Array:
    """[N] rows of zeros before an episode: as many as before every episode, and no more."""
    blank = (small["action"] == 0) & (small["reward"] == 0) & ~ends
    at = 0
    for frames in _frames(ring):
        blank[at : at + len(frames)] &= ~frames.reshape(len(frames), -1).any(axis=1)
        at += len(frames)
    starts = np.flatnonzero(ends[:-1]) + 1
    if len(ring.order) == 1:  # nothing was overwritten, so the first row begins an episode as well
        starts = np.concatenate(([0], starts))
    reach = np.concatenate((blank, np.zeros(_MOST_PADDING, np.bool_)))
    runs = np.cumprod([reach[starts + i] for i in range(_MOST_PADDING)], axis=0).sum(axis=0) if len(starts) else []
    complete = starts + _MOST_PADDING <= len(blank)
    usual = int(min(np.asarray(runs)[complete], default=0))
    found = np.zeros(len(blank), np.bool_)
    for i in range(usual):
        found[(starts + i)[starts + i < len(blank)]] = True
    if len(ring.order) > 1:  # perhaps the rest of the padding of an episode whose beginning was overwritten
        first = int(np.argmin(np.append(blank[:usual], False)))
        found[:first] = True
    return np.asarray(found & blank)


FORMAT = flat_format("dqn-replay", "dqn-replay:FOLDER:N", holds, open_replay)
