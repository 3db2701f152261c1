"""Records brought in order on disk: each goes to the shelf that its place is on, and a shelf is read at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from fqi.datasets.formats.scratch import disk, scratch
from fqi.datasets.windows import rows_at_once
from fqi.nest import Array

PLACE = "place"  # the field that every record has


class Shelves:
    """N records, put in by their places and had by them."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], count: int) -> None:
        self._file, self.dtype, self._count = file, dtype, count
        self.many = rows_at_once(dtype.itemsize)  # on a shelf
        self._filled = np.zeros(-(-count // self.many), np.int64)
        self._last = -1, np.zeros((0, dtype.itemsize), np.uint8)  # the shelf that was read last

    def put(self, records: Array) -> None:
        """The next records, in any order."""
        shelf = records[PLACE] // self.many
        order = np.argsort(shelf, kind="stable")
        which, begins = np.unique(shelf[order], return_index=True)
        for one, some in zip(which.tolist(), np.split(order, begins)[1:], strict=True):
            with disk():
                self._file.seek((one * self.many + int(self._filled[one])) * self.dtype.itemsize)
                left = memoryview(_bytes(records)[some].tobytes())
                while left:
                    left = left[self._file.write(left) :]
            self._filled[one] += len(some)

    def rows(self, first: int, last: int) -> Array:
        """Records by their places, once all were put in."""
        parts = []
        for one in range(first // self.many, -(-last // self.many)):
            begin = one * self.many
            parts.append(self._shelf(one)[max(first - begin, 0) : last - begin])
        return np.concatenate(parts).reshape(-1).view(self.dtype)

    def _shelf(self, one: int) -> Array:
        if self._last[0] != one:
            begin = one * self.many
            count = min(self.many, self._count - begin)
            with disk():
                self._file.seek(begin * self.dtype.itemsize)
                found = np.fromfile(self._file, self.dtype, count)
            ordered = np.empty((count, self.dtype.itemsize), np.uint8)
            ordered[found[PLACE] - begin] = _bytes(found)
            self._last = one, ordered
        return self._last[1]


def _bytes(records: Array) -> Array:
    """[N, bytes of a record], which numpy moves much faster than records of many fields."""
    return records.view(np.uint8).reshape(len(records), -1)


@contextmanager
def shelves(fields: list[tuple[Any, ...]], count: int) -> Iterator[Shelves]:
    """Room for records of these fields."""
    with scratch() as file:
        yield Shelves(file, np.dtype([(PLACE, np.int64), *fields]), count)
