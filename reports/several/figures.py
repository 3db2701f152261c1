"""Curves of several trainings in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fqi.reports.drawing import FOURTH, INK, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.overestimation import by_round, comparable
from fqi.reports.series import series
from fqi.reports.several.entries import Entry
from fqi.reports.words import number

COLOURS = (REALISED, PREDICTED, THIRD, FOURTH, INK, SOFT)
MOST = 8  # drawn; all stand in the table
MARKS = ("o", "s", "D", "^")


def draw(entries: Sequence[Entry]) -> list[Drawn]:
    """Every figure for which something was logged."""
    found = [
        _judged(entries, "return", "returns", "Return of the greedy policy", "return (reward per episode)"),
        _judged(entries, "bias", "bias", "Bias at the start states", "bias (predicted − realised)"),
        _metric(entries, "mean_q", "mean_q", "Mean Q over the log", "value (discounted reward)"),
        _metric(entries, "bellman_residual", "residual", "Bellman residual", "value (discounted reward)"),
    ]
    return [drawn for drawn in found if drawn is not None]


def _judged(entries: Sequence[Entry], column: str, name: str, title: str, y: str) -> Drawn | None:
    sheet, words = Sheet(name, title, "round", y), []
    for place, entry in enumerate(entries[:MOST]):
        judged = comparable(by_round(entry.evaluations)) if entry.evaluations else []
        if not judged:
            continue
        rounds = np.array([row["round"] for row in judged])
        mean, low, high = (np.array([getattr(row[column], k) for row in judged]) for k in ("mean", "low", "high"))
        colour = COLOURS[place % len(COLOURS)]
        sheet.band(rounds, low, high, colour)
        sheet.line(rounds, mean, colour, entry.label, dashed=place % 2 == 1, marker=MARKS[place % len(MARKS)])
        sheet.over_rounds(rounds)
        words.append(f"{entry.label} ends at {number(float(mean[-1]))}")
    if not words:
        return None
    return sheet.drawn(
        f"Bands: 95 % intervals over members, or over the episodes of a single one.{_left_out(entries)}",
        f"Line chart over rounds: {'; '.join(words)}.",
    )


def _metric(entries: Sequence[Entry], column: str, name: str, title: str, y: str) -> Drawn | None:
    sheet, words = Sheet(name, title, "round", y), []
    for place, entry in enumerate(entries[:MOST]):
        curve = series(entry.metrics, column)
        if not len(curve.rounds) or not np.isfinite(curve.values).any():
            continue
        colour = COLOURS[place % len(COLOURS)]
        if curve.values.shape[1] > 1:
            sheet.band(curve.rounds, curve.values.min(1), curve.values.max(1), colour)
        sheet.line(curve.rounds, curve.mean, colour, entry.label, dashed=place % 2 == 1)
        sheet.over_rounds(curve.rounds)
        words.append(f"{entry.label} ends at {number(float(curve.mean[-1]))}")
    if not words:
        return None
    return sheet.drawn(
        f"Lines: means of the members; bands: the lowest to the highest of them.{_left_out(entries)}",
        f"Line chart over rounds: {'; '.join(words)}.",
    )


def _left_out(entries: Sequence[Entry]) -> str:
    return f" The first {MOST} of {len(entries)} are drawn." if len(entries) > MOST else ""
