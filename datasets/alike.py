"""Many small HDF5 objects that were made alike, taken from the file's own bytes.

HDF5 takes far longer to open a small dataset than to read it. So it opens one of many, the model, and what it says
of it is compared with the model's header. The headers of the others are compared with the model's byte by byte, but for
the places of their sizes and addresses, which are checked by themselves. What is equal needs no opening; all else, and
all that is packed, of another byte order or of newer headers, is left to HDF5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from h5py import h5a, h5d, h5o, h5t

from fqi.datasets.hdf5 import DAMAGE, plain
from fqi.datasets.headers import ATTRIBUTE, DATASPACE, LAYOUT, Image, Pattern, UnlikeError, number, numbers
from fqi.nest import Array

_MODELS = 8  # kinds of objects that are told apart before the others are left to HDF5
_SLICE = 512  # headers compared at a time
_MOST_CHUNKS = 64  # of a dataset: more take another level of HDF5's tree
_NODE = np.frombuffer(b"TREE\x01\x00", np.uint8)  # a tree of chunks that is one leaf
_Made = TypeVar("_Made")


class Datasets:
    """Datasets of numbers that differ in their first extent alone, as far as they could be recognised."""

    def __init__(self, image: Image, names: Sequence[bytes]) -> None:
        count = len(names)
        self._image = image
        self._models: list[_Model] = []
        self._model, self._rows, self._first = (np.full(count, -1, np.int64) for _ in range(3))
        self._chunks: dict[int, tuple[int, ...]] = {}  # of those that have several
        addresses = image.addresses(names)

        def take(model: _Model, some: Array) -> Array:
            found = model.alike(addresses[some])
            chosen = some[found.same]
            self._model[chosen], self._rows[chosen] = self._models.index(model), found.rows[found.same]
            self._first[chosen] = found.first[found.same]
            split = found.same & found.split
            self._chunks |= zip(some[split].tolist(), map(tuple, found.chunk[split].tolist()), strict=True)
            return found.same

        _sorted_out(self._models, lambda i: _Model(image, names[i], int(addresses[i])), take, addresses)
        self.kind, self.rows = self._model, self._rows  # [n] -1 where it was not recognised; of the kinds below
        self.kinds = [(model.row, model.dtype) for model in self._models]  # shape of a row, dtype
        self.begin = np.where(self._model < 0, -1, self._first)  # [n] where all its rows lie together; else -1
        self.begin[list(self._chunks)] = -1

    def like(self, place: int) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Shape and dtype of a dataset that was recognised."""
        which = int(self.kind[place])
        if which < 0:
            return None
        row, dtype = self.kinds[which]
        return (int(self.rows[place]), *row), dtype

    def read(self, place: int, array: Array, start: int = 0) -> bool:
        """Rows, from this one on, of a dataset that was recognised; False if its chunks do not lie as they should."""
        first, chunk = int(self._first[place]), self._chunks.get(place)
        if chunk is not None:
            extents = (int(self.rows[place]), *array.shape[1:])
            return _gather(self._image, first, chunk, extents, start, array)
        raw = array.reshape(-1).view(np.uint8)
        first += start * (array.nbytes // max(1, len(array)))
        raw[...] = self._image.bytes[first : first + len(raw)]
        return True


class Attributes:
    """Whole numbers of eight bytes that groups carry, as far as the groups could be recognised."""

    def __init__(self, image: Image, names: Sequence[bytes], wanted: Mapping[str, tuple[int, ...]]) -> None:
        self._models: list[_Carrier] = []
        self.known = np.zeros(len(names), np.bool_)
        self.present = {name: np.zeros(len(names), np.bool_) for name in wanted}
        self.values = {name: np.zeros((len(names), *shape), np.int64) for name, shape in wanted.items()}
        addresses = image.addresses(names)

        def take(model: _Carrier, some: Array) -> Array:
            same, found = model.alike(addresses[some])
            chosen = some[same]
            self.known[chosen] = True
            for name, values in found.items():
                self.present[name][chosen], self.values[name][chosen] = True, values[same]
            return same

        _sorted_out(self._models, lambda i: _Carrier(image, names[i], int(addresses[i]), wanted), take, addresses)


def _sorted_out(
    models: list[_Made], make: Callable[[int], _Made], take: Callable[[_Made, Array], Array], addresses: Array
) -> None:
    """Take what is like a first one, then what is like the first of those that are left."""
    left = np.flatnonzero(addresses >= 0)
    for _ in range(_MODELS):
        if not len(left):
            return
        try:
            model = make(int(left[0]))
        except (UnlikeError, *DAMAGE):  # HDF5 will say what is wrong when it is asked for this one
            left = left[1:]
            continue
        models.append(model)
        same = np.concatenate([take(model, left[i : i + _SLICE]) for i in range(0, len(left), _SLICE)])
        left = left[~same][not same[0] :]


@dataclass(frozen=True)
class _Alike:
    """[n] each, of datasets beside a model."""

    same: Array  # whether all else holds
    rows: Array
    split: Array  # whether there are several chunks
    first: Array  # where the data begins, or the tree of the chunks
    chunk: Array  # [n, rank] their extents


class _Model:
    """A dataset that HDF5 opened, and whose header says the same."""

    def __init__(self, image: Image, name: bytes, address: int) -> None:
        dataset = h5d.open(image.file.file.id, name)
        shape, kind, created = dataset.shape, dataset.get_type(), dataset.get_create_plist()
        self.row, self.dtype, self._image = shape[1:], dataset.dtype, image
        _expect(bool(shape) and h5o.get_info(dataset).addr == address and not created.get_nfilters())
        _expect(plain(self.dtype) and self.dtype.isnative and kind.equal(h5t.py_create(self.dtype, logical=True)))
        self._pattern = Pattern(image, address)
        self._space, space = self._pattern.one(DATASPACE)
        self._layout, layout = self._pattern.one(LAYOUT)
        rank = len(shape)
        _expect(space[:2] == bytes((1, rank)) and layout[0] == 3)
        _expect(tuple(number(space, 8 + 8 * i) for i in range(rank)) == shape)
        self._pattern.free(self._space, 8, 8)  # rows
        self._row_bytes = math.prod(self.row) * self.dtype.itemsize
        self._chunked = layout[1] == 2
        if self._chunked:
            _expect(created.get_layout() == h5d.CHUNKED and layout[2] == rank + 1)
            stated = tuple(number(layout, 11 + 4 * i, 4) for i in range(rank + 1))
            _expect(stated == (*created.get_chunk(), self.dtype.itemsize))
            self._pattern.free(self._layout, 3, 8 + 4 * rank)
        else:
            _expect(layout[1] == 1 and created.get_layout() == h5d.CONTIGUOUS and not created.get_external_count())
            self._pattern.free(self._layout, 2, 16)
        found = self.alike(np.array([address], np.int64))
        _expect(bool(found.same[0]))
        if not found.split[0]:
            said = dataset.get_chunk_info(0).byte_offset if self._chunked else dataset.get_offset()
            _expect(said == found.first[0])

    def alike(self, addresses: Array) -> _Alike:
        """Which datasets are like the model, and what is their own."""
        same, blocks = self._pattern.compare(self._image, addresses)
        size = len(self._image.bytes)
        rows = numbers(blocks[self._space.block], self._space.at + 8)
        same &= (rows > 0) & (rows <= size // max(1, self._row_bytes)) & (self._row_bytes > 0)
        rows = np.where(same, rows, 1)
        layout, at = blocks[self._layout.block], self._layout.at
        if self._chunked:
            return self._by_chunks(same, rows, layout, at)
        first = numbers(layout, at + 2)
        same &= numbers(layout, at + 10) == rows * self._row_bytes
        same &= (first >= 0) & (first <= size - rows * self._row_bytes)
        return _Alike(same, rows, np.zeros(len(rows), np.bool_), first, rows[:, None])

    def _by_chunks(self, same: Array, rows: Array, layout: Array, at: int) -> _Alike:
        """A single chunk is found at once; of several, how many there are."""
        size, rank = len(self._image.bytes), 1 + len(self.row)
        chunk = np.stack([numbers(layout, at + 11 + 4 * i, 4) for i in range(rank)], axis=1)
        same &= (chunk > 0).all(axis=1) & (chunk.astype(np.float64).prod(axis=1) * self.dtype.itemsize <= size)
        chunk = np.where(same[:, None], chunk, 1)
        extents = np.concatenate((rows[:, None], np.broadcast_to(self.row, (len(rows), rank - 1))), axis=1)
        count = (-(-extents // chunk)).astype(np.float64).prod(axis=1)
        whole = (count == 1) & (chunk[:, 1:] == extents[:, 1:]).all(axis=1)
        tree, key = numbers(layout, at + 3), 8 + 8 * (rank + 1)
        there, node = self._image.at(tree, 24 + key + 8)
        same &= there & (node[:, :6] == _NODE).all(axis=1) & (node[:, 8:24] == 0xFF).all(axis=1)
        same &= (numbers(node, 6, 2) == count) & (count <= _MOST_CHUNKS)
        stored = chunk.prod(axis=1) * self.dtype.itemsize
        data = numbers(node, 24 + key)
        alone = (numbers(node, 24, 4) == stored) & (node[:, 28 : 24 + key] == 0).all(axis=1)
        alone &= (data >= 0) & (data <= size - stored)
        return _Alike(same & (alone | ~whole), rows, ~whole, np.where(whole, data, tree), chunk)


def _gather(
    image: Image, tree: int, chunk: tuple[int, ...], extents: tuple[int, ...], start: int, array: Array
) -> bool:
    """The chunks of a tree that hold rows from this one on, each into its place."""
    rank, size = len(chunk), math.prod(chunk) * array.itemsize
    corners = [np.arange(0, extent, step) for extent, step in zip(extents, chunk, strict=True)]
    grid = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, rank)
    entry = np.dtype([("size", "<u4"), ("mask", "<u4"), ("corner", "<u8", (rank + 1,)), ("data", "<u8")])
    node = image.bytes[tree + 24 : tree + 24 + len(grid) * entry.itemsize].tobytes()
    if len(node) < len(grid) * entry.itemsize:
        return False
    entries = np.frombuffer(node, entry)
    data = entries["data"]
    sound = (entries["size"] == size).all() and not entries["mask"].any() and (data <= len(image.bytes) - size).all()
    if not sound or (entries["corner"][:, :-1] != grid).any() or entries["corner"][:, -1].any():
        return False
    image.touched(data.astype(np.int64))
    for corner, first in zip(grid.tolist(), data.tolist(), strict=True):
        begin, over = max(start, corner[0]), min(start + len(array), corner[0] + chunk[0])
        if begin >= over:
            continue
        found = image.bytes[first : first + size].view(array.dtype).reshape(chunk)[begin - corner[0] : over - corner[0]]
        places = (slice(a, a + step) for a, step in zip(corner[1:], chunk[1:], strict=True))
        target = array[(slice(begin - start, over - start), *places)]
        target[...] = found[tuple(map(slice, target.shape))]
    return True


class _Carrier:
    """A group that HDF5 opened, and where its header keeps the attributes that are wanted."""

    def __init__(self, image: Image, name: bytes, address: int, wanted: Mapping[str, tuple[int, ...]]) -> None:
        group = h5o.open(image.file.file.id, name)
        _expect(h5o.get_info(group).addr == address)
        self._image, self._pattern = image, Pattern(image, address)
        self._places: dict[str, tuple[int, int, int]] = {}  # block, where, how many
        self._unsigned: set[str] = set()
        for message in self._pattern.messages:
            if message.kind != ATTRIBUTE:
                continue
            said, at = _attribute(self._pattern.content(message))
            _expect(at <= message.size)
            self._pattern.free(message, at, message.size - at)
            if said in wanted:
                count = math.prod(wanted[said])
                _expect(message.size >= at + 8 * count)
                self._places[said] = (message.block, message.at + at, count)
        _, found = self.alike(np.array([address], np.int64))
        for said, shape in wanted.items():
            _expect(bool(h5a.exists(group, said.encode())) == (said in found))
            if said in found:
                attribute = h5a.open(group, said.encode())
                _expect(attribute.shape == shape and attribute.dtype.str in ("<i8", "<u8"))
                value = np.empty(shape, attribute.dtype)
                attribute.read(value)
                _expect(np.array_equal(value.view(np.int64).reshape(-1), found[said][0].reshape(-1)))
                self._unsigned |= {said} if attribute.dtype.kind == "u" else set()

    def alike(self, addresses: Array) -> tuple[Array, dict[str, Array]]:
        """[n] which groups are like the model, and the numbers of each attribute, cut to 63 bits as HDF5 does."""
        same, blocks = self._pattern.compare(self._image, addresses)
        found = {}
        for said, (block, at, count) in self._places.items():
            values = np.stack([numbers(blocks[block], at + 8 * i) for i in range(count)], axis=1)
            if said in self._unsigned:
                values[values < 0] = np.iinfo(np.int64).max
            found[said] = values[:, 0] if count == 1 else values
        return same, found


def _attribute(content: bytes) -> tuple[str, int]:
    """The name of an attribute and where its value begins in the message."""
    version = content[0] if content else 0
    _expect(version in (1, 2, 3) and len(content) > 8)
    name, *others = (number(content, at, 2) for at in (2, 4, 6))
    begin = 9 if version == 3 else 8
    step = 8 if version == 1 else 1
    end = begin + sum(-(-size // step) * step for size in (name, *others))
    return content[begin : begin + name].rstrip(b"\0").decode(errors="replace"), end


def _expect(holds: bool) -> None:
    """What is not as expected is left to HDF5."""
    if not holds:
        raise UnlikeError
