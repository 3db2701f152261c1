"""One page about several runs: what they were told, what they earned, and how far their values can be trusted."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fqi.files import finite
from fqi.reports import rendering
from fqi.reports.accuracy.summary import audit_by_round, exact_by_round
from fqi.reports.overestimation import best_round, by_round, comparable
from fqi.reports.sentences import Sentence
from fqi.reports.several.entries import Entry, differing
from fqi.reports.several.figures import draw
from fqi.reports.statistics import Interval
from fqi.reports.tables import table
from fqi.reports.words import MISSING, number, percent, plural, triple

METHODS = ("Return", "Realised value", "Predicted value", "Bias", "95 % intervals", "Gap of the maximum")


def write_several(entries: Sequence[Entry], out: Path, *, form: str = "html", title: str = "") -> Path:
    """Write the page into the folder `out` as several.html (or .md), or as `out` where that names such a file."""
    content, figures = numbers(entries, title), draw(entries)
    return rendering.publish(out, "several", "plain.html.j2", content, figures, form)


def numbers(entries: Sequence[Entry], title: str = "") -> dict[str, Any]:
    """Every number of the page, as JSON values."""
    rows = [_judge(entry) for entry in entries]
    apart = differing(entries)
    names = [entry.label for entry in entries]
    again = shlex.join(["fqi", "report", *dict.fromkeys(entry.run for entry in entries)])
    sections = [
        {"title": "Results", "tables": [_results(rows)]},
        {"title": "Settings side by side", "tables": [
            table("", ["setting", *names], [[name, *values] for name, values in apart.items()])
        ]},
    ]  # fmt: skip
    where = sorted({entry.environment for entry in entries})
    whole: dict[str, Any] = finite({
        "format": "fqi-several", "version": 1,
        "title": title or f"{', '.join(where)}: {plural(len(entries), 'training')} side by side",
        "lead": f"{plural(len(entries), 'training')} on {plural(len({e.log for e in entries}), 'log')}; they differ in "
        f"{', '.join(apart) if apart else 'nothing but their seeds'}.",
        "verdict": [dataclasses.asdict(sentence) for sentence in _verdict(entries, rows)],
        "rows": [{k: v.json() if isinstance(v, Interval) else v for k, v in row.items()} for row in rows],
        "sections": sections,
        "commands": [
            {"what": entry.label, "command": shlex.join(entry.command)} for entry in entries if entry.command
        ] + [{"what": "Write this page", "command": again}],
        "versions": dict(entries[0].versions),
        "methods": METHODS,
    })  # fmt: skip
    return whole


def _judge(entry: Entry) -> dict[str, Any]:
    judged = comparable(by_round(entry.evaluations)) if entry.evaluations else []
    best, last = (best_round(judged), judged[-1]) if judged else (None, None)
    audit, exact = audit_by_round(entry.audit), exact_by_round(entry.exact)
    return {
        "label": entry.label,
        "rounds": max((row["round"] for row in entry.metrics), default=0),
        "members": len({row["member"] for row in entry.metrics}),
        "round": None if last is None else last["round"],
        "return": None if last is None else last["return"],
        "bias": None if last is None else last["bias"],
        "predicted": None if last is None else last["predicted"].mean,
        "realised": None if last is None else last["discounted"].mean,
        "best_round": None if best is None else best["round"],
        "best_return": None if best is None else best["return"].mean,
        "unsupported": audit[-1]["unsupported"].mean if audit and audit[-1]["unsupported"] else None,
        "gap": audit[-1]["gap"].mean if audit and audit[-1]["gap"] else None,
        "exact_bias": exact[-1]["bias"] if exact else None,
    }


def _results(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    heads = ["training", "round", "return [95 %]", "best round", "its return", "predicted", "realised", "bias [95 %]",
             "exact bias", "unsupported", "gap", "members"]  # fmt: skip
    cells = [
        [
            row["label"], number(row["round"]), _interval(row["return"]), number(row["best_round"]),
            number(row["best_return"]), number(row["predicted"]), number(row["realised"]),
            _interval(row["bias"], sign=True), number(row["exact_bias"], sign=True), percent(row["unsupported"]),
            number(row["gap"], sign=True), number(row["members"]),
        ]
        for row in rows
    ]  # fmt: skip
    kept = [i for i in range(len(heads)) if any(line[i] != MISSING for line in cells)]
    return table("", [heads[i] for i in kept], [[line[i] for i in kept] for line in cells])


def _interval(found: Interval | None, sign: bool = False) -> str:
    if found is None:
        return MISSING
    mean, low, high = triple(found, sign)
    return mean if low == MISSING else f"{mean} [{low}, {high}]"


def _verdict(entries: Sequence[Entry], rows: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    if len({entry.log for entry in entries}) > 1:
        yield Sentence(
            "logs", "bad", "They were not trained on the same log, so that the settings are not all that differs"
        )
    if len({entry.environment for entry in entries}) > 1:
        yield Sentence("environments", "bad", "Their environments differ, so that their returns cannot be compared")
        return
    judged = [row for row in rows if row["return"] is not None]
    if not judged:
        yield Sentence("unevaluated", "note", "None of them was evaluated; type `fqi evaluate RUN` for each")
        return
    best = max(judged, key=lambda row: row["return"].mean)
    equal = [row["label"] for row in judged if row is not best and row["return"].high >= best["return"].low]
    yield Sentence("best", "note" if equal else "good", (
        f"{best['label']} returns most at its last evaluated round, {number(best['return'].mean)}"
        + (f"; its interval overlaps with that of {', '.join(equal)}" if equal else ", its interval above all others")
    ))  # fmt: skip
    fair = min(judged, key=lambda row: abs(row["bias"].mean))
    worst = max(judged, key=lambda row: abs(row["bias"].mean))
    if fair is not worst:
        yield Sentence("bias", "note", (
            f"The values of {fair['label']} are the truest, off by {number(fair['bias'].mean, sign=True)} at the start "
            f"states; those of {worst['label']} are off by {number(worst['bias'].mean, sign=True)}"
        ))  # fmt: skip
    for row in judged:
        if row["best_return"] - row["return"].mean > 0.1 * max(abs(row["best_return"]), 1e-9):
            yield Sentence(f"fall {row['label']}", "bad", (
                f"{row['label']} fell from {number(row['best_return'])} at round {row['best_round']} to "
                f"{number(row['return'].mean)} at round {row['round']}"
            ))  # fmt: skip
    few = [row["label"] for row in judged if row["members"] == 1]
    if few:
        yield Sentence("one member", "note", (
            f"One member alone speaks for {', '.join(few)}: another seed may turn the order round; train with --seeds 5"
        ))  # fmt: skip
