"""The page of a log alone: what is in it, and what can be learned from it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fqi.files import finite
from fqi.log import Log
from fqi.reports import rendering
from fqi.reports.logs.figures import draw
from fqi.reports.sentences import Sentence
from fqi.reports.tables import tables
from fqi.reports.words import number, percent, plural

RARE = 0.02  # share of the steps below which an action is called rare


def write_log_report(
    log: Log, reference: str, description: Mapping[str, Any], out: Path, *, measures: Mapping[str, Any] | None = None,
    findings: int = 0, form: str = "html",
) -> Path:  # fmt: skip
    """Write the page into the folder `out` as log.html (or .md), or as `out` itself where that names such a file."""
    content = numbers(log, reference, description, measures, findings)
    return rendering.publish(out, "log", "plain.html.j2", content, draw(log), form)


def numbers(
    log: Log, reference: str, description: Mapping[str, Any], measures: Mapping[str, Any] | None, findings: int
) -> dict[str, Any]:
    """Every number of the page, as JSON values."""
    environment = str((log.environment or {}).get("id") or "an unnamed environment")
    sections = [{"title": "What is in it", "tables": tables(dict(description))}]
    if measures is not None:
        sections.append({"title": "What can be learned from it", "tables": tables(dict(measures))})
    collected = log.provenance.get("command")
    commands = [{"what": "Collect it", "command": _line(collected)}] if collected else []
    whole: dict[str, Any] = finite({
        "format": "fqi-log-report", "version": 1,
        "title": f"{environment}: a log of {plural(log.steps, 'step')}",
        "lead": f"{plural(log.steps, 'step')} in {plural(log.episodes, 'episode')} of {environment}, {reference}"
        + (f", collected by {', '.join(log.behaviours)}" if log.behaviours else "") + ".",
        "verdict": [dataclasses.asdict(sentence) for sentence in _verdict(description, measures, reference, findings)],
        "sections": sections,
        "commands": [
            *commands,
            {"what": "Check it, with row numbers", "command": shlex.join(["fqi", "data", "check", reference])},
            {"what": "Train on it", "command": shlex.join(["fqi", "train", reference])},
            {"what": "Write this page", "command": shlex.join(["fqi", "data", "report", reference])},
        ],
        "versions": log.provenance.get("versions") or {},
        "methods": (),
    })  # fmt: skip
    return whole


def _verdict(
    description: Mapping[str, Any], measures: Mapping[str, Any] | None, reference: str, findings: int
) -> Iterator[Sentence]:
    if findings:
        yield Sentence("findings", "bad", (
            f"{plural(findings, 'fault')} would make targets wrong; type `fqi data check {shlex.quote(reference)}`"
        ))  # fmt: skip
    returns, episodes = description["return"], description["episodes"]
    if returns["count"]:
        quantiles = returns["quantiles"]
        yield Sentence("returns", "note", (
            f"The mean return is {number(returns['mean'])}, from {number(returns['min'])} to {number(returns['max'])}; "
            f"half of the episodes lie between {number(quantiles['0.25'])} and {number(quantiles['0.75'])}"
        ))  # fmt: skip
    ended = description["terminated"]
    yield Sentence("ends", "note", (
        f"{number(ended)} of {plural(episodes, 'episode')} ended by themselves, {number(description['truncated'])} "
        "cut, where the last value bootstraps"
    ))  # fmt: skip
    actions = description["actions"]
    if actions["kind"] == "discrete":
        rare = [row for row in actions["counts"] if row["share"] < RARE]
        never = [str(row["action"]) for row in actions["counts"] if row["count"] == 0]
        if never:
            yield Sentence("never", "bad", (
                f"Never taken: {plural(len(never), 'action')} ({', '.join(never[:8])}{', …' * (len(never) > 8)}); "
                "the maximum would ask for values that rest on nothing, so keep to the data by --constraint 0.3"
            ))  # fmt: skip
        elif rare:
            yield Sentence(
                "rare", "note", f"{plural(len(rare), 'action')} were taken in less than {percent(RARE)} of the steps"
            )
        else:
            yield Sentence("even", "good", "Every action was taken often enough for its value to rest on data")
    rewards = description["rewards"]
    if rewards["count"] and rewards.get("distinct") == 1:
        yield Sentence(
            "rewards", "note", f"Every reward is {number(rewards['mean'])}: values tell nothing but when episodes end"
        )


def _line(command: Any) -> str:
    return command if isinstance(command, str) else shlex.join(map(str, command))
