"""The figures of a report. A figure is one function from logged rows and one line in FIGURES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fqi.nest import Array
from fqi.reports import learning
from fqi.reports.accuracy import figures as accuracy
from fqi.reports.drawing import FOURTH, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.evidence import Evidence
from fqi.reports.series import Series, series
from fqi.reports.statistics import Interval
from fqi.reports.words import basis, number, plural

CURVE = 300  # rounds drawn of a longer run, evenly spread
POINTS = 600  # start states drawn of a larger evaluation, evenly spread
VALUE = "value (discounted reward)"


def draw(evidence: Evidence) -> list[Drawn]:
    """Every figure for which something was logged, under its heading."""
    found = ((group, figure(evidence)) for group, figures in FIGURES.items() for figure in figures)
    return [replace(drawn, group=group) for group, drawn in found if drawn is not None]


# ---- from evaluations


def values(evidence: Evidence) -> Drawn | None:
    """What the run predicted at the start states against what its policy then earned."""
    judged = _spread(evidence.judged, CURVE)
    if not judged:
        return None
    sheet = Sheet("values", "Predicted against realised value", "round", VALUE)
    rounds = _rounds(judged)
    predicted, realised = _bands(judged, "predicted"), _bands(judged, "discounted")
    for (mean, low, high), colour, label in ((predicted, PREDICTED, "predicted"), (realised, REALISED, "realised")):
        sheet.band(rounds, low, high, colour)
        sheet.line(rounds, mean, colour, label, dashed=label == "realised", marker="o" if label == "predicted" else "s")
    sheet.over_rounds(rounds)
    sheet.stretch([predicted[0], realised[0]], _largest(realised[0]))
    cut, last = sheet.cut([predicted[0], realised[0]]), judged[-1]
    return sheet.drawn(
        "What the run predicts at the start states, and the discounted return that its greedy policy then earned from "
        f"the same states. {_band_words(judged, 'predicted')} Where predicted lies above realised, "
        f"values are too high.{cut}",
        f"Line chart over {_over(judged)}. Predicted value {_from_to(judged, 'predicted')}; realised value "
        f"{_from_to(judged, 'discounted')}; bias at round {last['round']} {number(last['bias'].mean, sign=True)}.",
    )


def returns(evidence: Evidence) -> Drawn | None:
    """What the policy earned, over rounds."""
    judged = _spread(evidence.judged, CURVE)
    if not judged:
        return None
    sheet = Sheet("returns", "Return of the greedy policy", "round", "return (reward per episode)")
    rounds = _rounds(judged)
    several = _members(sheet, judged, "return")
    mean, low, high = _bands(judged, "return")
    sheet.band(rounds, low, high, REALISED)
    sheet.line(rounds, mean, REALISED, "mean", marker="s")
    sheet.over_rounds(rounds)
    cut = sheet.cut([mean])
    best = int(np.nanargmax(mean)) if np.isfinite(mean).any() else 0
    return sheet.drawn(
        "Undiscounted return of an episode up to the time limit. "
        + _band_words(judged, "return")
        + (" Thin lines: each member." if several else "")
        + cut,
        f"Line chart over {_over(judged)}. Return {_from_to(judged, 'return')}; highest at round {rounds[best]}, "
        f"{number(float(mean[best]))}.",
    )


def _members(sheet: Sheet, judged: Sequence[dict[str, Any]], name: str) -> bool:
    """A thin line for each member, where there are several."""
    members = sorted({m["member"] for row in judged for m in row["per_member"]})
    for i, member in enumerate(members if len(members) > 1 else []):
        own = [next((m[name] for m in row["per_member"] if m["member"] == member), None) for row in judged]
        sheet.thin(_rounds(judged), _array(own), SOFT, None if i else "each member")
    return len(members) > 1


def bias(evidence: Evidence) -> Drawn | None:
    """Predicted minus realised at the start states, of all members and of each."""
    judged = _spread(evidence.judged, CURVE)
    if not judged:
        return None
    sheet = Sheet("bias", "Bias at the start states", "round", "bias (predicted − realised)")
    rounds = _rounds(judged)
    _members(sheet, judged, "bias")
    mean, low, high = _bands(judged, "bias")
    sheet.band(rounds, low, high, PREDICTED)
    sheet.line(rounds, mean, PREDICTED, "mean")
    sheet.axes.axhline(0, color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    sheet.over_rounds(rounds)
    realised = _bands(judged, "discounted")[0]
    sheet.stretch([mean], _largest(realised))
    cut = sheet.cut([mean, np.zeros(1)])
    return sheet.drawn(
        f"Above zero values are too high, below it too low. {_band_words(judged, 'bias')}{cut}",
        f"Line chart over {_over(judged)}. Bias {_from_to(judged, 'bias')}.",
    )


def calibration(evidence: Evidence) -> Drawn | None:
    """Realised against predicted at each start state, at the last evaluated round."""
    if not evidence.judged:
        return None
    last = evidence.judged[-1]
    rows = [row for row in evidence.evaluations if row["round"] == last["round"]]
    per_member = max(1, POINTS // len(rows))
    x, y = (_array([v for row in rows for v in _spread(row[name], per_member)]) for name in ("predicted", "discounted"))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    sheet = Sheet(
        "calibration", f"Each start state at round {last['round']}", f"predicted {VALUE}", f"realised {VALUE}"
    )
    if len(x):
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        margin = 0.05 * (ends[1] - ends[0]) or 0.05 * max(1.0, abs(ends[0]))
        ends = ends + np.array([-margin, margin])
        sheet.points(x, y, PREDICTED, "start state")
        sheet.axes.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="predicted = realised")
        sheet.square(ends)
    total = sum(len(row["predicted"]) for row in rows)
    shown = "" if len(x) == total else f" {number(len(x))} of {number(total)} are drawn, evenly spread."
    below = float((y < x).mean()) if len(x) else float("nan")
    return sheet.drawn(
        f"Each point is one start state of one member ({basis(last['bias'])}). Below the dotted diagonal the value is "
        f"too high, above it too low.{shown}",
        f"Scatter plot at round {last['round']}: predicted values {_range(x)}, realised values {_range(y)}; "
        f"{number(round(100 * below, 1))} percent of the points lie below the diagonal.",
    )


# ---- from metrics


def loss(evidence: Evidence) -> Drawn | None:
    """How well each regression fitted its targets."""
    curves = {"training": "training_loss", "held out": "heldout_loss"}
    return _metric_figure(
        evidence, "loss", "Loss of each regression", "squared error (value²)", curves, logarithm=True,
        caption="Mean squared error between Q and the round's frozen targets, on the rows regressed on and on those "
        "held out. Held-out loss far above training loss means that the regression fits noise.",
    )  # fmt: skip


def q_values(evidence: Evidence) -> Drawn | None:
    """The size of Q over the log, and what rewards can earn."""
    if not evidence.metrics:
        return None
    sheet = Sheet("q_values", "Q-values of the logged actions", "round", VALUE)
    last = evidence.metrics[-1]
    low, high = last.get("lowest_earnable"), last.get("highest_earnable")
    curves = {"mean": series(evidence.metrics, "mean_q"), "highest": series(evidence.metrics, "max_q")}
    thinned = {label: _thin(curve) for label, curve in curves.items()}
    for (label, curve), colour in zip(thinned.items(), (REALISED, PREDICTED), strict=True):
        _curve(sheet, curve, colour, label, dashed=label == "highest")
    bounds = [b for b in (low, high) if b is not None]
    sheet.over_rounds(thinned["mean"].rounds)
    sheet.stretch([c.values for c in thinned.values()], max((abs(b) for b in bounds), default=0.0))
    words = "The rewards seen set no bound to what can be earned."
    if low is not None and high is not None:
        # The bounds are drawn where the values lie near them; a distant one would flatten the curves.
        below, above = sheet.axes.get_ylim()
        room = above - below
        sheet.axes.axhspan(low, high, color=THIRD, alpha=0.10, linewidth=0, label="earnable", zorder=0)
        sheet.axes.set_ylim(min(below, max(low, below - room)), max(above, min(high, above + room)))
        words = f"Shaded: what the rewards seen can earn, {number(low)} to {number(high)}. Values outside it are wrong."
    return sheet.drawn(
        f"Mean and highest Q over the log. {words}{_member_words(curves['mean'])}",
        f"Line chart over {_over(evidence.metrics)}. Mean Q {_curve_words(curves['mean'])}; highest Q "
        f"{_curve_words(curves['highest'])}. {words}",
    )


def consistency(evidence: Evidence) -> Drawn | None:
    """How far Q is from its own targets, and how far the heads differ."""
    curves = {"Bellman residual": "bellman_residual"}
    if any(row.get("disagreement") for row in evidence.metrics):
        curves["disagreement of heads"] = "disagreement"
    return _metric_figure(
        evidence, "consistency", "Bellman residual and disagreement", VALUE, curves, logarithm=True,
        colours=(THIRD, FOURTH),
        caption="Bellman residual: root mean square of Q minus the target that it would give itself. Disagreement: "
        "standard deviation over the heads of a member, mean over the log.",
    )  # fmt: skip


def _metric_figure(
    evidence: Evidence,
    name: str,
    title: str,
    y: str,
    columns: dict[str, str],
    *,
    logarithm: bool,
    caption: str,
    colours: tuple[str, str] = (REALISED, PREDICTED),
) -> Drawn | None:
    curves = {label: series(evidence.metrics, column) for label, column in columns.items()}
    curves = {label: curve for label, curve in curves.items() if np.isfinite(curve.values).any()}
    if not curves:
        return None
    sheet = Sheet(name, title, "round", y)
    positive = logarithm and any((curve.values > 0).any() for curve in curves.values())
    for i, (label, curve) in enumerate(curves.items()):
        thinned = _thin(curve)
        if positive:  # a logarithm has no place for an exact fit
            thinned = Series(thinned.rounds, np.where(thinned.values > 0, thinned.values, np.nan))
        _curve(sheet, thinned, colours[i], label, dashed=i > 0)
        sheet.over_rounds(thinned.rounds)
    if positive:
        sheet.logarithm()
    first = next(iter(curves.values()))
    words = "; ".join(f"{label} {_curve_words(curve)}" for label, curve in curves.items())
    return sheet.drawn(
        caption + _member_words(first), f"Line chart over {_over(evidence.metrics)}. {words[0].upper()}{words[1:]}."
    )


def _curve(sheet: Sheet, curve: Series, colour: str, label: str, *, dashed: bool) -> None:
    if curve.values.shape[1] > 1:
        sheet.band(curve.rounds, curve.values.min(1), curve.values.max(1), colour)
    sheet.line(curve.rounds, curve.mean, colour, label, dashed=dashed, marker="s" if dashed else "o")


# ---- parts


def _thin(curve: Series) -> Series:
    count = len(curve.rounds)
    if count <= CURVE:
        return curve
    keep = np.unique(np.linspace(0, count - 1, CURVE).round().astype(int))
    return Series(curve.rounds[keep], curve.values[keep])


def _spread(content: Sequence[Any], count: int) -> list[Any]:
    if len(content) <= count:
        return list(content)
    return [content[i] for i in np.linspace(0, len(content) - 1, count).round().astype(int)]


def _array(content: Sequence[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in content], np.float64)


def _rounds(judged: Sequence[dict[str, Any]]) -> Array:
    return np.array([row["round"] for row in judged], np.int64)


def _bands(judged: Sequence[dict[str, Any]], name: str) -> tuple[Array, Array, Array]:
    found: list[Interval] = [row[name] for row in judged]
    return _array([i.mean for i in found]), _array([i.low for i in found]), _array([i.high for i in found])


def _largest(content: Array) -> float:
    return float(np.nanmax(np.abs(content))) if np.isfinite(content).any() else 0.0


def _band_words(judged: Sequence[dict[str, Any]], name: str) -> str:
    last: Interval = judged[-1][name]
    same = all((row[name].episodes, row[name].members) == (last.episodes, last.members) for row in judged)
    rests = basis(last) if same else f"{basis(last)} at the last, others as in the table"
    return f"Bands: 95 % intervals ({rests}; {last.method})."


def _member_words(curve: Series) -> str:
    members = curve.values.shape[1]
    return (
        f" Line: mean of {plural(members, 'member')}; band: the lowest to the highest of them." if members > 1 else ""
    )


def _over(rows: Sequence[dict[str, Any]]) -> str:
    rounds = [row["round"] for row in rows]
    return f"rounds {min(rounds)} to {max(rounds)}" if min(rounds) < max(rounds) else f"round {rounds[0]}"


def _from_to(judged: Sequence[dict[str, Any]], name: str) -> str:
    first, last = number(judged[0][name].mean), number(judged[-1][name].mean)
    return f"goes from {first} to {last}" if len(judged) > 1 else f"is {last}"


def _curve_words(curve: Series) -> str:
    mean = curve.mean[np.isfinite(curve.mean)]
    if not len(mean):
        return "has no finite number"
    return (
        f"goes from {number(float(mean[0]))} to {number(float(mean[-1]))}"
        if len(mean) > 1
        else f"is {number(float(mean[0]))}"
    )


def _range(content: Array) -> str:
    return f"{number(float(content.min()))} to {number(float(content.max()))}" if len(content) else "not finite"


Figure = Callable[[Evidence], Drawn | None]
FIGURES: dict[str, tuple[Figure, ...]] = {
    "From the start states": (values, returns, bias, calibration),
    **accuracy.FIGURES,
    "Over the rounds of training": (q_values, *learning.FIGURES, loss, consistency),
}
