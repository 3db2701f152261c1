"""Arrays in .npy and .npz files, read without unpickling and with every size checked before memory is taken."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from fqi.datasets.forward import forward
from fqi.datasets.hdf5 import damage, memory_bytes, plain
from fqi.datasets.strips import Strip
from fqi.datasets.windows import rows_at_once
from fqi.errors import UserError
from fqi.nest import Array

DEFLATE_LIMIT = 1100  # deflate cannot shrink by more than 1032:1; what declares more is not data
_PIECE = 1 << 20
_LONGEST_HEADER = 10_000  # as numpy itself allows where it must not trust
_SLACK = 1 << 16  # headers of small members compress well
_ROWS_HELD = 4  # where a row is larger than what is read at a time: those kept, read and put together


@dataclass(frozen=True)
class Header:
    """What an array in a file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], where: str) -> Header:
    """The header of an .npy file; the data follow.

    numpy's own reader mends headers of Python 2 by their tokens, which fails in ways of its own.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise UserError(f"{where}: expected an array of numbers in numpy's format, found {start!r}")
    size = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
    text = file.read(size) if size <= _LONGEST_HEADER else b""
    try:
        said = ast.literal_eval(text.decode("latin-1").strip())
        shape, fortran, descr = (said.pop(key) for key in ("shape", "fortran_order", "descr"))
        extents = all(isinstance(extent, int) and not isinstance(extent, bool) and extent >= 0 for extent in shape)
        if len(text) < size or said or not isinstance(shape, tuple) or len(shape) > 32 or not extents:
            raise ValueError(f"shape {str(shape)[:80]}")
        if not isinstance(fortran, bool) or not isinstance(descr, str | list):
            raise ValueError("no dtype")
        dtype = np.dtype(descr) if isinstance(descr, str) else np.dtype([("", object)])  # records are refused later
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{where}: expected an array of numpy's with a shape, found damage ({_first_line(error)})"
        ) from error
    return Header(shape, dtype, fortran)


def fill(file: IO[bytes], array: Array, where: str) -> None:
    """The bytes that follow, into memory that is there already, piece after piece."""
    view = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        piece = file.read(min(_PIECE, len(view) - done))
        if not piece:
            raise UserError(f"{where}: expected {len(view)} bytes of data, found {done}; the file was cut")
        view[done : done + len(piece)] = piece
        done += len(piece)


def checked_dtype(header: Header, where: str) -> np.dtype[Any]:
    """The dtype of numbers; anything else is refused."""
    if header.dtype.hasobject:
        raise UserError(f"{where}: expected numbers, found Python objects, which are never unpickled")
    if not plain(header.dtype) or header.dtype.itemsize > 8:
        raise UserError(f"{where}: expected numbers, found {str(header.dtype)[:80]}")
    return header.dtype


def as_bool(raw: Array, where: str, before: int = 0) -> Array:
    """Bytes that claim to be booleans, which only 0 and 1 may, of an array of which so many values came before."""
    values = raw.reshape(-1).view(np.uint8)
    bad = np.flatnonzero(values > 1)
    if len(bad):
        raise UserError(f"{where}: value {before + bad[0]}: expected 0 or 1, found {values[bad[0]]}")
    return raw.view(np.bool_)


@dataclass
class Archive:
    """An open .npz file and how much memory its arrays may still take."""

    path: Path
    zip: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    memory_left: int
    declared_left: int

    @property
    def names(self) -> set[str]:
        return set(self.members)

    def header(self, name: str) -> Header:
        """What an array says of itself, its data unread."""
        self._check(name)
        with self._opened(name) as file:
            return read_header(file, self._where(name))

    def read(self, name: str) -> Array:
        """An array of numbers, in native byte order."""
        self._check(name)
        with self._data(name) as (header, file):
            self._hold(name, header.nbytes)
            array = np.empty(header.shape[::-1] if header.fortran else header.shape, header.dtype)
            fill(file, array, self._where(name))
            self._refuse_more(name, file)
            array = _native(array, self._where(name))
            return array.T if header.fortran else array

    def rows(self, name: str) -> Strip:
        """The same by rows; it is unpacked once, so that damage is found before anything is made of it.

        An array that lies column by column is held, and one without numbers costs nothing.
        """
        self._check(name)
        with self._data(name) as (header, _):
            pass
        if not (header.shape and header.nbytes) or (header.fortran and len(header.shape) > 1):
            return Strip.of(self.read(name))
        self._hold(name, min(header.nbytes, _ROWS_HELD * (header.nbytes // header.shape[0])))
        strip = forward(header.shape, header.dtype.newbyteorder("="), lambda: self._pieces(name))
        for _ in strip.pieces():
            pass
        return strip

    def _pieces(self, name: str) -> Iterator[Array]:
        where = self._where(name)
        with self._data(name) as (header, file):
            count, size = header.shape[0], header.nbytes // header.shape[0]
            step = rows_at_once(size)
            for first in range(0, count, step):
                piece = np.empty((min(step, count - first), *header.shape[1:]), header.dtype)
                fill(file, piece, where)
                if first + len(piece) == count:
                    self._refuse_more(name, file)
                yield _native(piece, where, first * size)

    def _where(self, name: str) -> str:
        return f"{self.path}: {name}"

    def _check(self, name: str) -> None:
        """Refuse a member that is not packed as numpy does, or that declares more than the file can hold."""
        member, where = self.members[name], self._where(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{where}: expected a member that is stored or deflated, found another compression")
        if member.file_size > DEFLATE_LIMIT * member.compress_size + _SLACK:
            raise UserError(
                f"{where}: declares {member.file_size} bytes but stores {member.compress_size}, beyond compression"
            )
        if member.file_size > self.declared_left:
            raise UserError(f"{where}: declares {member.file_size} bytes, more than this file can hold")
        self.declared_left -= member.file_size

    def _hold(self, name: str, size: int) -> None:
        """Charge the memory that is taken for as long as the archive is open."""
        if size > self.memory_left:
            raise UserError(
                f"{self._where(name)}: needs {size} bytes, which with the arrays before it are more than the "
                f"{memory_bytes() // 2} bytes (half of this machine's memory) that packed arrays may take at once"
            )
        self.memory_left -= size

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        """One member; what is wrong with it is said of it."""
        where = self._where(name)
        with damage(where), _zip_damage(where), self.zip.open(self.members[name]) as file:
            yield file

    @contextmanager
    def _data(self, name: str) -> Iterator[tuple[Header, IO[bytes]]]:
        """The header of an array of numbers, and the file where its data begin."""
        where, size = self._where(name), self.members[name].file_size
        with self._opened(name) as file:
            header = read_header(file, where)
            checked_dtype(header, where)
            if header.nbytes != size - file.tell():
                raise UserError(
                    f"{where}: expected {size - file.tell()} bytes of data as in the archive, found a shape of "
                    f"{header.nbytes}"
                )
            yield header, file

    def _refuse_more(self, name: str, file: IO[bytes]) -> None:
        if file.read(1):  # also makes the archive's checksum be compared
            raise UserError(f"{self._where(name)}: expected an end after the data, found more")


def _native(array: Array, where: str, before: int = 0) -> Array:
    """Numbers in native byte order, flags as such."""
    if array.dtype == np.bool_:
        return as_bool(array, where, before)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def _zip_damage(where: str) -> Iterator[None]:
    import zlib

    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{where}: expected an intact archive, found damage ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


@contextmanager
def archive(path: Path) -> Iterator[Archive]:
    """The .npz file for reading."""
    if not path.is_file():
        raise UserError(f"{path}: {'expected an .npz file, found a folder' if path.is_dir() else 'no such file'}")
    size = path.stat().st_size
    with damage(path), _zip_damage(str(path)):
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: expected an .npz file (a zip archive of arrays), found another kind of file")
        # Closing the file itself closes it for rows that somebody began to read, too.
        with path.open("rb") as raw, zipfile.ZipFile(raw) as opened:
            members: dict[str, zipfile.ZipInfo] = {}
            for member in opened.infolist():
                name = member.filename.removesuffix(".npy")
                if name in members:
                    raise UserError(f"{path}: expected each array once, found {name[:80]!r} twice")
                members[name] = member
            # Each array is asked for at most twice, once for its header alone or in vain by rows.
            yield Archive(path, opened, members, memory_bytes() // 2, 2 * DEFLATE_LIMIT * size + 16 * _SLACK)
