"""CSV: its columns as cells, and back."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fqi.datasets.formats.cells import Column
from fqi.datasets.formats.texts import LONGEST, lines
from fqi.errors import UserError

_BLOCK = 1 << 12  # rows that are converted at once
_CELLS = 8 << 20  # characters of them at most
_SAMPLED = 50


def names(path: Path) -> tuple[list[str], dict[str, str]]:
    """The columns, and of each the first cell that is not blank."""
    with _reader(path) as (header, reader):
        samples: dict[str, str] = {}
        for row in _block(reader, path, _SAMPLED):
            for name, cell in zip(header, row, strict=False):
                if cell.strip():
                    samples.setdefault(name, cell)
        return header, samples


def feed(path: Path, columns: Mapping[str, Column], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Hand the wanted columns their cells, some rows at a time, and name all columns; see `texts.pieces` for `most`."""
    with _reader(path, most) as (header, reader):
        places = [(header.index(name), column) for name, column in columns.items()]
        width, count, rows = len(header), 0, 1
        first = _block(reader, path, 1)
        rows = max(1, min(_BLOCK, _CELLS // max(1, sum(map(len, first[0]) if first else ()))))
        block = first + _block(reader, path, rows - 1) if rows > 1 else first
        while block:
            if set(map(len, block)) != {width}:
                _refuse_width(block, width, count, path)
            turned = list(zip(*block, strict=True))
            for index, column in places:
                column.texts(turned[index])
            count += len(block)
            yield tuple(header)
            block = _block(reader, path, rows)


def _refuse_width(block: Sequence[list[str]], width: int, before: int, path: Path) -> None:
    row = next(i for i, cells in enumerate(block) if len(cells) != width)
    raise UserError(
        f"{path}: row {before + row + 1}: expected {width} cells as in the header, found {len(block[row])}: "
        f"{','.join(block[row])[:60]!r}"
    )


@contextlib.contextmanager
def _reader(path: Path, most: int | None = None) -> Iterator[tuple[list[str], Any]]:
    before = csv.field_size_limit(LONGEST)
    try:
        source = lines(path, most)
        first = next(source, "")
        separator = max(",;\t", key=first.count)
        reader = csv.reader(itertools.chain([first], source), delimiter=separator, strict=True)
        header = (_block(reader, path, 1) or [[]])[0]
        if not any(name.strip() for name in header):
            raise UserError(f"{path}: expected names of columns in the first line, found {first[:40]!r}")
        twice = next((name for name in header if header.count(name) > 1), None)
        if len(set(header)) < len(header):
            raise UserError(f"{path}: two columns are called {twice!r}; every column needs a name of its own")
        yield header, reader
    finally:
        csv.field_size_limit(before)


def _block(reader: Any, path: Path, count: int) -> list[list[str]]:
    """The next rows, without blank lines; none at the end."""
    try:
        while rows := list(itertools.islice(reader, count)):
            if all(rows) or (rows := [row for row in rows if row]):
                return rows
    except csv.Error as error:
        where = f"{path}: line {reader.line_num}"
        raise UserError(f"{where}: expected separated cells, found damage ({error})") from None
    return []


class Writer:
    """Writes rows of text; a name that ends in .gz is compressed."""

    def __init__(self, draft: Path, compressed: bool, header: Sequence[str]) -> None:
        self._raw = draft.open("wb")
        # Neither name nor time: the same log is the same bytes.
        self._packed = gzip.GzipFile("", "wb", 6, self._raw, mtime=0) if compressed else None
        self._text = io.TextIOWrapper(self._packed or self._raw, "utf-8", newline="")
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(header)

    def rows(self, columns: Sequence[Sequence[str]]) -> None:
        self._csv.writerows(zip(*columns, strict=True))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._text.close()
        finally:
            self._raw.close()
