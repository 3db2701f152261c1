"""Logs read and written window by window: whatever their size, a few megabytes are held at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5d

from fqi.datasets import store
from fqi.datasets.columns import (
    OPTIONAL,
    REQUIRED,
    Column,
    Head,
    arguments,
    columns_of,
    head_of,
    leaf_name,
    per,
    to_log,
)
from fqi.datasets.format import Format
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.datasets.load import resolve
from fqi.datasets.store import dataset_names, read_head
from fqi.datasets.writer import LogWriter, chunk_rows, log_writer
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, leaf_spaces

_WINDOW = 8 << 20  # bytes read at a time
Rows = Callable[[str, int, int], Array]  # column, first row, row after the last


@dataclass(frozen=True)
class Source:
    """A log that is there, of which rows can be had."""

    reference: str
    head: Head
    columns: tuple[Column, ...]  # per frame and per step
    lengths: Array  # [M]
    seeds: Array | None
    origin: Array | None
    rows: Rows
    form: Format

    @property
    def steps(self) -> int:
        return int(self.lengths.sum())

    @property
    def episodes(self) -> int:
        return len(self.lengths)

    def has(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def pieces(self, name: str) -> Iterator[tuple[int, Array]]:
        """One column from its beginning: the first row of each piece, and the piece."""
        column = next(column for column in self.columns if column.name == name)
        total = column.rows(self.steps, self.episodes)
        many = max(1, _WINDOW // max(1, column.row_bytes))
        for start in range(0, total, many):
            yield start, self.rows(name, start, min(start + many, total))


@dataclass(frozen=True)
class Window:
    """Whole episodes, or a part of one that is too long to be held."""

    first: int  # episode
    last: int  # episode after the last
    steps: slice
    frames: slice  # without the frame in which a part ends, unless the episode does, too
    ends: bool  # whether its last step is the last of its episode


@contextlib.contextmanager
def source(reference: str | Path, log: Log | None = None) -> Iterator[Source]:
    """The log of this name, of whose own format only what is asked for is read; others are held in memory."""
    name, form = resolve(reference) if log is None else (str(reference), store.FORMAT)
    if log is None and form is store.FORMAT and Path(name).is_file():
        with opened(Path(name), whole_rows=True) as file:
            yield _stored(name, file)
        return
    yield held(name, form, form.read(name) if log is None else log)


def held(reference: str, form: Format, log: Log) -> Source:
    arrays = columns_of(log)
    columns = tuple(
        Column(name, array.dtype, array.shape[1:], per(name))
        for name, array in arrays.items()
        if per(name) != "episode"
    )
    return Source(
        reference, head_of(log), columns, log.lengths, log.seeds, log.origin, lambda n, a, b: arrays[n][a:b], form
    )


def _stored(name: str, file: SafeFile) -> Source:
    head = read_head(file)
    datasets: dict[str, tuple[h5d.DatasetID, tuple[int, ...], np.dtype[Any]]] = {}
    for column in dataset_names(file):
        with file.damage(column):
            datasets[column] = (file.dataset(column), *file.check_rows(column))
    known = {*map(leaf_name, leaf_spaces(head.observation_space)), *REQUIRED, *OPTIONAL}
    missing = [c for c in [*map(leaf_name, leaf_spaces(head.observation_space)), *REQUIRED] if c not in datasets]
    if missing:
        raise UserError(f"{name}: expected the column {missing[0]}, found only {sorted(datasets)}")

    def rows(column: str, first: int, last: int) -> Array:
        dataset, shape, dtype = datasets[column]
        with file.damage(column):
            return file.read_rows(dataset, column, first, (last - first, *shape[1:]), dtype)

    def whole(column: str) -> Array | None:
        return rows(column, 0, datasets[column][1][0]) if column in datasets else None

    lengths = whole("lengths")
    if lengths is None or lengths.ndim != 1 or lengths.dtype.kind != "i" or not len(lengths) or lengths.min() < 1:
        raise UserError(f"{name}: lengths: expected at least one episode, each of a step or more")
    steps, episodes = int(lengths.sum()), len(lengths)
    columns = []
    for column, (_, shape, dtype) in datasets.items():
        if column not in known:
            continue
        found = Column(column, dtype, shape[1:], per(column))
        if not shape or shape[0] != found.rows(steps, episodes):
            expected = f"{found.rows(steps, episodes)} rows for {steps} steps in {episodes} episodes"
            raise UserError(f"{name}: {column}: expected {expected}, found shape {shape}")
        columns.append(found)
    per_step = tuple(column for column in columns if column.per != "episode")
    order = [*map(leaf_name, leaf_spaces(head.observation_space)), *REQUIRED, *OPTIONAL]
    per_step = tuple(sorted(per_step, key=lambda column: order.index(column.name)))
    return Source(name, head, per_step, lengths, whole("seeds"), whole("origin"), rows, store.FORMAT)


def windows(lengths: Array, step_bytes: int) -> Iterator[Window]:
    """The log in order, a few megabytes at a time."""
    most = max(1, _WINDOW // max(1, step_bytes))  # steps
    ends_at = np.cumsum(lengths)
    starts = ends_at - lengths
    episode, count = 0, len(lengths)
    while episode < count:
        begin, length = int(starts[episode]), int(lengths[episode])
        if length > most:
            for a in range(0, length, most):
                b = min(a + most, length)
                frame = begin + episode
                ends = b == length
                frames = slice(frame + a, frame + b + ends)
                yield Window(episode, episode + 1, slice(begin + a, begin + b), frames, ends)
            episode += 1
            continue
        last = int(np.searchsorted(ends_at, begin + most, "right"))
        end = int(starts[last - 1] + lengths[last - 1])
        yield Window(episode, last, slice(begin, end), slice(begin + episode, end + last), True)
        episode = last


def checked_rows(source: Source, window: Window) -> dict[str, Array]:
    """The columns of a window, once they are known to be those of a valid log."""
    arrays = {}
    for column in source.columns:
        rows = window.frames if column.per == "frame" else window.steps
        more = column.per == "frame" and not window.ends  # the frame that a part leads to, to be checked with it
        arrays[column.name] = source.rows(column.name, rows.start, rows.stop + more)
    if window.last - window.first > 1:
        lengths = source.lengths[window.first : window.last]
    else:
        lengths = np.array([window.steps.stop - window.steps.start], np.int64)
    to_check = {**arrays, "lengths": lengths}
    if not window.ends:  # for the check alone, a part is an episode that was cut
        to_check["truncations"] = arrays["truncations"].copy()
        to_check["truncations"][-1] = True
        for name in ("terminations", "truncations"):
            if arrays[name][-1]:
                where = f"{source.reference}: {name}: row {window.steps.stop - 1}"
                raise UserError(f"{where}: expected no end inside an episode, found True")
    try:
        Log(**arguments(source.head, to_check))
    except UserError as error:
        where = f"episodes {window.first} to {window.last - 1}"
        raise UserError(
            f"{source.reference}: {where}: {error}; `fqi data check {source.reference}` lists every fault"
        ) from error
    for column in source.columns:
        if column.per == "frame" and not window.ends:
            arrays[column.name] = arrays[column.name][:-1]
    return arrays


def refuse_loss(path: str, lost: list[str]) -> None:
    raise UserError(f"{path}: this format cannot hold {'; '.join(lost)}; say --lossy to write it without")


@dataclass(frozen=True)
class Output:
    """A log to be written: which episodes of which sources, and how they are changed on the way."""

    path: str
    form: Format
    head: Head
    columns: tuple[Column, ...]  # per frame and per step
    chosen: tuple[Array, ...]  # by source: [M] bool
    seeds: Array | None = None  # of the chosen ones
    origin: Array | None = None
    change: Callable[[int, dict[str, Array]], dict[str, Array]] = lambda _, arrays: arrays
    losing: Callable[[str, list[str]], None] = refuse_loss  # asked before anything is lost
    compress: bool = False


def write(sources: Sequence[Source], outputs: Sequence[Output], listen: Callable[[int], None] | None = None) -> None:
    """Read the sources once, in order, and write every output; all of them appear at the end, or none."""
    done = 0
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(_sink(output, sources)) for output in outputs]
        for number, one in enumerate(sources):
            row_bytes = sum(column.row_bytes for column in one.columns)
            for window in windows(one.lengths, row_bytes):
                picks = [output.chosen[number][window.first : window.last] for output in outputs]
                if any(pick.any() for pick in picks):
                    arrays = checked_rows(one, window)
                    for output, sink, pick in zip(outputs, sinks, picks, strict=True):
                        if pick.any():
                            picked = _picked(one, window, arrays, pick)
                            sink(output.change(number, picked))
                done += window.steps.stop - window.steps.start
                if listen is not None:
                    listen(done)


def _picked(one: Source, window: Window, arrays: dict[str, Array], pick: Array) -> dict[str, Array]:
    if pick.all():
        return arrays
    lengths = one.lengths[window.first : window.last]
    of = {"step": np.repeat(pick, lengths), "frame": np.repeat(pick, lengths + 1)}
    return {column.name: arrays[column.name][of[column.per]] for column in one.columns}


@contextlib.contextmanager
def _sink(output: Output, sources: Sequence[Source]) -> Iterator[Callable[[dict[str, Array]], None]]:
    lengths = np.concatenate([s.lengths[chosen] for s, chosen in zip(sources, output.chosen, strict=True)])
    episodes = {"lengths": lengths.astype(np.int64)}
    episodes |= {} if output.seeds is None else {"seeds": output.seeds}
    episodes |= {} if output.origin is None else {"origin": output.origin}
    if output.form is not store.FORMAT:
        with _held(output, episodes) as take:
            yield take
        return
    whole = [Column(name, array.dtype, array.shape[1:], "episode") for name, array in episodes.items()]
    columns = [*output.columns, *whole]
    steps, count = int(lengths.sum()), len(lengths)
    with log_writer(Path(output.path), output.head, columns, steps, count, output.compress) as writer:
        for name, array in episodes.items():
            writer.append(name, array)
        gathered = {column.name: _Gathered(writer, column) for column in output.columns}

        def take(arrays: dict[str, Array]) -> None:
            for name, one in gathered.items():
                one.append(arrays[name])

        yield take
        for one in gathered.values():
            one.flush()


@contextlib.contextmanager
def _held(output: Output, episodes: dict[str, Array]) -> Iterator[Callable[[dict[str, Array]], None]]:
    """A format that is written from a whole log."""
    parts: list[dict[str, Array]] = []
    yield parts.append
    arrays = {column.name: np.concatenate([part[column.name] for part in parts]) for column in output.columns}
    log = to_log(output.head, {**arrays, **episodes}, output.path)
    lost = output.form.lost(log, output.path) if output.form.lost is not None else []
    if lost:
        output.losing(output.path, lost)
    assert output.form.write is not None
    output.form.write(log, output.path)


class _Gathered:
    """Rows held back until they fill whole chunks, which are written fast."""

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
