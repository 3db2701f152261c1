"""What the metrics of training say: how it ended, values that run away, values that have not settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtr

from fqi.nest import Array
from fqi.reports.sentences import Sentence, command, longer
from fqi.reports.series import Series, series
from fqi.reports.words import number, percent, plural

# Fitted values overshoot a bound by a little where the truth lies at the bound: a run-away is a share of the values
# beyond it, and some of them beyond it by a margin, in shares of the distance between the bounds.
BEYOND_SHARE, BEYOND_MARGIN = 0.05, 0.1
# Values shrink their distance to where they settle at most by the discount of a target each round, so that a trend of
# s a round has about s discount / (1 - discount) to go; in shares of the value itself.
TO_GO = 0.1
WINDOW, FEWEST = 0.1, 5  # share of the rounds in which the trend is looked at, and the fewest rounds
SURE = 0.01  # two-sided level at which a trend is no accident of a few rounds


def ended(metrics: Sequence[dict[str, Any]], run: str, status: str, message: str) -> Iterator[Sentence]:
    """How training ended, where that was not as planned."""
    done = max((row["round"] for row in metrics), default=0)
    if status == "diverged":
        yield Sentence("diverged", "bad", f"Training stopped because values diverged: {message}")
    elif status != "finished":
        yield Sentence("unfinished", "note", (
            f"Training has not finished: {plural(done, 'round')} stand here; go on by "
            f"{command('fqi train --resume', run)}"
        ))  # fmt: skip


def width(metrics: Sequence[dict[str, Any]]) -> float:
    """Distance between the least and the most that the rewards seen can earn; 0 where it is not known or endless."""
    if not metrics:
        return 0.0
    low, high = metrics[-1].get("lowest_earnable"), metrics[-1].get("highest_earnable")
    return 0.0 if low is None or high is None else float(high - low)


def runaway(metrics: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    """Values at the last round that no rewards seen can earn."""
    room = width(metrics)
    if room <= 0:
        return
    low, high = metrics[-1]["lowest_earnable"], metrics[-1]["highest_earnable"]
    share, most, least = (series(metrics, name) for name in ("beyond_bounds", "max_q", "min_q"))
    far = (most.values > high + BEYOND_MARGIN * room) | (least.values < low - BEYOND_MARGIN * room)
    away = far & (share.values > BEYOND_SHARE)  # [K, M]
    if not away[-1].any():
        return
    calm = np.flatnonzero(~away.any(1))
    first = int(calm[-1]) + 1 if len(calm) else 0
    members = away.shape[1]
    yield Sentence("runaway", "bad", (
        f"Values run away from round {share.rounds[first]} on: at round {share.rounds[-1]}, "
        f"{percent(share.values[-1][away[-1]].mean())} of the Q-values of {int(away[-1].sum())} of "
        f"{plural(members, 'member')} lie beyond the {number(low)} to {number(high)} that the rewards seen can earn "
        f"(lowest {_end(least, min)}, highest {_end(most, max)}); "
        "try --target min with a larger --ensemble, a lower --gamma or more data"
    ))  # fmt: skip


def _end(curve: Series, choose: Callable[[list[float]], float]) -> str:
    """The lowest or highest of the members at the last round."""
    finite = [float(v) for v in curve.values[-1] if np.isfinite(v)]
    return number(choose(finite) if finite else None)


def still_moving(metrics: Sequence[dict[str, Any]], discount: float, run: str) -> Iterator[Sentence]:
    """Values that had far to go when the run ended; `discount` is that of a target: gamma^n."""
    if not metrics or discount >= 1:
        return
    mean = series(metrics, "mean_q")
    window = max(FEWEST, round(WINDOW * len(mean.rounds)))
    values, rounds = mean.mean[-window:], mean.rounds[-window:]
    if len(values) < FEWEST or not np.isfinite(values).all():
        return
    slope, accident = _trend(rounds.astype(np.float64), values)
    to_go = slope * discount / (1 - discount)
    if accident < SURE and abs(to_go) > TO_GO * max(abs(values[-1]), 0.01 * width(metrics), 1e-9):
        yield Sentence("climbing", "note", (
            f"Values still {'rise' if slope > 0 else 'fall'} when the run ends: the mean Q moves by "
            f"{number(slope, sign=True)} a round over rounds {rounds[0]} to {rounds[-1]} and stands at "
            f"{number(float(values[-1]))} ({plural(mean.values.shape[1], 'member')}); train more rounds by "
            f"{longer(run, int(rounds[-1]))}"
        ))  # fmt: skip


def _trend(x: Array, y: Array) -> tuple[float, float]:
    """The slope of a straight line through the points, and how likely so steep a one is where there is no trend."""
    x, y = x - x.mean(), y - y.mean()
    with np.errstate(over="ignore", invalid="ignore"):
        slope = float((x * y).sum() / (x * x).sum())
        rest = float(((y - slope * x) ** 2).sum())
    error = (rest / (len(x) - 2) / float((x * x).sum())) ** 0.5
    return slope, 2 * float(stdtr(len(x) - 2, -abs(slope) / error)) if error > 0 else float(slope == 0)
