"""The page of a log alone."""

from __future__ import annotations

import json

from fqi.datasets.describe import describe
from fqi.reports.logs.page import write_log_report
from tests.fqi.known import chain
from tests.reports.report_runs import log


def test_a_log_of_vectors(tmp_path):
    data = log()
    page = write_log_report(data, "logs/x.h5", describe(data), tmp_path)
    content = json.loads(page.with_suffix(".json").read_text())
    assert [f["name"] for f in content["figures"]] == ["returns", "lengths", "order", "actions", "states"]
    assert content["lead"] == "240 steps in 10 episodes of CartPole-v1, logs/x.h5, collected by random."
    found = {s["kind"]: s for s in content["verdict"]}
    assert found["even"]["level"] == "good"
    assert found["rewards"]["text"].startswith("Every reward is 1: ")
    assert found["ends"]["text"].startswith(
        "10 of 10 episodes ended by themselves, 0 cut, where the last value bootstraps"
    )
    assert 2 + len(content["verdict"]) >= 5
    assert page.stat().st_size < 1_500_000


def test_actions_that_were_never_taken_are_a_warning(tmp_path):
    data = chain(repeats=4, only=lambda _, action: action == 1)
    page = write_log_report(data, "x.h5", describe(data), tmp_path, form="md")
    text = page.read_text()
    assert page.name == "log.md"
    assert "**Warning.** Never taken: 1 action (0)" in text
    assert "3 states of 3 were seen" in text
