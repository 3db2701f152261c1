"""Logs read and written in the own format: one flat, chunked HDF5 file per log."""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from fqi.datasets import journal
from fqi.datasets.columns import (
    OPTIONAL,
    REQUIRED,
    Column,
    Columns,
    Head,
    columns_of,
    head_of,
    leaf_name,
    per,
    to_log,
)
from fqi.datasets.format import Format
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.datasets.source import Outline, Source, Take
from fqi.datasets.stored import StoredFrames, names_on_disk
from fqi.datasets.writer import FORMAT_NAME, VERSION, Gathered, checksum, log_writer
from fqi.errors import UserError
from fqi.frames import as_leaf, pieces
from fqi.log import Log
from fqi.nest import Array, leaf_spaces

NAME = "fqi"
SUFFIX = ".h5"


def write_log(log: Log, path: Path | str) -> None:
    """Write the log so that the file appears whole or not at all."""
    arrays = columns_of(log)
    columns = [Column(name, array.dtype, array.shape[1:], per(name)) for name, array in arrays.items()]
    with log_writer(Path(path), head_of(log), columns, log.steps, log.episodes) as writer:
        for name, array in arrays.items():
            writer.append(name, array)


@contextlib.contextmanager
def log_sink(outline: Outline, path: Path | str, compress: bool = False) -> Iterator[Take]:
    """Where a log is written window by window; its file appears whole or not at all."""
    whole = [Column(name, array.dtype, array.shape[1:], "episode") for name, array in outline.whole.items()]
    columns = [*outline.columns, *whole]
    with log_writer(Path(path), outline.head, columns, outline.steps, outline.episodes, compress) as writer:
        for name, array in outline.whole.items():
            writer.append(name, array)
        kept = {column.name: Gathered(writer, column) for column in outline.columns}

        def take(arrays: dict[str, Array]) -> None:
            for name, one in kept.items():
                one.append(arrays[name])

        yield take
        for one in kept.values():
            one.flush()


@contextlib.contextmanager
def open_log(path: str) -> Iterator[Source]:
    """The log by rows."""
    with opened(Path(path), whole_rows=True) as file:
        yield _by_rows(path, file)


def _by_rows(name: str, file: SafeFile) -> Source:
    head = read_head(file)
    datasets: dict[str, tuple[h5d.DatasetID, tuple[int, ...], np.dtype[Any]]] = {}
    for column in dataset_names(file):
        with file.damage(column):
            datasets[column] = (file.dataset(column), *file.check_rows(column))
    order = [*map(leaf_name, leaf_spaces(head.observation_space)), *REQUIRED, *OPTIONAL]
    missing = [column for column in order if column not in datasets and column not in OPTIONAL]
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
    for column in order:
        if column not in datasets:
            continue
        _, shape, dtype = datasets[column]
        found = Column(column, dtype, shape[1:], per(column))
        if not shape or shape[0] != found.rows(steps, episodes):
            expected = f"{found.rows(steps, episodes)} rows for {steps} steps in {episodes} episodes"
            raise UserError(f"{name}: {column}: expected {expected}, found shape {shape}")
        columns.append(found)
    per_row = tuple(column for column in columns if column.per != "episode")
    return Source(head, per_row, lengths, whole("seeds"), whole("origin"), name, NAME, rows)


def read_log(path: Path | str, verify: bool = False, memory: int | None = None) -> Log:
    """Read a whole log; `verify` also compares every column with its checksum.

    Observations that take more bytes than `memory` stay on disk. Where only the journal of an unfinished collection is
    there, its whole episodes are the log.
    """
    path = Path(path)
    unfinished = journal.journal_path(path)
    if not path.exists() and unfinished.exists():
        return journal.read_journal(unfinished)
    columns = read_unchecked(path, verify, memory)
    for name, (recorded, found) in columns.checksums.items():
        if recorded != found:
            raise UserError(
                f"{path}: {name}: expected checksum {recorded:08x}, found {found:08x}; the file was damaged after it "
                "was written: take another copy or collect it again"
            )
    if columns.head is None:
        raise UserError(f"{path}: expected a header, found none")
    return to_log(columns.head, columns.arrays, path)


def read_unchecked(path: Path, verify: bool = False, memory: int | None = None) -> Columns:
    """The columns of a sound file, before the log's own checks; `verify` also sums them."""
    return _read(path, lenient=False, verify=verify, memory=memory)


def read_columns(path: Path | str) -> Columns:
    """Whatever can be read, and what cannot: never an error about the content."""
    path = Path(path)
    unfinished = journal.journal_path(path)
    try:
        if not path.exists() and unfinished.exists():
            return journal.read_journal_columns(unfinished)
        return _read(path, lenient=True, verify=True)
    except UserError as error:
        return Columns(str(path), problems={"file": str(error)})


def _read(path: Path, lenient: bool, verify: bool, memory: int | None = None) -> Columns:
    columns = Columns(str(path))
    with opened(path, whole_rows=True) as file:
        _check_format(file)
        try:
            columns.head = _head(file)
        except UserError as error:
            if not lenient:
                raise
            columns.problems["header"] = str(error)
        if verify and "header" not in columns.problems:
            columns.checksums["header"] = (_recorded(file, "header"), zlib.crc32(file.text("header").encode()))
        names = dataset_names(file)
        left = names_on_disk(file, names, memory)
        for name in names:
            try:
                with file.damage(name):
                    if name in left:
                        columns.arrays[name] = as_leaf(StoredFrames(file, name, memory or 0))
                    else:
                        columns.arrays[name] = file.read(file.dataset(name), name)
                    if verify:
                        summed = 0
                        for _, piece in pieces(columns.arrays[name]):
                            summed = checksum(piece, summed)
                        columns.checksums[name] = (_recorded(file, name), summed)
            except UserError as error:
                if not lenient:
                    raise
                columns.problems[name] = str(error)
    return columns


def bytes_of(path: Path) -> int:
    """What the columns take in memory; 0 where that cannot be read, or is more than the file can hold."""
    try:
        with opened(path, whole_rows=True) as file:
            for name in (names := dataset_names(file)):
                file.check_rows(name)
            datasets = [file.dataset(name) for name in names]
            return sum(math.prod(dataset.shape or ()) * dataset.dtype.itemsize for dataset in datasets)
    except UserError:
        return 0


def read_head(file: SafeFile) -> Head:
    """The header of an open log of this format."""
    _check_format(file)
    return _head(file)


def _head(file: SafeFile) -> Head:
    try:
        return Head.from_json(json.loads(file.text("header")))
    except (UserError, KeyError, ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, UserError) else f"header: expected JSON, found damage ({error})"
        raise UserError(said if said.startswith(str(file.path)) else f"{file.path}: {said}") from error


def _check_format(file: SafeFile) -> None:
    found = file.attribute("/", "format")
    if found != FORMAT_NAME:
        hint = (
            "its episodes lie in groups, so it may be a Minari dataset: name its folder"
            if file.has("episode_0")
            else "if it is of another layout, say which dataset is what: hdf5:FILE@MAPPING.toml"
        )
        raise UserError(f"{file.path}: expected a file of the format {FORMAT_NAME}, found {found!r}; {hint}")
    version = file.attribute("/", "version")
    if version != VERSION:
        raise UserError(f"{file.path}: expected version {VERSION} of the format, found {version}; another fqi wrote it")


def dataset_names(file: SafeFile) -> list[str]:
    names: list[str] = []

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and name != "header":
            names.append(name)

    file.file.visititems(visit)
    return names


def _recorded(file: SafeFile, name: str) -> int:
    recorded = file.attribute(name, "crc32")
    return -1 if recorded is None else int(recorded)


def _accepts(reference: str) -> bool:
    path = Path(reference)
    return path.is_file() or (bool(path.name) and journal.journal_path(path).is_file())


FORMAT = Format(
    NAME,
    "FILE.h5",
    _accepts,
    read_log,
    read_columns,
    log_sink,
    lambda name: Path(name).suffix == SUFFIX,
    open=open_log,
)
