"""The figures of a comparison, from its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import SymmetricalLogLocator

from fqi.nest import Array
from fqi.reports.comparison.wording import short, shown
from fqi.reports.drawing import FOURTH, INK, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.statistics import over_members
from fqi.reports.words import number, percent, plural

COLOURS = {"fitted Q": REALISED, "the log alone": PREDICTED, "more than the log": FOURTH, "reference": SOFT}
MARKS = {"fitted Q": "o", "the log alone": "s", "more than the log": "D"}  # so that colour is not all that tells them
LINES = {"random": (0, (1, 2)), "expert": "-", "behaviour": (0, (5, 2))}
CURVES = (REALISED, PREDICTED, THIRD, FOURTH, INK, SOFT)
UNITS = {  # what a learning curve runs over: the first of these that a learner's points carry
    "round": ("rounds", "rounds"),
    "iteration": ("iterations", "iterations"),
    "steps": ("steps", "environment steps"),
    "updates": ("updates", "gradient steps"),
}
SEEDS_DRAWN = 10  # thin curves of a learner
REFERENCES_DRAWN = 4  # lines across a figure; all stand in the table
LABEL = 22  # characters of a name beside a figure


def draw(content: Mapping[str, Any]) -> list[Drawn]:
    """Every figure for which there are numbers; the main one first."""
    return [drawn for drawn in _figures(content) if drawn is not None]


def _figures(content: Mapping[str, Any]) -> Iterator[Drawn | None]:
    whole, tasks = content["aggregate"], content["tasks"]
    if whole is not None:
        yield scores_over_tasks(whole)
        yield profile("profile", "Runs above each score, all tasks", whole["profiles"], "normalised score")
    for place, task in enumerate(tasks):
        name = f"_{place + 1}" if len(tasks) > 1 else ""
        yield scores_of_task(f"scores{name}", task)
        for unit in UNITS:
            yield curves(f"{UNITS[unit][0]}{name}", task, unit)
        if len(tasks) == 1:
            yield profile(f"profile{name}", "Runs above each score", task["profiles"], "return (reward per episode)")


# ---- intervals of each learner


def scores_of_task(name: str, task: Mapping[str, Any]) -> Drawn | None:
    """Each learner's interval and seeds, with the reference lines across."""
    rows = [row for row in task["rows"] if row["group"] != "reference"]
    lines = _lines(task["rows"])
    drawn_rows = [(row, row["scores"]) for row in rows]
    kept = (
        ""
        if len(lines) == len(task["rows"]) - len(rows)
        else " The best and the worst behaviours of the log are drawn."
    )
    return _intervals(
        name, f"Return on {short(task['name'])}", "return (reward per episode)", drawn_rows, lines,
        "Mark and bar: interquartile mean over seeds and its 95 % interval (one seed: over its episodes). Small dots: "
        f"each seed. Lines across: the references.{kept}",
    )  # fmt: skip


def scores_over_tasks(whole: Mapping[str, Any]) -> Drawn | None:
    """The same over all tasks."""
    rows = [(row, [v for own in row["scores"] for v in own]) for row in whole["rows"]]
    lines = [(LINES["random"], "low reference", 0.0), (LINES["expert"], "high reference", 1.0)]
    return _intervals(
        "scores", f"Normalised return over {plural(len(whole['tasks']), 'task')}", "normalised return", rows, lines,
        "Mark and bar: interquartile mean over all seeds and tasks and its 95 % interval. Small dots: each seed of "
        "each task. 0 and 1 are the reference scores of each task.",
    )  # fmt: skip


def _intervals(
    name: str,
    title: str,
    x: str,
    rows: Sequence[tuple[Mapping[str, Any], Sequence[float | None]]],
    lines: Sequence[tuple[Any, str, float]],
    caption: str,
) -> Drawn | None:
    if not rows:
        return None
    sheet = Sheet(name, title, x, "", (4.9, max(1.9, 1.0 + 0.31 * len(rows))))
    axes = sheet.axes
    axes.grid(visible=False, axis="y")
    for style, label, value in lines:
        axes.axvline(value, color=THIRD if label == "expert" else SOFT, linestyle=style, linewidth=1.2, label=label)
    for place, (row, scores) in enumerate(rows):
        colour = COLOURS[row["group"]]
        dots = _array(scores)
        dots = dots[np.isfinite(dots)]
        spread = 0.12 * np.where(np.arange(len(dots)) % 2, 1.0, -1.0) if len(dots) > 1 else np.zeros(len(dots))
        axes.plot(dots, place + 0.25 + 0.5 * spread, ".", color=colour, alpha=0.7, markersize=5, markeredgewidth=0)
        value, low, high = _array([row["iqm"][key] for key in ("value", "low", "high")])
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.45, solid_capstyle="butt")
        if np.isfinite(value):
            axes.plot([value], [place], marker=MARKS[row["group"]], color=colour, markersize=5, linestyle="")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _reach(sheet, rows, lines)
    words = "; ".join(f"{short(row['learner'])} {shown(row['iqm'])}" for row, _ in rows)
    across = "; ".join(f"{label} {number(value)}" for _, label, value in lines)
    data = {
        "learners": [
            {"learner": row["learner"], "group": row["group"], "iqm": row["iqm"], "scores": row["scores"]}
            for row, _ in rows
        ],
        "lines": [{"name": label, "value": value} for _, label, value in lines],
    }
    return sheet.drawn(
        f"{caption} {_legend([row for row, _ in rows])}",
        f"Interval chart. {title}: {words}.{f' Lines across: {across}.' if across else ''}",
        data,
        [_label(row["learner"]) for row, _ in rows],
    )


def _reach(
    sheet: Sheet, rows: Sequence[tuple[Mapping[str, Any], Any]], lines: Sequence[tuple[Any, str, float]]
) -> None:
    """A logarithm where one learner's returns dwarf all others', which would lie on one point otherwise."""
    sizes = [float(np.nanmax(np.abs(v))) for _, s in rows if np.isfinite(v := _array(s)).any()]
    others = sorted(size for size in sizes if size > 0)
    middle = max([*others[: (len(others) + 1) // 2][-1:], *(abs(value) for *_, value in lines)], default=0.0)
    if middle > 0 and others and others[-1] > 100 * middle:
        least = min(0.0, *(float(np.nanmin(v)) for _, s in rows if np.isfinite(v := _array(s)).any()))
        sheet.axes.set_xscale("symlog", linthresh=middle, linscale=2.0)
        locator = SymmetricalLogLocator(base=10, linthresh=middle)
        locator.set_params(numticks=5)
        sheet.axes.xaxis.set_major_locator(locator)
        sheet.axes.set_xlim(1.2 * least - 0.05 * middle, 3 * others[-1])
        sheet.axes.set_xlabel(f"return, log scale beyond ±{number(middle)}")


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, str, float]]:
    """The reference lines; of many behaviours the best and the worst."""
    own = [row for row in rows if row["group"] == "reference" and row["mean"]["mean"] is not None]
    own = [row for row in own if np.isfinite(row["mean"]["mean"])]
    behaviours = sorted((row for row in own if row["kind"] == "behaviour"), key=lambda row: float(row["mean"]["mean"]))
    room = REFERENCES_DRAWN - (len(own) - len(behaviours))
    if len(behaviours) > max(1, room):
        behaviours = [behaviours[0], behaviours[-1]]
    kept = [row for row in own if row["kind"] != "behaviour"] + behaviours
    return [(LINES[row["kind"]], _label(row["learner"]), float(row["mean"]["mean"])) for row in kept]


def _legend(rows: Sequence[Mapping[str, Any]]) -> str:
    words = {"fitted Q": "blue discs", "the log alone": "orange squares", "more than the log": "purple diamonds"}
    names = {
        "fitted Q": "fitted Q",
        "the log alone": "learns from the log alone",
        "more than the log": "took environment steps or asked an expert",
    }
    groups = dict.fromkeys(row["group"] for row in rows)
    text = "; ".join(f"{words[group]}: {names[group]}" for group in groups)
    return f"{text[0].upper()}{text[1:]}."


# ---- learning curves


def curves(name: str, task: Mapping[str, Any], unit: str) -> Drawn | None:
    """Return while learning, of the learners whose points run over this unit."""
    own = {learner: points for learner, points in task["curves"].items() if _unit(points) == unit}
    if not own:
        return None
    noun = UNITS[unit][1]
    sheet = Sheet(name, f"Learning over {noun}: {_label(task['name'])}", noun, "return (reward per episode)")
    words, data = [], {}
    for place, (learner, points) in enumerate(own.items()):
        colour = CURVES[place % len(CURVES)]
        seeds = sorted({point["seed"] for point in points})
        lines = {seed: _sorted(points, seed, unit) for seed in seeds}
        common = sorted(set.intersection(*(set(line) for line in lines.values())))
        if len(seeds) > 1:
            for seed in seeds[:SEEDS_DRAWN]:
                x = sorted(lines[seed])
                sheet.thin(np.array(x, float), _array([lines[seed][v] for v in x]), colour)
        found = [over_members([[lines[seed][x]] for seed in seeds]) for x in common]
        at = np.array(common, float)
        middle, low, high = (_array([getattr(f, part) for f in found]) for part in ("mean", "low", "high"))
        if len(common):
            if np.isfinite(low).any():
                sheet.band(at, low, high, colour)
            marker = "os^Dv*"[place % 6]
            sheet.line(at, middle, colour, _label(learner), dashed=place >= len(CURVES), marker=marker)
            words.append(f"{short(learner)} from {number(float(middle[0]))} to {number(float(middle[-1]))}")
        data[learner] = [
            {unit: x, "mean": f.mean, "low": f.low, "high": f.high, "seeds": len(seeds)}
            for x, f in zip(common, found, strict=True)
        ]
    for style, label, value in _lines(task["rows"]):
        sheet.axes.axhline(value, color=THIRD if label == "expert" else SOFT, linestyle=style, linewidth=1, zorder=0)
    over = sorted({point[unit] for points in own.values() for point in points})
    if unit in ("round", "iteration"):
        sheet.over_rounds(np.array(over, np.int64))
    asked = {k: max(p.get("queries") or 0 for p in points) for k, points in own.items()}
    queries = "".join(
        f" {short(k)} had asked {number(count)} labels by the end." for k, count in asked.items() if count
    )
    return sheet.drawn(
        f"Return while learning, over {noun}. Line and band: mean over seeds and 95 % interval; thin lines: each seed; "
        f"lines across: the references, as in the figure of returns.{queries}",
        f"Line chart over {noun}, {number(over[0])} to {number(over[-1])}. {'; '.join(words) or 'No common points'}.",
        data,
    )


def _unit(points: Sequence[Mapping[str, Any]]) -> str | None:
    """What this curve runs over: what every point carries and what is not the same throughout."""
    for unit in UNITS:
        found = [point.get(unit) for point in points]
        if all(v is not None for v in found) and (len(set(found)) > 1 or unit in ("round", "iteration")):
            return unit
    return None


def _sorted(points: Sequence[Mapping[str, Any]], seed: int, unit: str) -> dict[float, float]:
    own = [point for point in points if point["seed"] == seed]
    return {p[unit]: np.nan if p["return"] is None else p["return"] for p in sorted(own, key=lambda p: float(p[unit]))}


# ---- performance profiles


def profile(name: str, title: str, found: Mapping[str, Any] | None, x: str) -> Drawn | None:
    """The share of runs above each score."""
    if found is None:
        return None
    sheet = Sheet(name, title, x, "share of runs above")
    at, words = _array(found["at"]), []
    for place, (learner, curve) in enumerate(found["curves"].items()):
        colour = CURVES[place % len(CURVES)]
        share, low, high = (_array(curve[key]) for key in ("share", "low", "high"))
        if np.isfinite(low).all() and len(found["curves"]) <= len(CURVES):
            sheet.band(at, low, high, colour)
        sheet.line(at, share, colour, _label(learner), dashed=place >= len(CURVES), marker="")
        middle = len(at) // 2
        words.append(f"{short(learner)} {percent(float(share[middle]))}")
    sheet.axes.set_ylim(-0.02, 1.02)
    banded = " Bands: 95 % intervals of each point." if len(found["curves"]) <= len(CURVES) else ""
    return sheet.drawn(
        f"The share of all runs that score more than the value below; a curve further to the right is better.{banded}",
        f"Line chart. Share of runs above {number(float(at[len(at) // 2]))}: {'; '.join(words)}.",
        dict(found),
    )


# ---- parts


def _array(values: Sequence[Any]) -> Array:
    return np.array([np.nan if v is None else v for v in values], np.float64)


def _label(name: str) -> str:
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"
