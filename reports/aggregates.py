"""Scores of learners over seeds and tasks, as Agarwal et al. (2021) aggregate them, with intervals that were checked.

Scores are a list with one array for each task: that task's scores of each seed, along the last axis. Every statistic
takes any axes before the last, so that it works on resamples as on the scores themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import rankdata

from fqi.nest import Array
from fqi.reports.statistics import LEVEL, NOT_FINITE

RESAMPLES = 2000
TRIMMED = 0.25  # of the scores at each end
_NEXT_TO = 1e-9

STRATIFIED = "stratified bootstrap over seeds within each task, widened for few seeds"
MANN_WHITNEY = "Mann-Whitney, Newcombe's interval"
ONE_SEED = "none: one seed tells nothing of another"

Scores = Sequence[Array]  # for each task [..., n]
Statistic = Callable[[Scores], Array]


@dataclass(frozen=True)
class Estimate:
    """A number and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float
    seeds: int  # of the task with the fewest
    tasks: int
    method: str  # how low and high came about

    def json(self) -> dict[str, Any]:
        return asdict(self)


# ---- the published definitions


def interquartile_mean(scores: Scores) -> Array:
    """The mean of what is left of all scores of all tasks when a quarter is cut off at each end.

    Whole scores are cut off, rounded down, as `scipy.stats.trim_mean` does.
    """
    pooled = np.concatenate([np.asarray(own) for own in scores], -1)
    count = pooled.shape[-1]
    cut = int(TRIMMED * count)
    return _mean(np.sort(pooled, -1)[..., cut : count - cut])


def mean(scores: Scores) -> Array:
    """The mean over tasks of the mean over seeds."""
    return _mean(_task_means(scores))


def median(scores: Scores) -> Array:
    """The median over tasks of the mean over seeds."""
    return np.asarray(np.median(_task_means(scores), -1))


def optimality_gap(scores: Scores, threshold: float = 1.0) -> Array:
    """How far the mean falls short of `threshold`, where what lies above it counts no more than the threshold."""
    return np.asarray(threshold - mean([np.minimum(own, threshold) for own in scores]))


def probability_of_improvement(first: Scores, second: Scores) -> float:
    """How likely a seed of `first` beats one of `second` on a task drawn at random; a tie counts a half."""
    return float(np.mean([_superiority(a, b) for a, b in zip(first, second, strict=True)]))


def performance_profile(scores: Scores, thresholds: Array) -> Array:
    """[..., X] share of the scores of all tasks that lie above each threshold."""
    pooled = np.concatenate([np.asarray(own) for own in scores], -1)
    count = pooled.shape[-1]
    ordered = np.sort(pooled, -1).reshape(-1, count)
    found: Array = np.stack([count - np.searchsorted(row, thresholds, side="right") for row in ordered]) / count
    return found.reshape(*pooled.shape[:-1], len(thresholds))


def _task_means(scores: Scores) -> Array:
    return np.stack([_mean(np.asarray(own)) for own in scores], -1)  # [..., tasks]


def _mean(values: Array) -> Array:
    """Over the last axis; exact where all values are equal, so that rounding makes no spread."""
    same = values.min(-1) == values.max(-1)
    with np.errstate(over="ignore"):
        return np.where(same, values[..., 0], values.mean(-1))


def _superiority(first: Array, second: Array) -> float:
    """The Mann-Whitney U of the first sample as a share of all pairs."""
    m, n = len(first), len(second)
    ranks = rankdata(np.concatenate([first, second]))
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


# ---- intervals


def resamples(sizes: Sequence[int], generator: np.random.Generator, count: int = RESAMPLES) -> list[Array]:
    """For each task [count, n] which seeds each resample takes: as many as there are, with replacement."""
    return [generator.integers(0, size, (count, size)) for size in sizes]


def bootstrap(statistic: Statistic, scores: Scores, chosen: Sequence[Array]) -> Array:
    """[B, ...] the statistic on each resample."""
    return statistic([np.asarray(own)[index] for own, index in zip(scores, chosen, strict=True)])


def estimate(statistic: Statistic, scores: Scores, generator: np.random.Generator, count: int = RESAMPLES) -> Estimate:
    """The statistic with its interval over seeds."""
    value, low, high, method = _interval(statistic, scores, generator, count)
    return Estimate(float(value), float(low), float(high), min(map(len, scores)), len(scores), method)


def profile_band(
    scores: Scores, thresholds: Array, generator: np.random.Generator, count: int = RESAMPLES
) -> tuple[Array, Array, Array]:
    """[X] the performance profile and the ends of its interval at each threshold by itself."""
    value, low, high, _ = _interval(lambda s: performance_profile(s, thresholds), scores, generator, count)
    return value, np.clip(low, 0, 1), np.clip(high, 0, 1)


def _interval(
    statistic: Statistic, scores: Scores, generator: np.random.Generator, count: int
) -> tuple[Array, Array, Array, str]:
    if not scores or not all(len(own) for own in scores):
        raise ValueError("an estimate needs at least one score of every task")
    if not all(np.isfinite(own).all() for own in scores):
        nothing = np.full_like(np.asarray(statistic([np.zeros(len(own)) for own in scores])), np.nan)
        return nothing, nothing, nothing, NOT_FINITE
    value = np.asarray(statistic(scores))
    scores, sizes = [np.asarray(own, np.float64) for own in scores], [len(own) for own in scores]
    if min(sizes) == 1:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan), ONE_SEED
    drawn = bootstrap(statistic, scores, resamples(sizes, generator, count))
    low, high = widened(value, drawn, scores)
    return value, low, high, STRATIFIED


def widened(value: Array, drawn: Array, scores: Scores) -> tuple[Array, Array]:
    """Ends of the 95 % interval of a statistic of these scores, from its bootstrap [B, ...].

    The plain percentiles of few seeds are too narrow: resamples spread less than samples by (n - 1) / n, and never
    reach beyond the best and the worst seed. Two mends are known: percentiles further out, as far as Student's t lies
    beyond the normal (Hesterberg 2015), and Student's t with the bootstrap's standard error. The first is too narrow
    for one task of five seeds, the second for scores with two peaks. Their midpoint covers best.
    """
    t = float(stdtrit(_freedom(scores), (1 + LEVEL) / 2))
    tail = float(ndtr(-t))
    percentiles = np.quantile(drawn, [tail, 1 - tail], axis=0)
    seeds = len(scores) / sum(1 / len(own) for own in scores)  # their harmonic mean over tasks
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.where(drawn.min(0) == drawn.max(0), 0.0, drawn.std(0))  # so that rounding makes none
        reach = t * spread * math.sqrt(seeds / (seeds - 1))
        return (percentiles[0] + value - reach) / 2, (percentiles[1] + value + reach) / 2


def _freedom(scores: Scores) -> float:
    """Welch's and Satterthwaite's degrees of freedom: few where the spread of one task outweighs the others'."""
    with np.errstate(over="ignore", invalid="ignore"):
        spreads = np.array([own.var(ddof=1) / len(own) for own in scores])
        found = spreads.sum() ** 2 / (spreads**2 / [len(own) - 1 for own in scores]).sum() if spreads.any() else np.nan
    return float(found) if np.isfinite(found) else float(sum(len(own) - 1 for own in scores))


def improvement(first: Scores, second: Scores) -> Estimate:
    """The probability of improvement with its interval.

    The bootstrap is certain once no seed of one overlaps the other's, however few they are. Newcombe's interval
    (2006, method 5) is not: it holds every probability from which the share seen lies less than z of that
    probability's own standard errors away. With several tasks the variance is that of the mean, all tasks taken to
    have the mean's probability, which errs to the wide side.
    """
    seeds, tasks = min(len(own) for own in [*first, *second]), len(first)
    if not all(np.isfinite(own).all() for own in [*first, *second]):
        return Estimate(math.nan, math.nan, math.nan, seeds, tasks, NOT_FINITE)
    share = probability_of_improvement(first, second)
    low, high = _newcombe(share, [(len(a), len(b)) for a, b in zip(first, second, strict=True)])
    return Estimate(share, low, high, seeds, tasks, MANN_WHITNEY)


def _newcombe(share: float, sizes: Sequence[tuple[int, int]]) -> tuple[float, float]:
    z = float(ndtri((1 + LEVEL) / 2))

    def beyond(p: float) -> float:
        unlike, alike = p * (1 - p), (1 - p) / (2 - p) + p / (1 + p)  # Hanley and McNeil's variance
        variances = [unlike * (1 + ((m + n) / 2 - 1) * alike) / (m * n) for m, n in sizes]
        return (share - p) ** 2 - z * z * sum(variances) / len(sizes) ** 2

    # The nearer end of each bracket lies off 0 and 1, where no two pairs could differ and the equation holds of itself.
    low = 0.0 if share <= 0 else float(brentq(beyond, 0.0, min(share, 1 - _NEXT_TO)))
    high = 1.0 if share >= 1 else float(brentq(beyond, max(share, _NEXT_TO), 1.0))
    return low, high
