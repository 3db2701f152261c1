"""The measurements of a run, round by round, as means with intervals; from logged rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fqi.reports.accuracy.exact import PARTS
from fqi.reports.statistics import Interval, over_members, paired, share

Rows = Sequence[dict[str, Any]]


def _by_round(rows: Rows, one: Callable[[int, list[dict[str, Any]]], dict[str, Any]]) -> list[dict[str, Any]]:
    rounds: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        rounds.setdefault(int(row["round"]), []).append(row)
    return [one(number, sorted(rounds[number], key=lambda row: int(row["member"]))) for number in sorted(rounds)]


def states_by_round(rows: Rows) -> list[dict[str, Any]]:
    """Predicted, realised and bias over states of the log; `error` is the mean standard error of a state's realised
    value, 0 where it is exact."""

    def one(number: int, own: list[dict[str, Any]]) -> dict[str, Any]:
        predicted, realised = [row["predicted"] for row in own], [row["realised"] for row in own]
        return {
            "round": number,
            "members": len(own),
            "states": len(own[0]["steps"]),
            "rollouts": own[0]["rollouts"],
            "predicted": over_members(predicted),
            "realised": over_members(realised),
            "bias": paired(predicted, realised),
            "error": float(np.mean([np.mean(row["error"]) for row in own])),
        } | _line(predicted, realised)

    return _by_round(rows, one)


def _line(predicted: list[list[float]], realised: list[list[float]]) -> dict[str, Any]:
    """The calibration line: realised = intercept + slope x predicted, by least squares over all states and members."""
    x, y = (np.array([v for own in values for v in own], np.float64) for values in (predicted, realised))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or x.std() <= 1e-9 * max(1.0, float(np.abs(x).max(initial=0.0))):
        return {"slope": None, "intercept": None}
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return {"slope": slope, "intercept": float(y.mean() - slope * x.mean())}


def exact_by_round(rows: Rows) -> list[dict[str, Any]]:
    """The exact bias at the start states and its parts, and the errors of Q; means over members."""
    names = ("predicted", "earned", "optimum", "bias", "error_mean", "error_rms", "error_most", "optimum_rms")

    def one(number: int, own: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "round": number,
            "members": len(own),
            "pairs": own[0]["pairs"],
            "pairs_missing": own[0]["pairs_missing"],
            **{name: float(np.mean([row[name] for row in own])) for name in names},
            "parts": {part: float(np.mean([row["parts"][part] for row in own])) for part in PARTS},
        }

    return _by_round(rows, one)


def audit_by_round(rows: Rows) -> list[dict[str, Any]]:
    """What the log alone says: the gap of the maximum and what it comes to when every backup adds as much, the share of
    greedy actions that the log does not support, of values beyond what rewards can earn, disagreement."""

    def one(number: int, own: list[dict[str, Any]]) -> dict[str, Any]:
        gap = None if own[0]["gaps"] is None else over_members([row["gaps"] for row in own])
        discount = own[0]["discount"]
        backups = (1 - discount**number) / (1 - discount) if discount < 1 else float(number)
        told = own[0]["supported"] is not None
        unsupported = share([[not s for s in row["supported"]] for row in own]) if told else None
        spread, differs = own[0]["spread"], own[0]["differs"]
        return {
            "round": number,
            "members": len(own),
            "frames": own[0]["frames"],
            "units": own[0]["units"],
            "independent": own[0]["independent"],
            "gap": gap,
            "gathered": None if gap is None else gap.mean * backups,
            "unsupported": unsupported,
            "value": over_members([[row["value"]] for row in own]),
            "spread": spread,
            "differs": None if differs is None else float(np.mean([row["differs"] for row in own])),
            "beyond": over_members([[row["beyond"]] for row in own]),
        }

    return _by_round(rows, one)


def fitted_by_round(rows: Rows) -> list[dict[str, Any]]:
    """Fitted Q-evaluation beside the prediction, at the first frames of the episodes."""

    def one(number: int, own: list[dict[str, Any]]) -> dict[str, Any]:
        fitted, predicted = [row["fitted"] for row in own], [row["predicted"] for row in own]
        return {
            "round": number,
            "members": len(own),
            "episodes": own[0]["episodes"],
            "held_out": own[0]["held_out"],
            "fitted": over_members(fitted),
            "predicted": over_members(predicted),
            "excess": paired(predicted, fitted),
        }

    return _by_round(rows, one)


def plain(rows: Rows) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [{k: v.json() if isinstance(v, Interval) else v for k, v in row.items()} for row in rows]
