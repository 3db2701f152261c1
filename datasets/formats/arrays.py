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

from fqi.datasets.hdf5 import damage, memory_bytes, plain
from fqi.errors import UserError
from fqi.nest import Array

DEFLATE_LIMIT = 1100  # deflate cannot shrink by more than 1032:1; what declares more is not data
_PIECE = 1 << 20
_LONGEST_HEADER = 10_000  # as numpy itself allows where it must not trust
_SLACK = 1 << 16  # headers of small members compress well


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


def as_bool(raw: Array, where: str) -> Array:
    """Bytes that claim to be booleans, which only 0 and 1 may."""
    bad = np.flatnonzero(raw.reshape(-1).view(np.uint8) > 1)
    if len(bad):
        raise UserError(f"{where}: value {bad[0]}: expected 0 or 1, found {raw.reshape(-1).view(np.uint8)[bad[0]]}")
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
        with damage(f"{self.path}: {name}"), self._opened(name) as file:
            return read_header(file, f"{self.path}: {name}")

    def read(self, name: str) -> Array:
        """An array of numbers, in native byte order."""
        where = f"{self.path}: {name}"
        with damage(where), _zip_damage(where), self._opened(name) as file:
            header = read_header(file, where)
            dtype = checked_dtype(header, where)
            member = self.members[name]
            if header.nbytes != member.file_size - file.tell():
                raise UserError(
                    f"{where}: expected {member.file_size - file.tell()} bytes of data as in the archive, found a "
                    f"shape of {header.nbytes}"
                )
            array = np.empty(header.shape[::-1] if header.fortran else header.shape, dtype)
            fill(file, array, where)
            if file.read(1):  # also makes the archive's checksum be compared
                raise UserError(f"{where}: expected an end after the data, found more")
            array = as_bool(array, where) if dtype == np.bool_ else array
            return (array.T if header.fortran else array).astype(dtype.newbyteorder("="), copy=False)

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        """One member, once what it declares has been charged."""
        member, where = self.members[name], f"{self.path}: {name}"
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{where}: expected a member that is stored or deflated, found another compression")
        if member.file_size > DEFLATE_LIMIT * member.compress_size + _SLACK:
            raise UserError(
                f"{where}: declares {member.file_size} bytes but stores {member.compress_size}, beyond compression"
            )
        if member.file_size > self.declared_left:
            raise UserError(f"{where}: declares {member.file_size} bytes, more than this file can hold")
        if member.file_size > self.memory_left:
            raise UserError(
                f"{where}: declares {member.file_size} bytes, which with the arrays before it are more than the "
                f"{memory_bytes() // 2} bytes (half of this machine's memory) that packed arrays may take at once"
            )
        self.memory_left -= member.file_size
        self.declared_left -= member.file_size
        with self.zip.open(member) as file:
            yield file


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
        with zipfile.ZipFile(path) as opened:
            members: dict[str, zipfile.ZipInfo] = {}
            for member in opened.infolist():
                name = member.filename.removesuffix(".npy")
                if name in members:
                    raise UserError(f"{path}: expected each array once, found {name[:80]!r} twice")
                members[name] = member
            # Each array is opened at most twice, once for its header alone.
            yield Archive(path, opened, members, memory_bytes() // 2, 2 * DEFLATE_LIMIT * size + 16 * _SLACK)
