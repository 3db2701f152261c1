"""The settings of a sweep side by side: in order of what they earned, compared seed by seed, and one of them shown."""

from __future__ import annotations

import json

import pytest

from fqi.reports.page import write_report
from fqi.reports.sweeps import settings_of, side_by_side
from fqi.training import configure, train
from tests.reports import report_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = report_runs.log()
    flags = {
        "iterations": 3,
        "seeds": 2,
        "ensemble": 2,
        "workers": 1,
        "width": 8,
        "depth": 1,
        "updates": 4,
        "batch": 32,
    }
    config = configure(data, flags=flags, sweep={"lr": [1e-3, 1e-2], "gamma": [0.9, 0.5]})
    run = train(data, config, tmp_path_factory.mktemp("runs") / "sweep", log_reference="log.h5", command=["fqi"])
    rows = []
    for place, (earned, gamma) in enumerate(((10, 0.9), (40, 0.5), (20, 0.9), (30, 0.5))):
        own = report_runs.evaluations(
            [1, 3], returns=lambda n, e=earned: e + n, discounted=lambda n: n, bias=lambda n: 1.0, members=2,
            noise=0.1, seed=place, gamma=gamma,
        )  # fmt: skip
        rows += [row | {"member": row["member"] + 2 * place} for row in own]
    run.add_evaluations(rows)
    return run


def test_settings_stand_in_order_of_what_they_earned(run):
    settings = settings_of(run)
    assert [s.label for s in settings] == [
        "lr 0.001, gamma 0.5", "lr 0.01, gamma 0.5", "lr 0.01, gamma 0.9", "lr 0.001, gamma 0.9",
    ]  # fmt: skip
    for setting in settings:
        assert {row["member"] for row in setting.evaluations} == {row["member"] for row in setting.metrics} == {0, 1}
    found = side_by_side(settings)
    assert (found["shown"], found["round"]) == ("lr 0.001, gamma 0.5", 3)
    first, second = found["rows"][:2]
    assert first["return"]["mean"] == pytest.approx(43, abs=0.3)
    assert first["behind"] is None
    # 33 against 43, from the same two seeds.
    assert second["behind"]["mean"] == pytest.approx(-10, abs=0.4)
    assert second["behind"]["members"] == 2
    assert second["best_round"] == 3


def test_the_page_compares_them_and_speaks_of_one(run):
    page = write_report(run)
    assert f"run:{run.path}@3,member=2`" in json.dumps(json.loads(page.with_suffix(".json").read_text())["verdict"])
    assert f"fqi play {run.path} --round 3 --member " in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["play_command"].split()[6] in ("2", "3")
    text, content = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "Settings side by side" in text
    for label in run.config.labels:
        assert label in text
    assert "speak of <b>lr 0.001, gamma 0.5</b> alone" in text
    assert content["figures"][0]["name"] == "settings"
    assert content["training"]["gamma"] == 0.5
    assert [row["return"]["mean"] for row in content["evaluated"]] == pytest.approx([41, 43], abs=0.3)
    assert all(row["member"] in (0, 1) for row in content["metrics"])


def test_a_run_without_a_sweep_has_one_setting_and_says_nothing_of_it(tmp_path):
    plain = report_runs.trained(tmp_path / "plain", rounds=2, members=2)
    assert len(settings_of(plain)) == 1
    assert side_by_side(settings_of(plain)) is None
    assert "side by side" not in write_report(plain).read_text()
