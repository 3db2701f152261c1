"""Figures of what was measured beyond the start states: states of the log, exact values, the log alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fqi.nest import Array
from fqi.reports.accuracy.grid import error_grid
from fqi.reports.accuracy.summary import audit_by_round, exact_by_round, states_by_round
from fqi.reports.drawing import FOURTH, INK, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.evidence import Evidence
from fqi.reports.words import number, percent, plural

VALUE = "value (discounted reward)"
MOST = 600  # points drawn
BINS = 24


def calibration_of_states(evidence: Evidence) -> Drawn | None:
    """Predicted against realised in states of the log, with the line that fits them."""
    rows = _last(evidence.states)
    if not rows:
        return None
    x, y = _column(rows, "predicted"), _column(rows, "realised")
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep][:: max(1, len(x) // MOST)], y[keep][:: max(1, len(y) // MOST)]
    found = states_by_round(rows)[-1]
    sheet = Sheet("states", f"States of the log at round {found['round']}", f"predicted {VALUE}", f"realised {VALUE}")
    words = "no line fits them, as all predictions are alike"
    if len(x):
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        margin = 0.05 * (ends[1] - ends[0]) or 0.05
        ends = ends + np.array([-margin, margin])
        sheet.points(x, y, PREDICTED, "state", size=4)
        sheet.axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="predicted = realised")
        if found["slope"] is not None:
            within = np.array([x.min(), x.max()])
            sheet.axes.plot(within, found["intercept"] + found["slope"] * within, color=REALISED, label="fitted line")
            words = f"the line realised = {number(found['intercept'])} + {number(found['slope'])} × predicted fits them"
        sheet.square(ends)
    played = (
        "exact, from the known model"
        if found["rollouts"] is None
        else "exact: after the start nothing is left to chance"
        if found["rollouts"] == 1
        else f"of {found['rollouts']} rollouts each, mean standard error {number(found['error'])}"
    )
    return sheet.drawn(
        f"{plural(found['states'], 'state')} drawn from the log, for each of {plural(found['members'], 'member')}. "
        f"Realised values are {played}. Below the dotted diagonal the value is too high. A line flatter than the "
        "diagonal means that differences between states are overstated.",
        f"Scatter plot at round {found['round']}: predicted {_range(x)}, realised {_range(y)}; {words}.",
    )


def histogram_of_bias(evidence: Evidence) -> Drawn | None:
    """How the bias is spread over states of the log."""
    rows = _last(evidence.states)
    bias = _column(rows, "predicted") - _column(rows, "realised") if rows else np.zeros(0)
    bias = bias[np.isfinite(bias)]
    if not len(bias):
        return None
    sheet = Sheet("bias_histogram", "Bias over states of the log", "bias (predicted − realised)", "states")
    heights, edges = np.histogram(bias, BINS)
    sheet.bars(edges, heights.astype(np.float64), THIRD, "states")
    sheet.axes.axvline(0, color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="no bias")
    sheet.axes.axvline(float(bias.mean()), color=PREDICTED, linewidth=1.4, label="mean")
    low, high = (float(v) for v in np.quantile(bias, (0.05, 0.95)))
    return sheet.drawn(
        f"All {number(len(bias))} pairs of state and member at round {rows[0]['round']}. Mean "
        f"{number(float(bias.mean()), sign=True)}; nine in ten lie from {number(low, sign=True)} to "
        f"{number(high, sign=True)}.",
        f"Histogram of the bias: mean {number(float(bias.mean()), sign=True)}, {percent(float((bias > 0).mean()))} "
        "of the states are valued too high.",
    )


def bias_by_distance(evidence: Evidence) -> Drawn | None:
    """Whether the bias grows away from the data."""
    rows = [row for row in _last(evidence.states) if row["distance"] is not None]
    if not rows:
        return None
    distance, bias = _column(rows, "distance"), _column(rows, "predicted") - _column(rows, "realised")
    keep = np.isfinite(distance) & np.isfinite(bias)
    distance, bias = distance[keep], bias[keep]
    if len(distance) < 10 or distance.max() <= distance.min():
        return None
    discrete = rows[0]["rollouts"] is None
    name = "1 / (1 + rows of the pair)" if discrete else "distance to the nearest row with this action"
    sheet = Sheet("bias_distance", "Bias against distance from the data", name, "bias (predicted − realised)")
    step = max(1, len(distance) // MOST)
    sheet.points(distance[::step], bias[::step], PREDICTED, "state")
    order = np.argsort(distance, kind="stable")
    parts = [part for part in np.array_split(order, 6) if len(part)]
    middle = np.array([np.median(distance[part]) for part in parts])
    mean = np.array([bias[part].mean() for part in parts])
    sheet.line(middle, mean, REALISED, "mean of a sixth", marker="s")
    sheet.axes.axhline(0, color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    rank = _rank_correlation(distance, bias)
    return sheet.drawn(
        "Distance of each state and its greedy action from what was logged"
        + (
            ", told by how many rows its pair has."
            if discrete
            else ": standardised, to the nearest state of another episode in which that action was taken."
        )
        + f" Rank correlation with the bias: {number(rank, sign=True)}.",
        f"Scatter plot: the mean bias goes from {number(float(mean[0]), sign=True)} in the nearest sixth to "
        f"{number(float(mean[-1]), sign=True)} in the furthest; rank correlation {number(rank, sign=True)}.",
    )


def parts_of_bias(evidence: Evidence) -> Drawn | None:
    """What the exact bias at the start states is due to."""
    if not evidence.exact:
        return None
    last = exact_by_round(evidence.exact)[-1]
    names = {
        "regressor": "regressor and value rule", "maximum": "the maximum", "luck": "luck of the sample",
        "missing": "missing data", "rounds": "unfinished rounds", "policy": "policy short of optimum",
    }  # fmt: skip
    sheet = Sheet("parts", f"What the bias is due to at round {last['round']}", VALUE, "")
    sizes = np.array([last["parts"][part] for part in names])
    places = np.arange(len(sizes))[::-1]
    sheet.clouds.append({"label": "parts", "names": list(names.values()), "sizes": sizes.tolist()})
    colours = [PREDICTED if v > 0 else REALISED for v in sizes]
    sheet.axes.barh(places, sizes, color=colours, height=0.62)
    sheet.axes.axvline(0, color=INK, linewidth=0.8)
    words = "; ".join(f"{label} {number(last['parts'][part], sign=True)}" for part, label in names.items())
    return sheet.drawn(
        f"The parts add up to the exact bias at the start states, {number(last['bias'], sign=True)}: predicted "
        f"{number(last['predicted'])}, earned {number(last['earned'])}, optimum {number(last['optimum'])}. "
        f"{plural(last['pairs_missing'], 'pair')} of state and action that an episode can meet are not in the log.",
        f"Bar chart of the parts of the bias: {words}.",
        named=list(names.values())[::-1],
    )


def grid_of_errors(evidence: Evidence) -> Drawn | None:
    """Error of Q for each state and action of a grid."""
    rows = [row for row in _last(evidence.exact) if row["grid"] is not None and "q" in row]
    return error_grid(rows[0]) if rows else None


def gap(evidence: Evidence) -> Drawn | None:
    """How optimistic the maximum is by the members' own account."""
    found = [row for row in audit_by_round(evidence.audit) if row["gap"] is not None]
    if not found:
        return None
    sheet = Sheet("gap", "Optimism of the maximum, by the log alone", "round", VALUE)
    rounds = np.array([row["round"] for row in found])
    mean, low, high = (np.array([getattr(row["gap"], k) for row in found]) for k in ("mean", "low", "high"))
    sheet.band(rounds, low, high, THIRD)
    sheet.line(rounds, mean, THIRD, "gap, one backup")
    sheet.over_rounds(rounds)
    last = found[-1]
    shared = "" if last["independent"] else " They share the log and so its noise, of which no gap among them tells."
    return sheet.drawn(
        f"Each of the {last['units']} chooses, the others value the choice; the gap is own minus others' value, over "
        f"{plural(last['frames'], 'frame')} of the log. If every backup added as much, the values at round "
        f"{last['round']} would hold {number(last['gathered'], sign=True)} of it.{shared}",
        f"Line chart: the gap goes from {number(float(mean[0]), sign=True)} to {number(float(mean[-1]), sign=True)}.",
    )


def support(evidence: Evidence) -> Drawn | None:
    """Greedy actions that the log does not hold, and members that choose otherwise."""
    found = audit_by_round(evidence.audit)
    if not found or found[-1]["unsupported"] is None:
        return None
    sheet = Sheet("support", "Greedy actions against the data", "round", "share of frames")
    rounds = np.array([row["round"] for row in found])
    mean, low, high = (np.array([getattr(row["unsupported"], k) for row in found]) for k in ("mean", "low", "high"))
    sheet.band(rounds, low, high, PREDICTED)
    sheet.line(rounds, mean, PREDICTED, "unsupported")
    words = ""
    if found[-1]["differs"] is not None:
        differs = np.array([row["differs"] for row in found])
        sheet.line(rounds, differs, FOURTH, "members differ", dashed=True, marker="s")
        words = f" Two members choose differently in {percent(float(differs[-1]))} of the frames at the last round."
    sheet.over_rounds(rounds)
    sheet.axes.set_ylim(-0.02, 1.02)
    return sheet.drawn(
        "Unsupported: the greedy action was not taken in the state, or in any of the ten logged states nearest to it."
        + words,
        f"Line chart: unsupported greedy actions go from {percent(float(mean[0]))} to {percent(float(mean[-1]))}.",
    )


def _last(rows: Any) -> list[dict[str, Any]]:
    if not rows:
        return []
    last = max(row["round"] for row in rows)
    return [row for row in rows if row["round"] == last]


def _column(rows: list[dict[str, Any]], name: str) -> Array:
    return np.array([np.nan if v is None else v for row in rows for v in row[name]], np.float64)


def _range(values: Array) -> str:
    return f"{number(float(values.min()))} to {number(float(values.max()))}" if len(values) else "not finite"


def _rank_correlation(x: Array, y: Array) -> float | None:
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


FIGURES = {
    "States of the log": (calibration_of_states, histogram_of_bias, bias_by_distance),
    "Against the known model": (parts_of_bias, grid_of_errors),
    "By the log alone": (gap, support),
}
