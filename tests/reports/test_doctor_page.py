"""The doctor's page shows every finding and measure, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fqi.reports.doctor_page import render, write_check

FINDING = {
    "name": "rewards shifted",
    "severity": "error",
    "column": "rewards",
    "rows": [3, 4],
    "count": 12,
    "expected": "a <reward>",
    "found": "another",
    "repairable": True,
    "of": "x.h5",
    "why": "each y holds the return of a neighbouring step",
    "mend": "fqi data repair x.h5 --only rewards-shifted --out y.h5",
}
MEASURES = {
    "trajectory_quality": {"value": 0.25, "mean_return": 12.5, "gamma": 0.9, "worst": 1.0, "best": 47.0,
                           "worst_and_best": "as given"},
    "state_action_coverage": {"value": None, "unique_pairs": 37, "rows": 99, "why_none": "name a log"},
    "behaviour_entropy": {"actions": 0.625, "actions_given_state": 0.5, "by_propensity": None},
    "support": {"actions": [{"action": a, "steps": 7, "share": 0.5, "states": 3, "share_of_states": 1.0}
                            for a in range(50)],
                "states": 11, "never_taken": [8], "states_with_every_action": 0.5,
                "often_visited_states_with_every_action": None, "fewest_visits_of_a_pair": 1},
    "cells": "states are told apart exactly",
}  # fmt: skip


def result(**more: Any) -> dict[str, Any]:
    replay = {"environment": "Pendulum-v1", "played": 90, "steps": 99, "agree": 89}
    empty = {"log": "x.h5", "ok": True, "findings": [], "repair": None, "replay": replay, "measures": None}
    return empty | more


def test_findings_are_shown_with_why_and_how_to_mend() -> None:
    page = render(result(ok=False, findings=[FINDING], repair=FINDING["mend"]))
    for part in ("1 error", "rewards shifted", "a &lt;reward&gt;", "12 rows: 3, 4, …", "Each y holds", FINDING["mend"]):
        assert str(part) in page
    assert "<script" not in page
    assert "http" not in page.split("<body>")[1]


def test_a_sound_log_is_called_so() -> None:
    page = render(result(replay={"reason": "the log does not name its environment"}))
    assert "No fault and no oddity was found" in page
    assert "does not name its environment" in page


def test_measures_are_shown() -> None:
    page = render(result(measures=MEASURES))
    for part in ("0.25", "12.5", "37", "0.625", "Never taken:</b> 8", "10 more actions", "89 of 90 steps"):
        assert part in page


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    write_check(result(), tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!doctype html>")
