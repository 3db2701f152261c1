"""A sweep's settings side by side, from logged rows alone, and which of them the rest of the page speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fqi.reports.drawing import FOURTH, PREDICTED, REALISED, THIRD, Drawn, Sheet
from fqi.reports.overestimation import best_round, by_round
from fqi.reports.statistics import paired
from fqi.reports.words import number
from fqi.run import Run
from fqi.settings import Config

DRAWN = 8  # settings at most that have a curve
COLOURS = (REALISED, PREDICTED, THIRD, FOURTH)

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """One combination of a sweep's values, and what was logged of it; members count from 0 within it."""

    label: str
    first: int  # its first member, as the run counts them
    config: Config
    metrics: Rows
    evaluations: Rows


def settings_of(run: Run) -> list[Setting]:
    """Every setting of a run, those that earned most at their last evaluated round first; one for a run without a
    sweep."""
    return _settings(run.config, run.metrics, run.evaluations)


def judged_settings(run: Run, evaluations: Rows) -> list[Setting]:
    """Every setting by these evaluations alone."""
    return _settings(run.config, [], evaluations)


def _settings(config: Config, metrics: Rows, evaluations: Rows) -> list[Setting]:
    found = [
        Setting(
            label, place * config.train.seeds, setting, _own(metrics, place, config), _own(evaluations, place, config)
        )
        for place, (label, setting) in enumerate(zip(config.labels, config.settings, strict=True))
    ]
    return sorted(found, key=_earned, reverse=True) if len(found) > 1 else found


def _own(rows: Rows, place: int, config: Config) -> Rows:
    """A setting's rows, its members counted from 0."""
    seeds = config.train.seeds
    return [row | {"member": row["member"] - place * seeds} for row in rows if row["member"] // seeds == place]


def _earned(setting: Setting) -> float:
    judged = _judged(setting)
    mean = float("-inf") if judged is None else float(judged["return"].mean)
    return mean if mean == mean else float("-inf")


def side_by_side(settings: Sequence[Setting]) -> dict[str, Any] | None:
    """What the page says of the settings, as JSON values; None where there is but one."""
    if len(settings) == 1:
        return None
    first = _judged(settings[0])
    return {
        "shown": settings[0].label,
        "first": settings[0].first,
        "evaluated": first is not None,
        "round": None if first is None else first["round"],
        "rows": [_row(setting, settings[0]) for setting in settings],
    }


def _judged(setting: Setting) -> dict[str, Any] | None:
    last = max((row["round"] for row in setting.evaluations), default=None)
    judged = by_round([row for row in setting.evaluations if row["round"] == last])
    return judged[-1] if judged else None


def _row(setting: Setting, first: Setting) -> dict[str, Any]:
    last, judged = _judged(setting), by_round(setting.evaluations)
    best = best_round(judged) if judged else None
    number = max((row["round"] for row in setting.metrics), default=None)
    ended = [row for row in setting.metrics if row["round"] == number]

    def mean(name: str) -> float | None:
        values = [row[name] for row in ended if row.get(name) is not None]
        return float(np.mean(values)) if values else None

    found: dict[str, Any] = {
        "label": setting.label,
        "members": setting.config.train.seeds,
        "mean_q": mean("mean_q"),
        "training_loss": mean("training_loss"),
        "beyond_bounds": mean("beyond_bounds"),
        "round": None,
    }
    if last is None:
        return found
    behind = None if setting is first else _behind(setting, first, last["round"])
    return found | {
        "round": last["round"],
        "return": last["return"].json(),
        "behind": None if behind is None else behind.json(),
        "predicted": last["predicted"].mean,
        "realised": last["discounted"].mean,
        "bias": last["bias"].json(),
        "success": last["success"],
        "best_round": None if best is None else best["round"],
        "best_return": None if best is None else best["return"].mean,
    }


def _behind(setting: Setting, first: Setting, number: int) -> Any:
    """How much less it earns than the first one, taken seed by seed and start state by start state."""

    def returns(one: Setting) -> list[list[float]]:
        rows = sorted((row for row in one.evaluations if row["round"] == number), key=lambda row: int(row["member"]))
        return [row["returns"] for row in rows]

    own, others = returns(setting), returns(first)
    same = [len(row) for row in own] == [len(row) for row in others]
    return paired(own, others) if own and same else None


def figure(settings: Sequence[Setting]) -> Drawn | None:
    """What each setting earned over rounds."""
    if len(settings) == 1 or not settings[0].evaluations:
        return None
    drawn = [(s, by_round(s.evaluations)) for s in settings[:DRAWN]]
    sheet = Sheet("settings", "Return of each setting", "round", "return (reward per episode)")
    for place, (setting, judged) in enumerate(drawn):
        rounds = np.array([row["round"] for row in judged])
        means = np.array([row["return"].mean for row in judged])
        sheet.line(rounds, means, COLOURS[place % 4], setting.label, dashed=place >= 4, marker="os^D"[place % 4])
    sheet.over_rounds(np.array([row["round"] for row in drawn[0][1]]))
    left = f" The {len(settings) - DRAWN} settings that earned least are not drawn." if len(settings) > DRAWN else ""
    ends = "; ".join(f"{s.label}: {number(judged[-1]['return'].mean)}" for s, judged in drawn if judged)
    return sheet.drawn(
        f"Mean over seeds of the undiscounted return, for each setting of the sweep.{left}",
        f"Line chart. At the last evaluated round: {ends}.",
    )
