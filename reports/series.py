"""Columns of logged metrics over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fqi.nest import Array


@dataclass(frozen=True, eq=False)
class Series:
    """One logged number over rounds and members."""

    rounds: Array  # [K] int64
    values: Array  # [K, M] float64; NaN where nothing was logged

    @property
    def mean(self) -> Array:
        """[K] over members; NaN where a member has no number."""
        return np.asarray(self.values.mean(1))


def series(rows: Sequence[dict[str, Any]], name: str) -> Series:
    """The column `name` of rows that carry a round and a member."""
    rounds, members = sorted({r["round"] for r in rows}), sorted({r["member"] for r in rows})
    place = {number: i for i, number in enumerate(rounds)}, {member: i for i, member in enumerate(members)}
    values = np.full((len(rounds), len(members)), np.nan)
    for row in rows:
        value = row.get(name)
        if value is not None:
            values[place[0][row["round"]], place[1][row["member"]]] = value
    return Series(np.array(rounds, np.int64), values)
