"""A figure of the bench: a ratio, what it compares, and what it should reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One ratio of two timings that took turns in the same run."""

    name: str
    what: str  # what is measured, in a few words
    ratio: float  # higher is better
    against: str  # what it is a ratio to
    rate: float  # of what is measured
    unit: str  # of the rate
    aim: float | None = None  # what the ratio should reach on two cores

    def json(self) -> dict[str, Any]:
        return asdict(self)


Bench = Callable[[float], list[Figure]]
"""Seconds to spend -> figures."""
