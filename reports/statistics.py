"""Means with 95 % intervals, over members where there are several, else over episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from fqi.nest import Array

LEVEL = 0.95

OVER_MEMBERS = "Student t over the means of the members"
# Returns of episodes are skewed where success is rare. Moved by their skewness as well, the interval over 100 of them
# covers 93.7 to 96.9 % on normal, skewed, two-peaked and rarely positive returns, plain Student t 85.7 to 95.7 %
# (docs/experiments/accuracy.md); neither draws random numbers.
OVER_EPISODES = "Student t over the episodes of the one member, skewness added"
WILSON = "Wilson over the episodes of the one member"
ALONE = "none: a single episode has no spread"
NOT_FINITE = "none: some values are not finite numbers"


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float
    episodes: int  # of each member
    members: int
    method: str  # how low and high came about

    def json(self) -> dict[str, Any]:
        return asdict(self)


def over_members(values: Sequence[Sequence[float | None]]) -> Interval:
    """The mean of the members' means; `values` holds each member's episodes.

    One member is taken over its episodes, which says nothing of how training with another seed would have ended.
    """
    rows = [_row(own) for own in values]
    if not rows or not all(len(row) for row in rows):
        raise ValueError("an interval needs at least one episode of at least one member")
    episodes, members = min(len(row) for row in rows), len(rows)
    if not all(np.isfinite(row).all() for row in rows):
        nan = float("nan")
        return Interval(nan, nan, nan, episodes, members, NOT_FINITE)
    units = rows[0] if members == 1 else np.array([_mean(row) for row in rows])
    mean = _mean(units)
    if len(units) == 1:
        return Interval(mean, float("nan"), float("nan"), episodes, members, ALONE)
    with np.errstate(over="ignore"):
        error = 0.0 if _equal(units) else float(units.std(ddof=1)) / len(units) ** 0.5
    t = float(stdtrit(len(units) - 1, (1 + LEVEL) / 2))
    low, high = mean - t * error, mean + t * error
    if members > 1:
        return Interval(mean, low, high, episodes, members, OVER_MEMBERS)
    shift = _skewness(units) * error * (1 + 2 * t * t) / (6 * len(units) ** 0.5)  # Johnson 1978
    return Interval(mean, low + min(shift, 0.0), high + max(shift, 0.0), episodes, members, OVER_EPISODES)


def mean_of(values: Sequence[float | None]) -> float:
    """The mean that `over_members` says of one member; not a number where some values are not finite."""
    row = _row(values)
    return _mean(row) if np.isfinite(row).all() else float("nan")


def paired(first: Sequence[Sequence[float | None]], second: Sequence[Sequence[float | None]]) -> Interval:
    """The mean of first - second, taken episode by episode of each member, so that what both share cancels."""
    pairs = zip(first, second, strict=True)
    return over_members([(_row(a) - _row(b)).tolist() for a, b in pairs])


def standard_error(interval: Interval) -> float:
    """Of the mean: what the shorter side of the interval reaches in units of Student's t; 0 where there is none."""
    count = interval.members if interval.members > 1 else interval.episodes
    reach = min(interval.mean - interval.low, interval.high - interval.mean)
    return reach / float(stdtrit(count - 1, (1 + LEVEL) / 2)) if count > 1 and np.isfinite(reach) else 0.0


def share(hits: Sequence[Sequence[bool]]) -> Interval:
    """The share of episodes that hit; never below 0 or above 1, and never certain from a few episodes of one member."""
    found = over_members([[float(hit) for hit in own] for own in hits])
    if found.members > 1:
        return Interval(
            found.mean, max(0.0, found.low), min(1.0, found.high), found.episodes, found.members, found.method
        )
    p, n, z = found.mean, found.episodes, float(ndtri((1 + LEVEL) / 2))
    centre, shrink = (p + z * z / (2 * n)) / (1 + z * z / n), 1 + z * z / n
    reach = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / shrink
    return Interval(p, max(0.0, centre - reach), min(1.0, centre + reach), n, 1, WILSON)


def _row(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _skewness(values: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        apart = values - values.mean()
        found = float((apart**3).mean() / (apart**2).mean() ** 1.5) if not _equal(values) else 0.0
    return found if np.isfinite(found) else 0.0


def _equal(values: Array) -> bool:
    return bool(values.min() == values.max())


def _mean(values: Array) -> float:
    """Exact where all values are equal, so that rounding makes no spread."""
    with np.errstate(over="ignore"):
        return float(values[0] if _equal(values) else values.mean())
