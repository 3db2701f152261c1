"""Files of text, perhaps compressed, read piece by piece: a small file cannot take much memory or time."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from fqi.errors import UserError

LONGEST = 1 << 25  # characters in one line: a list of a million numbers has fewer
_PIECE = 1 << 20
_GENEROUS = 8 << 20  # a file may hold so much however small it is
_RATIO = 250  # beyond that, logs compress this well at most; what claims more is made to fill memory


class TooLargeError(UserError):
    """A table of which more would have to be held than may be."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(
            f"{path}: holds more than the {most:,} bytes (half of this machine's memory) of a table that may be held; "
            "one with lists of legal actions is read in parts only if its rows are in order and its mapping states "
            "its spaces, its provenance and what the lists mean"
        )


def pieces(path: Path, most: int | None = None) -> Iterator[str]:
    """Runs of whole lines, about a megabyte each, without the mark that some programs put first.

    All of the text together may take `most` bytes, where somebody holds what is made of it.
    """
    size = path.stat().st_size
    limit = max(_GENEROUS, _RATIO * size)
    taken, line, rest, first = 0, 0, "", True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(path) as file:
        while True:
            raw = _read(file, path)
            taken += len(raw)
            if taken > limit:
                raise UserError(f"{path}: holds more than {limit:,} bytes when unpacked, which no log of its size does")
            if most is not None and taken > most:
                raise TooLargeError(path, most)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                where = line + raw[: error.start].count(b"\n") + 1
                raise UserError(f"{path}: line {where}: expected text in UTF-8, found {error.reason}") from None
            line += raw.count(b"\n")
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            head, newline, tail = text.rpartition("\n")
            if newline:
                if rest or head.strip():  # millions of blank lines are read at once
                    yield f"{rest}{head}\n"
                rest = tail
            else:
                rest += tail
            if len(rest) > LONGEST:
                raise UserError(
                    f"{path}: line {line + 1}: is longer than {LONGEST:,} characters, which no row of a log is"
                )
            if not raw:
                break
    if rest:
        yield rest


def lines(path: Path, most: int | None = None) -> Iterator[str]:
    """Every line, with its end."""
    return itertools.chain.from_iterable(io.StringIO(text, newline="") for text in pieces(path, most))


def _opened(path: Path) -> IO[bytes]:
    try:
        if path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(file: IO[bytes], path: Path) -> bytes:
    try:
        return file.read(_PIECE)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{path}: expected an intact file, found damage ({error}); take another copy") from error
