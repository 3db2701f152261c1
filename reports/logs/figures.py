"""What a log looks like: returns, lengths, actions, and which states were seen."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from fqi.encoding import encode, width
from fqi.log import Log
from fqi.nest import Array, take
from fqi.reports.drawing import FOURTH, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.words import number, percent, plural

BINS, MOST, WIDEST = 30, 1500, 512
COLOURS = (REALISED, PREDICTED, THIRD, FOURTH, SOFT)


def draw(log: Log) -> list[Drawn]:
    """Every figure that this log allows."""
    if not log.episodes:
        return []
    found = [
        _histogram("returns", "Returns of the episodes", "return (reward per episode)", log.returns),
        _histogram("lengths", "Lengths of the episodes", "steps", log.lengths.astype(np.float64)),
        _order(log),
        _actions(log),
        _states(log),
    ]
    return [drawn for drawn in found if drawn is not None]


def _histogram(name: str, title: str, x: str, values: Array) -> Drawn | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    sheet = Sheet(name, title, x, "episodes")
    heights, edges = np.histogram(values, min(BINS, max(1, len(np.unique(values)))))
    sheet.bars(edges, heights.astype(np.float64), REALISED, "episodes")
    mean = float(values.mean())
    sheet.axes.axvline(mean, color=PREDICTED, linewidth=1.4, label="mean")
    words = f"mean {number(mean)}, from {number(float(values.min()))} to {number(float(values.max()))}"
    return sheet.drawn(f"{plural(len(values), 'episode')}: {words}.", f"Histogram: {words}.")


def _order(log: Log) -> Drawn | None:
    if log.episodes < 3:
        return None
    sheet = Sheet("order", "Returns in the order of the log", "episode", "return (reward per episode)")
    places = np.unique(np.linspace(0, log.episodes - 1, min(MOST, log.episodes)).round().astype(int))
    sheet.points(places, log.returns[places], REALISED, "episode")
    parts = np.array_split(np.arange(log.episodes), min(12, log.episodes))
    middle, mean = np.array([p.mean() for p in parts]), np.array([log.returns[p].mean() for p in parts])
    sheet.line(middle, mean, PREDICTED, "mean of a part", marker="s")
    words = f"the mean goes from {number(float(mean[0]))} in the first part to {number(float(mean[-1]))} in the last"
    return sheet.drawn("A trend means that who collected it changed on the way.", f"Scatter plot: {words}.")


def _actions(log: Log) -> Drawn | None:
    if not isinstance(log.action_space, gym.spaces.Discrete) or log.action_space.n > 40 or not log.steps:
        return None
    first, count = int(log.action_space.start), int(log.action_space.n)
    shares = np.bincount(log.actions.astype(np.int64) - first, minlength=count) / log.steps
    sheet = Sheet("actions", "Actions taken", "action", "share of the steps")
    edges = np.arange(count + 1) + first - 0.5
    sheet.bars(edges, shares, THIRD, "share")
    sheet.over_rounds(np.arange(2))
    never = int((shares == 0).sum())
    words = f"the most frequent is {first + int(shares.argmax())}, {percent(float(shares.max()))} of the steps"
    more = f"; {plural(never, 'action')} never" if never else ""
    return sheet.drawn(
        "What a value of an action can rest on: one that is never taken is worth what the regressor guesses.",
        f"Bar chart: {words}{more}.",
    )


def _states(log: Log) -> Drawn | None:
    """The states seen, on their two widest axes."""
    space = log.observation_space
    places = np.unique(np.linspace(0, log.steps - 1, min(MOST, log.steps)).round().astype(int))
    if isinstance(space, gym.spaces.Discrete):
        counts = np.sort(np.bincount(np.asarray(log.observations)[log.frame_of_step] - int(space.start)))[::-1]
        counts = counts[counts > 0].astype(np.float64)
        sheet = Sheet("states", "Visits of each state", "states, the most visited first", "steps")
        sheet.line(np.arange(1, len(counts) + 1), counts, REALISED, "visits")
        sheet.logarithm()
        words = f"{plural(len(counts), 'state')} of {number(int(space.n))} were seen"
        return sheet.drawn(f"{words}.", f"Line chart: {words}, the rarest {number(int(counts[-1]))} times.")
    if not 2 <= width(space) <= WIDEST:
        return None
    points = encode(take(log.observations, log.frame_of_step[places]), space, np.float64)
    spread = points.std(0)
    if (spread > 0).sum() < 2:
        return None
    normal = (points - points.mean(0)) / np.where(spread > 0, spread, 1.0)
    _, _, axes = np.linalg.svd(normal, full_matrices=False)
    flat = normal @ axes[:2].T
    explained = float((flat**2).sum() / (normal**2).sum())
    sheet = Sheet("states", "States seen", "first principal axis", "second principal axis")
    ended = log.terminations[places]
    sheet.points(flat[~ended, 0], flat[~ended, 1], REALISED, "state")
    if ended.any():
        sheet.points(flat[ended, 0], flat[ended, 1], PREDICTED, "last before an end", size=4)
    return sheet.drawn(
        f"{number(len(places))} frames of the log, standardised, on the two axes along which they differ most: "
        f"{percent(explained)} of their spread.",
        f"Scatter plot of {number(len(places))} states; the two axes hold {percent(explained)} of the spread.",
    )
