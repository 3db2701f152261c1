"""Continuous actions on the command line, from log to page, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "--iterations", "2", "--updates", "5", "--width", "8", "--workers", "1", "--cem-samples", "8", "--cem-elites", "2",
)  # fmt: skip


@pytest.fixture
def log(fqi: Any, folder: Any) -> str:
    found: str = fqi("collect", "Pendulum-v1", "--policy", "scripted", "--steps", "400", "--json").json["log"]
    return found


def test_from_log_to_page(fqi: Any, log: str) -> None:
    trained = fqi("train", log, *SMALL, "--out", "run", "--json").json
    assert (trained["rounds"], trained["regressor"]) == (2, "mlp")
    assert fqi("train", "--resume", "run", "--iterations", "3", "--json").json["rounds"] == 3
    judged = fqi("evaluate", "run", "--episodes", "2", "--rounds", "1,3", "--states", "5")
    assert judged.code == 0, judged
    page = fqi("report", "run")
    assert page.code == 0, page
    assert Path("run/report/report.html").read_text().count("<svg") > 2
    played = fqi("collect", "Pendulum-v1", "--policy", "run:run@2,epsilon=0.1", "--steps", "200", "--out", "own.h5")
    assert played.code == 0, played


@pytest.mark.parametrize(("words", "said"), [
    (("--maximise", "enumerate"), "maximise enumerate has no meaning for the log's continuous actions"),
    (("--regressor", "trees"), "give mlp"),
    (("--target", "softmax"), "give one of max, mean, min, clipped, double, mixture"),
    (("--conservative", "1"), "conservative sums over all actions"),
    (("--loss", "quantile"), "loss quantile is for Discrete actions, found maximise cem"),
    (("--encoding", "networks"), "encoding is for Discrete actions"),
    (("--cem-elites", "100"), "cem-elites 100 are more than the cem-samples 64"),
])  # fmt: skip
def test_what_has_no_meaning_is_refused_before_a_run_is_made(fqi: Any, log: str, words: Any, said: str) -> None:
    found = fqi("train", log, *words, "--out", "run")
    assert found.code == 2
    assert said in found.err
    assert not Path("run").exists()
