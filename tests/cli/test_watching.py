"""What is seen of a training while it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SMALL

from fqi.cli.watching import Live, sparkline


def test_curves_of_small_bars():
    assert sparkline([0.0, 7.0]) == "▁█"
    assert sparkline([1.0, 1.0, 1.0]) == "▁▁▁"
    assert sparkline([0.0, float("nan"), 7.0]) == "▁ █"
    assert sparkline([float("nan")]) == ""
    assert len(sparkline([float(i) for i in range(100)])) == 12


def test_a_line_of_a_training():
    live = Live()
    rows = [{"mean_q": 1.0, "training_loss": 4.0}, {"mean_q": 3.0, "training_loss": 2.0}]
    assert live.add(rows) == "mean Q 2 ▁  loss 3 ▁"
    assert live.add([{"mean_q": 5.0, "training_loss": 1.0}], [7.0, 9.0]) == "mean Q 5 ▁█  loss 1 █▁  return 8 ▁"


def test_events_and_returns_on_the_way(fqi, copies):
    pytest.importorskip("tensorboard")
    answer = fqi("train", "log.h5", "--out", "seen", *SMALL, "--tensorboard", "--watch", 2, "--json")
    assert answer.json["rounds"] == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator("seen/tensorboard/member-0")
    events.Reload()
    rows = [json.loads(line) for line in Path("seen/metrics.jsonl").read_text().splitlines()]
    told = [event.value for event in events.Scalars("mean_q")]
    assert told == pytest.approx([row["mean_q"] for row in rows], rel=1e-6)
    kept = [json.loads(line) for line in Path("seen/evaluations.jsonl").read_text().splitlines()]
    assert [row["round"] for row in kept] == [2]
    assert events.Scalars("return")[0].value == pytest.approx(sum(kept[0]["returns"]) / 10)


def test_reports_of_several_of_a_log_and_as_markdown(fqi, copies):
    import shutil

    shutil.copytree("run", "other")
    assert fqi("report", "run", "other", "--json").json["report"] == "side-by-side/several.html"
    assert fqi("report", "run", "--format", "md", "--json").json["report"] == "run/report/report.md"
    assert fqi("data", "report", "log.h5", "--json").json["report"] == "log/log.html"
    assert "predicted" in Path("run/report/report.md").read_text()
    assert "expected html or md" in fqi("report", "run", "--format", "pdf").err


def test_evaluate_measures_what_it_can_and_play_films(fqi, copies):
    found = fqi("evaluate", "run", "--episodes", 2, "--states", 5, "--rounds", "last", "--no-films", "--json").json
    assert found["measured"] == ["audit", "states"]
    assert "no-such" in fqi("play", "run", "--video", "no-such.avi").err
    pytest.importorskip("pygame")
    film = fqi("play", "run", "--video", "film.webp", "--max-steps", 4, "--json").json
    assert film["length"] <= 4
    assert Path("film.webp").stat().st_size > 0
