"""Headers of HDF5 objects by their bytes: what many of one making share, and where they differ.

Only headers of the first version are known here, which HDF5 writes unless asked for newer ones.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fqi.datasets.hdf5 import SafeFile
from fqi.nest import Array

_MOST_BLOCKS = 8
_AROUND = 1 << 16  # bytes that the system makes present where one of them is read
_MANY = 64 << 20  # bytes present before their memory is given back
_PREFIX = 16  # bytes before the messages of a header
DATASPACE, LAYOUT, ATTRIBUTE, _CONTINUED = 0x01, 0x08, 0x0C, 0x10
_IDLE = (0x00, 0x0E, 0x11, 0x12)  # nothing, when it was changed, and where a group keeps its links


class UnlikeError(Exception):
    """A header of no kind that is known here."""


@dataclass(frozen=True)
class Message:
    kind: int
    block: int
    at: int  # where in the block its content begins
    size: int


class Image:
    """A file's bytes, and where HDF5 says that its objects begin."""

    def __init__(self, file: SafeFile) -> None:
        self.file, self._places = file, file.addresses
        created = file.file.id.get_create_plist()
        usual = created.get_sizes() == (8, 8) and created.get_userblock() == 0 and file.size > 0
        self._kept, self._touched = None, 0
        if usual:
            with file.path.open("rb") as handle:
                self._kept = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes: Array = np.frombuffer(self._kept or b"", np.uint8)

    def touched(self, addresses: Array, size: int = 0) -> None:
        """Bytes were read at these places; now and then their memory is given back, since the file still has them."""
        self._touched += size + _AROUND * (1 + int(np.count_nonzero(np.diff(addresses // _AROUND))))
        if self._kept is None or len(self._kept) < 4 * _MANY or not hasattr(mmap, "MADV_DONTNEED"):
            return
        if self._touched > _MANY:
            self._kept.madvise(mmap.MADV_DONTNEED)
            self._touched = 0

    def addresses(self, names: Iterable[bytes]) -> Array:
        """[n] where the headers of these objects lie; -1 where that is not known."""
        return np.array([self._places.get(name, -1) for name in names], np.int64)

    def at(self, addresses: Array, length: int) -> tuple[Array, Array]:
        """[n] whether so many bytes lie there, and [n, length] the bytes."""
        there = (addresses >= 0) & (addresses <= len(self.bytes) - length)
        if length > len(self.bytes):
            return there, np.zeros((len(addresses), length), np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(self.bytes, length)
        found = windows[np.where(there, addresses, 0)]
        self.touched(addresses)
        return there, found


class Pattern:
    """The header of a model: its blocks and messages, and which of its bytes all that are alike share."""

    def __init__(self, image: Image, address: int) -> None:
        self.blocks: list[bytes] = []
        self.messages: list[Message] = []
        begin = image.bytes[address : address + _PREFIX].tobytes()
        if len(begin) < _PREFIX or begin[0] != 1:
            raise UnlikeError
        waiting = [(address, _PREFIX + number(begin, 8, 4))]
        while waiting:
            first, length = waiting.pop(0)
            block = image.bytes[first : first + length].tobytes()
            if len(block) < length or len(self.blocks) >= _MOST_BLOCKS:
                raise UnlikeError
            at = 0 if self.blocks else _PREFIX
            while at + 8 <= length:
                kind, size = number(block, at, 2), number(block, at + 2, 2)
                message = Message(kind, len(self.blocks), at + 8, size)
                if message.at + size > length:
                    raise UnlikeError
                self.messages.append(message)
                if kind == _CONTINUED and size >= 16:
                    waiting.append((number(block, message.at), number(block, message.at + 8)))
                at += 8 + size
            self.blocks.append(block)
        self.shared = [np.ones(len(block), np.bool_) for block in self.blocks]
        self.shared[0][4:8] = False  # how many names it has
        for message in self.messages:
            if message.kind in _IDLE:
                self.free(message, 0, message.size)
            elif message.kind == _CONTINUED:
                self.free(message, 0, 8)

    def free(self, message: Message, at: int, size: int) -> None:
        """These bytes of a message may differ."""
        self.shared[message.block][message.at + at : message.at + at + size] = False

    def one(self, kind: int) -> tuple[Message, bytes]:
        """The only message of a kind, and what it holds."""
        found = [message for message in self.messages if message.kind == kind]
        if len(found) != 1:
            raise UnlikeError
        return found[0], self.content(found[0])

    def content(self, message: Message) -> bytes:
        return self.blocks[message.block][message.at : message.at + message.size]

    def compare(self, image: Image, addresses: Array) -> tuple[Array, list[Array]]:
        """[n] which headers are alike, and the blocks of all of them."""
        continued = [message for message in self.messages if message.kind == _CONTINUED]
        same = np.ones(len(addresses), np.bool_)
        found: list[Array] = []
        for number, (block, shared) in enumerate(zip(self.blocks, self.shared, strict=True)):
            if number:
                before = continued[number - 1]
                addresses = numbers(found[before.block], before.at)
            there, bytes_ = image.at(addresses, len(block))
            expected = np.frombuffer(block, np.uint8)
            same &= there & ((bytes_ == expected) | ~shared).all(axis=1)
            found.append(bytes_)
        return same, found


def number(block: bytes, at: int, size: int = 8) -> int:
    """The unsigned number of so many bytes that stands there."""
    return int.from_bytes(block[at : at + size], "little")


def numbers(blocks: Array, at: int, size: int = 8) -> Array:
    """[n] the numbers that stand there in each block; what exceeds 63 bits comes out negative."""
    return np.ascontiguousarray(blocks[:, at : at + size]).view(f"<u{size}")[:, 0].astype(np.int64)
