"""Every number of a comparison's page, from its cells alone."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from fqi.files import finite
from fqi.nest import Array
from fqi.reports import aggregates
from fqi.reports.aggregates import Estimate
from fqi.reports.comparison.methods import METHODS
from fqi.reports.comparison.record import REFERENCES, Cell, Comparison
from fqi.reports.comparison.verdict import verdict, warnings
from fqi.reports.statistics import Interval, over_members, paired
from fqi.reports.tables import tables

GROUPS = {
    "fqi": "fitted Q", "run": "fitted Q", "bc": "the log alone", "offline-dqn": "the log alone",
    "dagger": "more than the log", "dqn": "more than the log", "dqn-v1": "more than the log",
    "dqn-v2": "more than the log", "behaviour": "reference", "random": "reference", "expert": "reference",
}  # fmt: skip
ORDER = ("fitted Q", "the log alone", "more than the log", "reference")
PROFILED = 10  # seeds of one task from which the shares above a score are worth a figure
THRESHOLDS = 101  # at which a performance profile is taken
_STREAM = 0xC0A9  # so that intervals draw from no stream that training or evaluation draws from


def numbers(comparison: Comparison) -> dict[str, Any]:
    """Every number of the page as JSON values."""
    record, cells = comparison.record, comparison.cells
    main = _main(record)
    tasks = [_task(record, cells, i, main) for i in range(len(record["tasks"]))]
    whole = _aggregate(record, tasks, main) if len(tasks) > 1 else None
    groups = {entry["name"]: GROUPS[entry["kind"]] for entry in record["learners"]}
    missing = [{"task": t, "learner": learner, "group": groups[learner]} for t, learner in comparison.missing()]
    content = {
        "format": "fqi-comparison-report",
        "version": 1,
        "comparison": str(comparison.path),
        "title": _title(record),
        "created": record["created"],
        "status": record["status"],
        "message": record["message"],
        "seeds": record["seeds"],
        "episodes": record["episodes"],
        "seed": record["seed"],
        "main": main,
        "tasks": tasks,
        "aggregate": whole,
        "missing": missing,
        "verdict": [],
        "warnings": [],
        "settings": [
            {"name": entry["name"], "kind": entry["kind"], "tables": tables(entry["settings"])}
            for entry in record["learners"]
            if entry["settings"]
        ],
        "commands": _commands(comparison, record),
        "versions": record["versions"],
        "methods": METHODS,
    }
    content["verdict"] = [asdict(sentence) for sentence in verdict(content)]
    content["warnings"] = [asdict(sentence) for sentence in warnings(content)]
    result: dict[str, Any] = finite(content)
    return result


def _main(record: Mapping[str, Any]) -> str | None:
    """The learner that the page is about: the first fitted Q."""
    for kind in ("fqi", "run"):
        for learner in record["learners"]:
            if learner["kind"] == kind:
                return str(learner["name"])
    return None


def _title(record: Mapping[str, Any]) -> str:
    learners = [entry["name"] for entry in record["learners"] if entry["kind"] not in REFERENCES]
    tasks = [task["name"] for task in record["tasks"]]
    shown = ", ".join(tasks) if len(tasks) < 4 else f"{len(tasks)} tasks"
    return f"{shown}: {', '.join(learners) or 'reference lines'}"


def _commands(comparison: Comparison, record: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [{"what": "Compare", "command": shlex.join(record["command"])}] if record["command"] else []
    again = shlex.join(["fqi", "compare", "--resume", str(comparison.path)])
    return [*found, {"what": "Go on where it stopped, or write this page again", "command": again}]


# ---- one task


def _task(
    record: Mapping[str, Any], cells: Mapping[tuple[str, str], Cell], index: int, main: str | None
) -> dict[str, Any]:
    task = record["tasks"][index]
    own = {
        entry["name"]: cells[task["name"], entry["name"]]
        for entry in record["learners"]
        if (task["name"], entry["name"]) in cells
    }
    scale = _scale(task, own)
    places = {entry["name"]: i for i, entry in enumerate(record["learners"])}
    rows = [
        _row(name, cell, scale, np.random.default_rng([_STREAM, record["seed"], index, places[name]]))
        for name, cell in own.items()
    ]
    rows.sort(key=lambda row: ORDER.index(row["group"]))  # stable: as typed within a group
    scores = {name: [_scores(cell)] for name, cell in own.items() if cell["kind"] not in REFERENCES}
    pairs = _pairs(scores)
    for row in rows:
        row["improvement"] = _found(pairs, main, row["learner"])
    return {
        "name": task["name"],
        "log": task["log"],
        "expert": task["expert"],
        "limit": task["limit"],
        "scale": scale,
        "rows": rows,
        "pairs": pairs,
        "curves": {name: cell["curve"] for name, cell in own.items() if cell["curve"]},
        "shift": _shift(own),
        "predicted": _predicted(own),
        "profiles": _profiles(scores, record["seed"], index),
    }


def _scores(cell: Cell) -> Array:
    """[n] the mean return of each seed."""
    return np.array([over_members([row]).mean for row in cell["returns"]], np.float64)


def _scale(task: Mapping[str, Any], own: Mapping[str, Cell]) -> dict[str, Any] | None:
    """The scores that count as 0 and as 1."""
    given = task["reference_scores"]
    if given is not None:
        return {"low": given["low"], "high": given["high"], "source": given.get("source") or "given"}
    means = {cell["kind"]: float(_scores(cell)[0]) for cell in own.values() if cell["kind"] in ("random", "expert")}
    if {"random", "expert"} <= set(means) and means["random"] < means["expert"]:
        return {"low": means["random"], "high": means["expert"], "source": "random and expert on the same start states"}
    return None


def _normalised(value: float, scale: Mapping[str, Any]) -> float:
    return float((value - scale["low"]) / (scale["high"] - scale["low"]))


def _row(name: str, cell: Cell, scale: Mapping[str, Any] | None, generator: np.random.Generator) -> dict[str, Any]:
    """One learner of one task."""
    scores = _scores(cell)
    found = over_members(cell["returns"])
    centre = _iqm(scores, found, generator)
    reference = cell["kind"] in REFERENCES
    known = [float(v) for v in scores if v == v]
    worst = min(known) if known else None
    return {
        "learner": name,
        "kind": cell["kind"],
        "group": GROUPS[cell["kind"]],
        "seeds": 0 if reference else len(scores),
        "episodes": min(map(len, cell["returns"])),
        "scores": scores.tolist(),
        "seed_numbers": cell["seeds"],
        "iqm": centre.json(),
        "mean": found.json(),
        "worst": None if reference else worst,
        "normalised": None if scale is None else _scaled(centre, scale).json(),
        "success": _mean_of(cell["success"]),
        "length": _mean_of(cell["lengths"]),
        "costs": {key: cell[key] for key in ("rows", "steps", "queries", "updates", "network", "seconds")},
        "facts": _facts(cell),
        "artefacts": cell["artefacts"],
    }


def _iqm(scores: Array, found: Interval, generator: np.random.Generator) -> Estimate:
    """Over seeds; a single row of episodes stands for itself, with the interval of its mean."""
    if len(scores) == 1:
        return Estimate(found.mean, found.low, found.high, 1, 1, found.method)
    return aggregates.estimate(aggregates.interquartile_mean, [scores], generator)


def _scaled(estimate: Estimate, scale: Mapping[str, Any]) -> Estimate:
    value, low, high = (_normalised(v, scale) for v in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high)


def _mean_of(rows: Sequence[Sequence[Any]] | None) -> float | None:
    return None if rows is None else over_members([[v if v is None else float(v) for v in row] for row in rows]).mean


def _facts(cell: Cell) -> dict[str, Any]:
    """The mean over seeds of whatever else each of them says."""
    names = dict.fromkeys(key for own in cell["facts"] for key in own)
    found = {name: [own.get(name) for own in cell["facts"]] for name in names}
    return {name: over_members([[v] for v in values]).json() for name, values in found.items()}


def _pairs(scores: Mapping[str, aggregates.Scores]) -> list[dict[str, Any]]:
    """For each two learners, which of them is likelier to come out ahead."""
    return [
        {"first": a, "second": b, "probability": aggregates.improvement(scores[a], scores[b]).json()}
        for a, b in itertools.permutations(scores, 2)
    ]


def _found(pairs: Sequence[Mapping[str, Any]], first: str | None, second: str) -> dict[str, Any] | None:
    hits = (pair["probability"] for pair in pairs if pair["first"] == first and pair["second"] == second)
    return next(hits, None)


def _shift(own: Mapping[str, Cell]) -> list[dict[str, Any]]:
    """How well a clone does what was done in held-out episodes, and what the expert would do on the log's frames and on
    its own. Of Discrete actions the share that is the same, else the mean squared error."""
    found = []
    for name, cell in own.items():
        facts = _facts(cell)
        for heldout, expert in (("heldout_accuracy", "agreement"), ("heldout_error", "difference")):
            row = {"heldout": facts.get(heldout), "log": facts.get(f"{expert}_log"), "own": facts.get(f"{expert}_own")}
            if any(value is not None for value in row.values()):
                found.append({"learner": name, "measure": expert, **row})
    return found


def _predicted(own: Mapping[str, Cell]) -> list[dict[str, Any]]:
    """Predicted against realised value at the start states, for the learners that predict."""
    return [
        {
            "learner": name,
            "predicted": over_members(cell["predicted"]).json(),
            "realised": over_members(cell["discounted"]).json(),
            "bias": paired(cell["predicted"], cell["discounted"]).json(),
        }
        for name, cell in own.items()
        if cell["predicted"] is not None and cell["discounted"] is not None
    ]


def _profiles(scores: Mapping[str, aggregates.Scores], seed: int, index: int) -> dict[str, Any] | None:
    """Where there are several tasks or many seeds: the share of runs above each score."""
    known = {name: own for name, own in scores.items() if all(np.isfinite(s).all() for s in own)}
    enough = {name: own for name, own in known.items() if len(own) > 1 or (len(own) == 1 and len(own[0]) >= PROFILED)}
    if not enough:
        return None
    pooled = np.concatenate([s for own in enough.values() for s in own])
    at = np.linspace(pooled.min(), pooled.max(), THRESHOLDS)
    curves = {}
    for place, (name, own) in enumerate(enough.items()):
        generator = np.random.default_rng([_STREAM, seed, index, place, 1])
        share, low, high = aggregates.profile_band(own, at, generator)
        curves[name] = {"share": share.tolist(), "low": low.tolist(), "high": high.tolist()}
    return {"at": at.tolist(), "curves": curves}


# ---- over tasks


def _aggregate(
    record: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], main: str | None
) -> dict[str, Any] | None:
    """Normalised scores over all tasks that have references, of the learners that are finished on each of them."""
    scaled = [task for task in tasks if task["scale"] is not None]
    if not scaled:
        return None
    scores: dict[str, list[Array]] = {}
    groups: dict[str, str] = {}
    paid: dict[str, dict[str, int]] = {}
    for learner in record["learners"]:
        rows = [row for task in scaled for row in task["rows"] if row["learner"] == learner["name"]]
        if len(rows) == len(scaled) and learner["kind"] not in REFERENCES:
            scores[learner["name"]] = [
                np.array([_normalised(v, task["scale"]) for v in row["scores"]])
                for task, row in zip(scaled, rows, strict=True)
            ]
            groups[learner["name"]] = GROUPS[learner["kind"]]
            paid[learner["name"]] = {
                key: sum(row["costs"][key] or 0 for row in rows) for key in ("rows", "steps", "queries")
            }
    pairs = _pairs(scores)
    statistics = {
        "iqm": aggregates.interquartile_mean, "mean": aggregates.mean, "median": aggregates.median,
        "optimality_gap": aggregates.optimality_gap,
    }  # fmt: skip
    rows = [
        {
            "learner": name,
            "group": groups[name],
            "seeds": min(map(len, own)),
            "scores": [s.tolist() for s in own],
            "improvement": _found(pairs, main, name),
            "costs": paid[name],
        }
        | {
            key: aggregates.estimate(
                statistic, own, np.random.default_rng([_STREAM, record["seed"], len(tasks), place, i])
            ).json()
            for i, (key, statistic) in enumerate(statistics.items())
        }
        for place, (name, own) in enumerate(scores.items())
    ]
    rows.sort(key=lambda row: ORDER.index(row["group"]))
    return {
        "tasks": [task["name"] for task in scaled],
        "left_out": [task["name"] for task in tasks if task["scale"] is None],
        "rows": rows,
        "pairs": pairs,
        "profiles": _profiles(scores, record["seed"], len(tasks)),
    }
