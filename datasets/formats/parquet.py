"""Parquet: its columns as cells, and back. pyarrow is an extra."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.formats.cells import Column
from fqi.datasets.formats.texts import TooLargeError
from fqi.datasets.hdf5 import memory_bytes
from fqi.errors import UserError
from fqi.nest import Array

MAPPING_KEY = b"fqi-mapping"
_BLOCK = 1 << 14  # rows that are converted at once
_BYTES = 8 << 20  # of them at most


def names(path: Path) -> tuple[list[str], dict[str, str]]:
    """The columns, and of each the first value of the first rows."""
    with _opened(path) as file:
        _check(file, path)
        batch = next(file.iter_batches(batch_size=1), None)
        first = {} if batch is None or not batch.num_rows else batch.slice(0, 1).to_pylist()[0]
        samples = {name: str(value)[:40] for name, value in first.items() if value is not None}
        return list(file.schema_arrow.names), samples


def mapping_text(path: Path) -> bytes | None:
    """The mapping that the file carries."""
    with _opened(path) as file:
        found: bytes | None = (file.schema_arrow.metadata or {}).get(MAPPING_KEY)
        return found


def feed(path: Path, columns: Mapping[str, Column], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Hand the wanted columns their cells, some rows at a time, and name all columns; `most` bytes may be held."""
    with _opened(path) as file:
        size = _check(file, path, most)
        known = tuple(file.schema_arrow.names)
        many = max(1, min(_BLOCK, _BYTES * file.metadata.num_rows // max(1, size)))
        for group in range(file.metadata.num_row_groups):  # all at once are kept until the last is read
            for batch in file.iter_batches(many, [group], columns=list(columns)):
                for name, column in columns.items():
                    _take(column, batch.column(batch.schema.names.index(name)))
                yield known
        rows = file.metadata.num_rows
    if any(column.rows != rows for column in columns.values()):
        raise UserError(f"{path}: states {rows} rows, but its columns hold another number")


def _check(file: Any, path: Path, most: int | None = None) -> int:
    """Refuse what would not fit in memory before it is read, and columns that share a name; the bytes declared."""
    names = file.schema_arrow.names
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UserError(f"{path}: two columns are called {twice!r}; every column needs a name of its own")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    size = sum(int(group.total_byte_size) for group in groups)
    if most is not None and max(size, file.metadata.num_rows) > most:
        raise TooLargeError(path, most)
    if max((group.total_byte_size for group in groups), default=0) > memory_bytes():
        raise UserError(f"{path}: declares a group of rows of more bytes than this machine's memory holds")
    return size


def _take(column: Column, chunk: Any) -> None:
    """One batch of one column: as an array where it is one already, else as values."""
    pa = _arrow()

    kind = chunk.type
    if pa.types.is_dictionary(kind):
        chunk, kind = chunk.dictionary_decode(), kind.value_type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if plain:
        present = None
        if chunk.null_count:
            present = np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False))
            chunk = chunk.fill_null(False if pa.types.is_boolean(kind) else 0)
        column.numbers(np.asarray(chunk.to_numpy(zero_copy_only=False)), present)
        return
    if column.kind != "list" and not chunk.null_count and _is_list(kind) and len(chunk):
        array = _rectangle(chunk)
        if array is not None:
            column.numbers(array)
            return
    if pa.types.is_map(kind):
        column.values([None if cell is None else dict(cell) for cell in chunk.to_pylist()])
        return
    known = _is_list(kind) or pa.types.is_struct(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (known or pa.types.is_null(kind)):
        raise UserError(f"{column.source}: column {column.name}: expected numbers, texts, lists or maps, found {kind}")
    column.values(chunk.to_pylist())


def _is_list(kind: Any) -> bool:
    pa = _arrow()

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _rectangle(chunk: Any) -> Array | None:
    """Lists of one shape as one array, without a Python object a number; None where they differ."""
    pa = _arrow()

    shape = [len(chunk)]
    while _is_list(chunk.type):
        if chunk.null_count:
            return None
        inner = chunk.flatten()
        rows = len(chunk)
        if not rows or len(inner) % rows:
            return None
        if (
            not pa.types.is_fixed_size_list(chunk.type)
            and (np.asarray(chunk.value_lengths().to_numpy(zero_copy_only=False)) != len(inner) // rows).any()
        ):
            return None
        shape.append(len(inner) // rows)
        chunk = inner
    number = pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type) or pa.types.is_boolean(chunk.type)
    if chunk.null_count or not number:
        return None
    return np.asarray(chunk.to_numpy(zero_copy_only=False)).reshape(shape)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pyarrow, parquet = _library(path)
    try:
        with parquet.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
            yield file
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: expected an intact Parquet file, found damage ({said}); take another copy") from error


def _library(path: Path) -> tuple[Any, Any]:
    try:
        return _arrow(), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(f'{path}: Parquet needs pyarrow, which is not installed: pip install "fqi[parquet]"') from error


def _arrow() -> Any:
    """The library, by name, since it need not be there."""
    return importlib.import_module("pyarrow")


class Writer:
    """Writes columns of numbers, of any shape a row, and of words."""

    def __init__(self, draft: Path, mapping: str) -> None:
        self._arrow, self._parquet = _library(draft)
        self._draft, self._mapping = draft, mapping
        self._writer: Any = None

    def rows(
        self, names: Sequence[str], columns: Sequence[Array | Sequence[str]], present: Sequence[Array | None]
    ) -> None:
        arrays = [self._array(c, there) for c, there in zip(columns, present, strict=True)]
        batch = self._arrow.table(arrays, names=list(names))
        if self._writer is None:
            schema = batch.schema.with_metadata({MAPPING_KEY: self._mapping.encode()})
            self._writer = self._parquet.ParquetWriter(
                self._draft, schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(batch.cast(self._writer.schema))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def _array(self, column: Array | Sequence[str], there: Array | None) -> Any:
        arrow = self._arrow
        if not isinstance(column, np.ndarray):
            return arrow.array(column, arrow.string())
        inner = arrow.array(np.ascontiguousarray(column).reshape(-1))
        if column.ndim == 1:
            return inner if there is None else arrow.array(column, mask=~there)
        mask = None if there is None else arrow.array(~there)
        for axis in range(column.ndim - 1, 0, -1):
            inner = arrow.FixedSizeListArray.from_arrays(inner, column.shape[axis], mask=mask if axis == 1 else None)
        return inner
