"""The numbers of a comparison in words: in tables, in sentences and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fqi.reports.statistics import Interval
from fqi.reports.words import MISSING, number, percent, triple


def shown(estimate: Mapping[str, Any] | None, sign: bool = False) -> str:
    """An estimate or an interval with its ends, as in the tables."""
    if estimate is None:
        return MISSING
    value = estimate["value"] if "value" in estimate else estimate["mean"]
    ends = [float("nan") if v is None else v for v in (value, estimate["low"], estimate["high"])]
    middle, low, high = triple(Interval(ends[0], ends[1], ends[2], 0, 0, ""), sign)
    return middle if MISSING in (low, high) else f"{middle} [{low}, {high}]"


def chance(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return MISSING
    return f"{percent(estimate['value'])} [{percent(estimate['low'])}, {percent(estimate['high'])}]"


def costs(found: Mapping[str, Any]) -> str:
    """What a learner needed besides time."""
    parts = {"rows": "logged steps", "steps": "environment steps", "queries": "expert labels"}
    return ", ".join(f"{number(found[key])} {what}" for key, what in parts.items() if found[key])


def short(name: str | None) -> str:
    name = name or ""
    return name if len(name) <= 32 else name[:31] + "…"


def text_table(content: Mapping[str, Any]) -> list[str]:
    """The tables and the verdict as lines for a terminal."""
    lines: list[str] = []
    main = content["main"]
    for task in content["tasks"]:
        head = ["learner", "IQM [95 %]", "worst seed", f"P({short(main)} better)" if main else "", "seeds", "costs"]
        rows = [
            [
                short(row["learner"]),
                shown(row["iqm"]),
                number(row["worst"]),
                chance(row["improvement"]),
                str(row["seeds"] or MISSING),
                costs(row["costs"]),
            ]
            for row in task["rows"]
        ]
        lines += [f"{task['name']}", *_columns([head, *rows]), ""]
    if content["aggregate"] is not None:
        head = ["all tasks, normalised", "IQM [95 %]", "mean", "median", "optimality gap"]
        rows = [
            [short(row["learner"]), *(shown(row[key]) for key in ("iqm", "mean", "median", "optimality_gap"))]
            for row in content["aggregate"]["rows"]
        ]
        lines += [*_columns([head, *rows]), ""]
    return lines + [f"{sentence['text'].replace('`', '')}." for sentence in content["verdict"]]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            v.ljust(w) if i in (0, len(row) - 1) else v.rjust(w)
            for i, (v, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
