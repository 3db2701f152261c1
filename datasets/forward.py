"""Columns that can only be read forward, since they are packed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fqi.datasets.strips import Strip
from fqi.nest import Array


def forward(shape: tuple[int, ...], dtype: np.dtype[Any], begin: Callable[[], Iterator[Array]]) -> Strip:
    """The column whose pieces come one after another from its beginning, each of one row at least."""
    return Strip(shape, dtype, _Forward(np.empty((0, *shape[1:]), dtype), begin).read)


class _Forward:
    """The piece that was read last is kept; going back beyond it begins anew."""

    def __init__(self, none: Array, begin: Callable[[], Iterator[Array]]) -> None:
        self._none, self._begin = none, begin
        self._restart()

    def _restart(self) -> None:
        self._pieces, self._first, self._piece = self._begin(), 0, self._none

    def read(self, first: int, last: int) -> Array:
        if first == last:
            return self._none
        if first < self._first:
            self._restart()
        parts = []
        while first < last:
            over = self._first + len(self._piece)
            if first >= over:
                self._piece = self._none  # one piece at a time is enough
                self._first, self._piece = over, next(self._pieces)
                continue
            parts.append(self._piece[first - self._first : last - self._first])
            first += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
