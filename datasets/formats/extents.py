"""What must be known of numbers to tell in which space they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fqi.nest import Array


@dataclass(frozen=True)
class Extent:
    """What all of N values have in common; that of parts is put together by `|`."""

    dtype: np.dtype[Any]
    row: tuple[int, ...]
    low: Array  # [*row]
    high: Array  # [*row]
    whole: bool  # whether no value has a fraction

    @staticmethod
    def of(values: Array) -> Extent:
        with np.errstate(invalid="ignore"):
            whole = values.dtype.kind != "f" or bool((values == np.round(values)).all())
            return Extent(values.dtype, values.shape[1:], values.min(axis=0), values.max(axis=0), whole)

    def __or__(self, other: Extent) -> Extent:
        dtype = np.result_type(self.dtype, other.dtype)
        mine, theirs = self.cast(dtype), other.cast(dtype)
        low, high = np.minimum(mine.low, theirs.low), np.maximum(mine.high, theirs.high)
        return Extent(dtype, self.row, low, high, self.whole and other.whole)

    def cast(self, dtype: Any) -> Extent:
        return replace(self, dtype=np.dtype(dtype), low=self.low.astype(dtype), high=self.high.astype(dtype))
