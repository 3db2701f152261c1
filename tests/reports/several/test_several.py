"""Several trainings side by side: what differs, who is ahead, and that nothing else is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fqi.errors import UserError
from fqi.reports.several.entries import Entry, differing, entries_of, flat
from fqi.reports.several.page import numbers, write_several
from fqi.run import Run
from tests.reports.report_runs import evaluations, metrics, trained


def entry(label: str, high: float, bias: float = 0.1, **more: Any) -> Entry:
    rows = evaluations([10, 20], returns=lambda _: high, discounted=lambda _: 50.0, bias=lambda _: bias, noise=0.5)
    settings = {"gamma": 0.99, "target": label}
    return replace(
        Entry(label, f"runs/{label}", "f00d", "CartPole-v1", settings, metrics(20, mean_q=float), rows), **more
    )


def test_the_verdict_names_who_is_ahead_and_whose_values_are_truest():
    content = numbers([entry("min", 500.0), entry("max", 100.0, bias=40.0)])
    found = {s["kind"]: s for s in content["verdict"]}
    assert found["best"]["level"] == "good"
    assert found["best"]["text"].startswith("min returns most at its last evaluated round, ")
    assert found["bias"]["text"].startswith("The values of min are the truest")
    assert content["lead"] == "2 trainings on 1 log; they differ in target."
    level = numbers([entry("a", 500.0), entry("b", 500.0)])["verdict"][0]
    assert "overlaps" in level["text"]


def test_what_cannot_be_compared_is_said():
    other = entry("b", 1.0, log="beef", environment="Other-v0")
    assert [s["kind"] for s in numbers([entry("a", 1.0), other])["verdict"]] == ["logs", "environments"]
    bare = [entry(name, 1.0, evaluations=[]) for name in "ab"]
    assert [s["kind"] for s in numbers(bare)["verdict"]] == ["unevaluated"]


def test_the_page_and_its_markdown_hold_the_same_numbers(tmp_path):
    entries = [entry("min", 500.0), entry("max", 100.0)]
    page, note = write_several(entries, tmp_path), write_several(entries, tmp_path, form="md")
    assert (page.name, note.name) == ("several.html", "several.md")
    content = json.loads(page.with_suffix(".json").read_text())
    assert [f["name"] for f in content["figures"]] == ["returns", "bias", "mean_q", "residual"]
    cells = content["sections"][0]["tables"][0]["rows"][0]
    for text in (page.read_text(), note.read_text().replace("\\", "")):
        assert all(cell in text for cell in cells)
    assert "![Line chart over rounds" in note.read_text()


def test_runs_and_members_become_entries(tmp_path):
    first = trained(tmp_path / "a" / "run", members=2, rounds=2)
    second = trained(tmp_path / "b" / "run", members=2, rounds=2)
    entries = entries_of([first, second])
    assert [e.label for e in entries] == ["a/run", "b/run"]
    assert differing(entries) == {}
    one = Entry.of(Run(first.path), "width 8", members=[1], settings={"width": 16})
    assert {row["member"] for row in one.metrics} == {0}
    assert differing([entries[0], one]) == {"width": [8, 16]}
    with pytest.raises(UserError, match="named twice"):
        entries_of([first, Run(first.path)])
    assert flat({"a": 1, "mlp": {"b": 2}}) == {"a": 1, "b": 2}
