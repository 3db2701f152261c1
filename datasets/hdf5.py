"""HDF5 files opened as if a stranger had made them: nothing outside is followed, no size is believed unseen."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5s, h5t

from fqi.errors import UserError
from fqi.nest import Array

# The filters that HDF5 or h5py carry themselves; any other would have to be loaded as a plug-in, which is code.
_OWN_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_DEFLATE_LIMIT = 1100  # deflate cannot shrink by more than 1032:1; what declares more is not data
DAMAGE = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    IndexError,
)


@contextmanager
def damage(path: Path | str) -> Iterator[None]:
    """What a broken file makes the readers raise, said in one sentence."""
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: expected an intact file, found damage ({said}); take another copy or collect it again"
        ) from error


@dataclass
class SafeFile:
    """An open file and how many bytes may still be read from it as plain (unfiltered) data."""

    path: Path
    file: h5py.File
    size: int
    plain_left: int
    memory_left: int
    addresses: dict[bytes, int] = field(default_factory=dict)  # by the name of each object, where its header lies

    def dataset(self, name: str) -> h5d.DatasetID:
        """A dataset by its path in the file."""
        return h5d.open(self.file.id, name.encode())

    def has(self, name: str) -> bool:
        return name in self.file

    def damage(self, name: str) -> AbstractContextManager[None]:
        """Around the reading of one part: what breaks there is said of that part."""
        return damage(f"{self.path}: {name}")

    def text(self, name: str) -> str:
        """A dataset of UTF-8 bytes."""
        return self.read(self.dataset(name), name, expected=np.dtype(np.uint8)).tobytes().decode()

    def attribute(self, owner: str, name: str) -> Any:
        """A single number or text of fixed length; None where there is none.

        Text of varying length is not read: it lies in a heap over which HDF5 can loop for ever when it is damaged.
        """
        thing = h5o.open(self.file.id, owner.encode())
        if not h5a.exists(thing, name.encode()):
            return None
        attribute = h5a.open(thing, name.encode())
        kind = attribute.get_type()
        text = isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()
        if attribute.shape != () or kind.get_size() > 256 or not (text or isinstance(kind, h5t.TypeIntegerID)):
            raise UserError(
                f"{self.path}: {owner}: attribute {name}: expected a number or a short text of fixed length"
            )
        value = np.empty((), attribute.dtype)
        attribute.read(value)
        return bytes(value[()]).decode() if text else int(value)

    def read(self, dataset: h5d.DatasetID, name: str, expected: np.dtype[Any] | None = None) -> Array:
        """All of a dataset of numbers, in native byte order."""
        shape, dtype = self.check(dataset, name)
        if expected is not None and dtype != expected:
            raise UserError(f"{self.path}: {name}: expected {expected}, found {dtype}")
        array = np.empty(shape, dtype)
        self.read_into(dataset, name, array)
        return array

    def read_into(self, dataset: h5d.DatasetID, name: str, array: Array, memory: h5t.TypeID | None = None) -> None:
        """The dataset, already checked, into memory that is there already.

        `memory` saves making HDF5's type of the array anew for every dataset; of booleans, it is the dataset's own.
        """
        if not array.size:
            return
        if array.dtype == np.bool_:  # as the bytes that they are, since only 0 and 1 may be called bool
            raw = array.view(np.int8)
            dataset.read(h5s.ALL, h5s.ALL, raw, mtype=dataset.get_type() if memory is None else memory)
            self.check_flags(name, raw)
        else:
            dataset.read(h5s.ALL, h5s.ALL, array, mtype=memory)

    def check_flags(self, name: str, array: Array, first: int = 0) -> None:
        """Bytes that stand for flags are 0 or 1, and nothing else may be called bool."""
        raw = array.view(np.uint8)
        if raw.max() > 1:
            rows = raw.reshape(len(raw) if raw.ndim else 1, -1).max(axis=1)
            row = int(np.flatnonzero(rows > 1)[0])
            raise UserError(f"{self.path}: {name}: row {first + row}: expected 0 or 1, found {rows[row]}")

    def read_rows(self, dataset: h5d.DatasetID, name: str, first: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Rows, from this one on, of a dataset that was checked."""
        array = np.empty(shape, dtype)
        if not array.size:
            return array
        space = dataset.get_space()
        space.select_hyperslab((first, *(0 for _ in shape[1:])), shape)
        flags = array.dtype == np.bool_
        raw = array.view(np.int8) if flags else array
        dataset.read(h5s.create_simple(shape), space, raw, mtype=dataset.get_type() if flags else None)
        if flags:
            self.check_flags(name, raw, first)
        return array

    def check(self, dataset: h5d.DatasetID, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of a dataset that is safe to read; the file's budget is charged with its bytes."""
        dtype = self.plain_dtype(dataset, name)
        shape = dataset.shape
        self.charge(dataset, name, shape, dtype.itemsize)
        return shape, dtype

    def check_rows(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """As `check`, for a dataset of which only some rows will be in memory."""
        with self.by_rows():
            return self.check(self.dataset(name), name)

    @contextmanager
    def by_rows(self) -> Iterator[None]:
        """Within it no memory is charged, since only some rows of what is checked will be held at a time."""
        before = self.memory_left
        self.memory_left = sys.maxsize
        try:
            yield
        finally:
            self.memory_left = before

    def plain_dtype(self, dataset: h5d.DatasetID, name: str) -> np.dtype[Any]:
        """The dataset's dtype in native byte order; anything but numbers is refused."""
        dtype: np.dtype[Any] = dataset.dtype
        if not plain(dtype):
            raise UserError(f"{self.path}: {name}: expected numbers, found {_type_name(dataset, dtype)}")
        return dtype.newbyteorder("=")

    def charge_decoded(self, name: str, size: int) -> None:
        """Charge the memory that decoding will take."""
        self.memory_left -= size
        if self.memory_left < 0:
            raise UserError(
                f"{self.path}: {name}: needs {size} bytes when decoded, more than this machine's memory holds"
            )

    def charge(self, dataset: h5d.DatasetID, name: str, shape: tuple[int, ...] | None, itemsize: int) -> None:
        """Refuse a dataset whose bytes lie elsewhere, or that declares more than the file can hold."""
        if shape is None:
            raise UserError(f"{self.path}: {name}: expected an array, found an empty dataset")
        settings = dataset.get_create_plist()
        layout = settings.get_layout()
        if layout == h5d.VIRTUAL:
            raise UserError(f"{self.path}: {name}: virtual datasets are refused, since they read other files")
        if layout == h5d.CONTIGUOUS and settings.get_external_count():
            raise UserError(f"{self.path}: {name}: external storage is refused, since it reads other files")
        declared = itemsize
        for extent in shape:
            declared *= extent
        filters = settings.get_nfilters()
        if filters:
            self._charge_filtered(dataset, name, declared, [settings.get_filter(i)[0] for i in range(filters)])
            self._charge_memory(name, declared)
        else:
            if layout == h5d.CHUNKED:
                self._check_chunks(dataset, name, itemsize * math.prod(settings.get_chunk()))
            self.charge_plain(name, declared)

    def _check_chunks(self, dataset: h5d.DatasetID, name: str, chunk: int) -> None:
        """Of a chunk that says it is shorter than it must be, HDF5 would leave the rest as the memory was before."""
        found = dataset.get_storage_size()
        if found % max(1, chunk):
            raise UserError(f"{self.path}: {name}: expected chunks of {chunk} bytes, found {found} bytes in all")

    def charge_plain(self, name: str, declared: int) -> None:
        """Every byte that is read lies in the file once, so all plain data together cannot exceed it."""
        self.plain_left -= declared
        if self.plain_left < 0:
            raise UserError(
                f"{self.path}: {name}: declares {declared} bytes, more than the file's {self.size} bytes can hold"
            )
        self._charge_memory(name, declared)

    def _charge_memory(self, name: str, declared: int) -> None:
        self.memory_left -= declared
        if self.memory_left < 0:
            raise UserError(f"{self.path}: {name}: declares {declared} bytes, more than this machine's memory holds")

    def _charge_filtered(self, dataset: h5d.DatasetID, name: str, declared: int, filters: list[int]) -> None:
        unknown = [code for code in filters if code not in _OWN_FILTERS]
        if unknown:
            raise UserError(f"{self.path}: {name}: filter {unknown[0]} needs a plug-in; expected gzip, lzf or none")
        stored = min(dataset.get_storage_size(), self.size)
        chunk = int(np.prod(dataset.get_create_plist().get_chunk(), dtype=np.float64)) * dataset.dtype.itemsize
        if declared > _DEFLATE_LIMIT * stored or chunk > _DEFLATE_LIMIT * self.size:
            raise UserError(
                f"{self.path}: {name}: declares {max(declared, chunk)} bytes but stores {stored}, beyond compression"
            )


def plain(dtype: np.dtype[Any]) -> bool:
    """Whether values of this dtype are numbers and nothing that points elsewhere."""
    return dtype.kind in "biuf" and dtype.subdtype is None and dtype.names is None


def _type_name(dataset: h5d.DatasetID, dtype: np.dtype[Any]) -> str:
    kinds = {
        h5t.VLEN: "rows of unequal length",
        h5t.REFERENCE: "references",
        h5t.STRING: "text",
        h5t.OPAQUE: "opaque bytes",
    }
    return kinds.get(dataset.get_type().get_class(), str(dtype))


def memory_bytes() -> int:
    """The machine's memory: what asks for more than that cannot be honest."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not told on this system
        return 64 << 30


@contextmanager
def opened(path: Path, whole_rows: bool = False, links_known: bool = False) -> Iterator[SafeFile]:
    """The file for reading, once all its links have been looked at and none leaves it.

    `links_known` is for a process that helps another, which looked at them before.

    Where chunks hold whole rows, reading is fastest without HDF5's cache of chunks: bytes go straight to their place.
    Where they split rows it is slowest so, since every piece of a row is then fetched from the file by itself.
    """
    if path.is_dir():
        raise UserError(f"{path}: expected an HDF5 file, found a folder")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with damage(path):
        if not h5py.is_hdf5(path):
            found = "an empty file" if path.stat().st_size == 0 else "another kind of file"
            raise UserError(f"{path}: expected an HDF5 file, found {found}")
        with h5py.File(path, "r", rdcc_nbytes=0 if whole_rows else 4 << 20, locking="best-effort") as file:
            addresses = {} if links_known else _refuse_links(file, path)
            size = path.stat().st_size
            yield SafeFile(path, file, size, size, memory_bytes(), addresses)


def _refuse_links(file: h5py.File, path: Path) -> dict[bytes, int]:
    """Where the objects lie, if all of them lie in the file."""
    addresses: dict[bytes, int] = {}

    def leaves_file(name: bytes, info: h5l.LinkInfo) -> tuple[bytes, int] | None:
        if info.type != h5l.TYPE_HARD:
            return name, info.type
        addresses[name] = info.u
        return None

    found = file.id.links.visit(leaves_file, info=True)
    if found is not None:
        name, kind = found
        what = "soft link" if kind == h5l.TYPE_SOFT else "link to another file"
        raise UserError(
            f"{path}: {name.decode(errors='replace')}: a {what} is refused; expected data in the file itself"
        )
    return addresses
