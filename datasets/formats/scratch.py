"""Room on disk for rows while they are brought in order: files without names, which are gone afterwards in any case."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import numpy as np

from fqi.errors import UserError
from fqi.nest import Array


@contextmanager
def scratch() -> Iterator[IO[bytes]]:
    """A file that has no name."""
    with ExitStack() as stack:
        with disk():
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        yield file


@contextmanager
def disk() -> Iterator[None]:
    """Around reading and writing such a file."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: rows cannot be put in order there ({error.strerror or error}); the variable "
            "TMPDIR names another folder"
        ) from error


class Spool:
    """Arrays that are had again, in the order in which they were put in."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._count = file, 0

    def put(self, array: Array) -> None:
        with disk():
            np.save(self._file, array, allow_pickle=False)
        self._count += 1

    def again(self) -> Iterator[Array]:
        self._file.seek(0)
        for _ in range(self._count):
            with disk():
                array: Array = np.load(self._file, allow_pickle=False)
            yield array

    def clear(self) -> None:
        """Give the room back."""
        with disk():
            self._file.truncate(0)
