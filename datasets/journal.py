"""The file that a collection appends to: whole episodes in checked blocks, so that a kill costs at most the open ones.

A frame is a magic word, the sizes, a CRC-32 over both and over what follows. The first frame holds the header as JSON,
each later one a block of whole episodes. Whatever follows the last valid frame was torn and is cut off on resume.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fqi.datasets.columns import Column, Columns, Head, dump_json, to_log
from fqi.datasets.writer import chunk_rows, log_writer
from fqi.errors import UserError
from fqi.files import lock, replacing
from fqi.log import Log
from fqi.nest import Array

SUFFIX = ".journal"
VERSION = 1
_HEADER = b"fqi-jrnl"
_BLOCK = b"fqi-blck"
_FRAME = struct.Struct("<8sQQ")  # magic, bytes of the payload, episodes
_SUM = struct.Struct("<I")
_START = _FRAME.size + _SUM.size  # where the payload begins
_META = 4  # int64 per episode: length, seed, slot, start tick
_PIECE = 4 << 20  # bytes moved at a time when the journal becomes a log


@dataclass(frozen=True)
class JournalHeader:
    """What a journal is told at its start."""

    head: Head
    columns: tuple[Column, ...]  # per frame and per step; lengths, seeds and origin travel with the episodes
    settings: dict[str, Any] = field(default_factory=dict)  # of the collection: JSON values only

    def to_json(self) -> dict[str, Any]:
        columns = [column.to_json() for column in self.columns]
        return {"version": VERSION, "log": self.head.to_json(), "columns": columns, "settings": self.settings}


@dataclass(frozen=True)
class Block:
    """One or more whole episodes, back to back as in a log."""

    lengths: Array  # [M] steps of each episode
    seeds: Array  # [M] its reset seed, -1 where unknown
    slots: Array  # [M] the environment that played it
    starts: Array  # [M] the tick of the collection at which it began
    columns: dict[str, Array]  # by column name: [steps, …], or [steps + M, …] for those per frame


@dataclass(frozen=True)
class Index:
    """The committed episodes, in the order of their commitment."""

    lengths: Array  # [M] int64
    seeds: Array  # [M] int64
    slots: Array  # [M] int64
    starts: Array  # [M] int64
    offsets: dict[str, Array]  # by column name: [M] where the episode's rows begin in the file

    @property
    def episodes(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        return int(self.lengths.sum())

    def columns(self) -> dict[str, Array]:
        """What a log holds of it, per episode."""
        origin = np.stack([self.slots, self.starts], axis=1)
        return {"lengths": self.lengths, "seeds": self.seeds, "origin": origin}


def journal_path(path: Path | str) -> Path:
    """The journal that lies beside a log while it is being collected."""
    path = Path(path)
    return path.with_name(path.name + SUFFIX)


class Journal:
    """An open journal. Made by `create` or `resume`; `append` commits episodes."""

    def __init__(
        self, path: Path, header: JournalHeader, file: BinaryIO, blocks: list[tuple[int, bytes]], end: int
    ) -> None:
        self.path = path
        self.header = header
        self._file = file
        self._blocks = blocks  # where each payload begins, and its episodes' integers
        self._end = end  # of the last whole block
        self._columns = [(c.name, c.dtype, c.shape, c.per == "frame") for c in header.columns]

    @classmethod
    def create(cls, path: Path | str, header: JournalHeader) -> Journal:
        """A new journal; one that is there already is not overwritten."""
        path = Path(path)
        if path.exists():
            raise UserError(f"{path}: an unfinished collection lies there; resume it or remove the file")
        text = dump_json(header.to_json())
        with replacing(path) as draft:
            draft.write_bytes(_frame(_HEADER, 0, text))
        return cls.resume(path)

    @classmethod
    def resume(cls, path: Path | str) -> Journal:
        """The journal of a collection that was cut short, with the torn tail removed."""
        path = Path(path)
        file = _open(path, "r+b")
        try:
            lock(file, f"{path}: another process is collecting into it; wait for it or name another file")
            header, blocks, end = _scan(file, path)
            if file.seek(0, os.SEEK_END) != end:
                file.truncate(end)
            file.seek(end)
        except BaseException:
            file.close()
            raise
        return cls(path, header, file, blocks, end)

    @property
    def index(self) -> Index:
        """The episodes committed so far."""
        return _index(self.header.columns, self._blocks)

    def append(self, block: Block) -> None:
        """Commit whole episodes with one write."""
        count = len(block.lengths)
        meta = np.array((block.lengths, block.seeds, block.slots, block.starts), np.int64).tobytes()
        steps = int(block.lengths.sum())
        parts = [meta]
        for name, dtype, shape, per_frame in self._columns:
            array = block.columns[name]
            if array.dtype != dtype or array.shape != (steps + count if per_frame else steps, *shape):
                rows = steps + count if per_frame else steps
                raise UserError(f"{name}: expected {dtype} {(rows, *shape)}, found {array.dtype} {array.shape}")
            parts.append(array.tobytes())
        frame = _frame(_BLOCK, count, b"".join(parts))
        try:
            written = self._file.write(frame)
        except OSError as error:
            self._file.truncate(self._end)
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); free some space and resume") from error
        if written != len(frame):  # a full disk takes a part without a word
            self._file.truncate(self._end)
            raise UserError(f"{self.path}: the disk took {written} of {len(frame)} bytes; free some space and resume")
        self._blocks.append((self._end + _START, meta))
        self._end += len(frame)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def finish(
    journal: Journal,
    path: Path | str,
    head: Head | None = None,
    order: Array | None = None,
    last_steps: int | None = None,
    compress: bool = False,
) -> None:
    """Turn the journal into a log at `path`, in bounded memory, then remove it.

    `head` replaces the one of the header; `order` says which committed episodes enter, and in which order;
    `last_steps` cuts the last of them after so many steps; `compress` packs the log.
    """
    index = journal.index
    order = np.arange(index.episodes) if order is None else np.asarray(order, np.int64)
    if last_steps is not None:
        lengths = index.lengths.copy()
        lengths[order[-1]] = last_steps
        index = replace(index, lengths=lengths)
    if not len(order):
        raise UserError(f"{journal.path}: holds no whole episode yet; resume the collection")
    steps = int(index.lengths[order].sum())
    episodes = index.columns()
    whole = [Column(name, array.dtype, array.shape[1:], "episode") for name, array in episodes.items()]
    columns = [*journal.header.columns, *whole]
    with log_writer(Path(path), head or journal.header.head, columns, steps, len(order), compress) as writer:
        for name, array in episodes.items():
            writer.append(name, array[order])
        with _mapped(journal.path) as content:
            for column in journal.header.columns:
                cut = last_steps is not None and column.name == "truncations"
                with closing(_pieces(content, column, index, order)) as pieces:
                    for piece in _ending_true(pieces) if cut else pieces:
                        writer.append(column.name, piece)
    journal.close()
    journal.path.unlink()


def _ending_true(pieces: Iterable[Array]) -> Iterator[Array]:
    """The same pieces, with True in the very last row."""
    held: Array | None = None
    for piece in pieces:
        if held is not None:
            yield held
        held = piece
    if held is not None:
        held[-1] = True
        yield held


def read_journal(path: Path | str) -> Log:
    """The whole episodes of an unfinished collection as a log; its provenance says that it is unfinished."""
    columns = read_journal_columns(path)
    if columns.head is None or not len(columns.arrays["lengths"]):
        raise UserError(f"{path}: holds no whole episode yet; resume the collection")
    return to_log(columns.head, columns.arrays, path)


def read_journal_columns(path: Path | str) -> Columns:
    """The same as columns, unchecked."""
    path = Path(path)
    with _open(path, "rb") as file:
        header, blocks, _ = _scan(file, path)
    index = _index(header.columns, blocks)
    arrays = index.columns()
    order = np.arange(index.episodes)
    with _mapped(path) as content:
        for column in header.columns:
            with closing(_pieces(content, column, index, order)) as found:
                pieces = list(found)
            arrays[column.name] = np.concatenate(pieces) if pieces else np.zeros((0, *column.shape), column.dtype)
    return Columns(str(path), header.head.noting(unfinished=True), arrays)


def _frame(magic: bytes, episodes: int, payload: bytes) -> bytes:
    sizes = _FRAME.pack(magic, len(payload), episodes)
    return b"".join((sizes, _SUM.pack(zlib.crc32(payload, zlib.crc32(sizes))), payload))


def _open(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode, buffering=0)  # type: ignore[return-value]
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror})") from error


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _scan(file: BinaryIO, path: Path) -> tuple[JournalHeader, list[tuple[int, bytes]], int]:
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    first = _read_frame(file, _HEADER, size)
    if first is None:
        raise UserError(f"{path}: expected the journal of a collection, found damage in its first bytes; collect again")
    header = _header(first[1], path)
    blocks: list[tuple[int, bytes]] = []
    end = file.tell()
    while (frame := _read_frame(file, _BLOCK, size)) is not None:
        count, payload = frame
        if not _fits(header.columns, count, payload):
            break
        blocks.append((end + _START, payload[: 8 * _META * count]))
        end = file.tell()
    return header, blocks, end


def _read_frame(file: BinaryIO, magic: bytes, size: int) -> tuple[int, bytes] | None:
    """Episodes and payload of the frame that begins here; None where none does, or where it is torn."""
    start = file.read(_START)
    if len(start) < _START:
        return None
    found, length, episodes = _FRAME.unpack_from(start)
    if found != magic or length > size - file.tell():
        return None
    payload = file.read(length)
    if (
        len(payload) < length
        or zlib.crc32(payload, zlib.crc32(start[: _FRAME.size])) != _SUM.unpack_from(start, _FRAME.size)[0]
    ):
        return None
    return episodes, payload


def _header(text: bytes, path: Path) -> JournalHeader:
    try:
        value = json.loads(text)
        if value.get("version") != VERSION:
            raise UserError(f"expected version {VERSION} of the journal, found {value.get('version')}")
        columns = tuple(Column.from_json(column) for column in value["columns"])
        return JournalHeader(Head.from_json(value["log"]), columns, dict(value["settings"]))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: expected the header of a journal, found damage ({error}); collect again") from error


def _fits(columns: Sequence[Column], count: int, payload: bytes) -> bool:
    """Whether the sizes that a block states are those of its payload."""
    if not 1 <= count <= len(payload) // (8 * _META):
        return False
    lengths = np.frombuffer(payload, np.int64, count)
    if lengths.min() < 1 or lengths.max() > len(payload):
        return False
    steps = int(lengths.sum())
    return len(payload) == 8 * _META * count + sum(column.rows(steps, count) * column.row_bytes for column in columns)


def _index(columns: Sequence[Column], blocks: list[tuple[int, bytes]]) -> Index:
    counts = np.array([len(meta) // (8 * _META) for _, meta in blocks], np.int64)
    metas = [np.frombuffer(meta, np.int64).reshape(_META, -1) for _, meta in blocks]
    lengths, seeds, slots, starts = np.concatenate(metas, axis=1) if metas else np.zeros((_META, 0), np.int64)
    block = np.repeat(np.arange(len(blocks)), counts)  # [M] the block of each episode
    first = (np.cumsum(counts) - counts)[block]  # [M] the first episode of the same block
    before = np.cumsum(lengths) - lengths  # [M] steps of all earlier episodes
    steps_before = before - before[first]  # [M] of those in the same block
    frames_before = steps_before + np.arange(len(lengths)) - first
    steps = np.bincount(block, lengths, len(blocks)).astype(np.int64)  # [blocks]
    begin = np.array([start for start, _ in blocks], np.int64) + 8 * _META * counts
    offsets: dict[str, Array] = {}
    for column in columns:
        within = frames_before if column.per == "frame" else steps_before
        offsets[column.name] = begin[block] + within * column.row_bytes
        begin = begin + (steps + counts if column.per == "frame" else steps) * column.row_bytes
    return Index(lengths, seeds, slots, starts, offsets)


def _pieces(content: mmap.mmap, column: Column, index: Index, order: Array) -> Generator[Array]:
    """The rows of one column, a whole number of chunks at a time."""
    rows, size = index.lengths[order] + (column.per == "frame"), column.row_bytes
    chunk = chunk_rows((1, *column.shape), column.dtype.itemsize)
    wanted = chunk * max(1, math.ceil(_PIECE / max(1, chunk * size)))
    parts: list[memoryview] = []
    held = 0
    view = memoryview(content)
    try:
        for offset, count in zip(index.offsets[column.name][order].tolist(), rows.tolist(), strict=True):
            done = 0
            while done < count:  # an episode may be longer than a piece
                take = min(count - done, wanted - held)
                start = offset + done * size
                parts.append(view[start : start + take * size])
                done, held = done + take, held + take
                if held == wanted:
                    yield _rows(parts, held, column)
                    parts, held = [], 0
        if held:
            yield _rows(parts, held, column)
    finally:
        parts.clear()
        view.release()


def _rows(parts: Sequence[memoryview], rows: int, column: Column) -> Array:
    raw = np.frombuffer(bytearray().join(parts), np.uint8)
    for part in parts:
        part.release()
    if column.dtype == np.bool_ and raw.max(initial=0) > 1:
        raise UserError(f"{column.name}: expected 0 or 1, found {raw.max()}")
    return raw.view(column.dtype).reshape(rows, *column.shape)
