"""Figures: drawn from what is there, the same bytes every time, colours that follow the page."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from report_runs import evaluations, metrics

from fqi.reports.drawing import COLOURS, Drawn
from fqi.reports.evidence import Evidence
from fqi.reports.figures import FIGURES, POINTS, calibration, draw, q_values, returns, values
from fqi.reports.overestimation import by_round

STARTS = ["values", "returns", "bias", "calibration"]
TRAINING = ["q_values", "spread", "actions", "norms", "loss", "consistency"]


def evidence(rounds: list[int] | None = None, **more: Any) -> Evidence:
    rows = evaluations(rounds or [1, 10, 20], returns=lambda k: k, discounted=lambda k: k, bias=lambda _: 3.0, **more)
    return Evidence(metrics(20, mean_q=lambda k: float(k), members=3), rows, by_round(rows))


@pytest.fixture(scope="module")
def found() -> list[Drawn]:
    return draw(evidence())


def test_every_figure_is_drawn_as_svg_and_png(found: list[Drawn]) -> None:
    assert [figure.name for figure in found] == [*STARTS, *TRAINING]
    assert {figure.group for figure in found} <= set(FIGURES)
    for figure in found:
        root = ET.fromstring(figure.svg.split("\n", 1)[1])
        assert root.get("aria-label") == figure.alt
        assert figure.png[:4] == b"\x89PNG"
        width, height = struct.unpack(">II", figure.png[16:24])
        assert (width, height) == (980, 630)
        assert "http" not in figure.inline
        assert figure.title in figure.inline
        assert "<text" in figure.inline  # text stays text


def test_no_colour_is_fixed(found: list[Drawn]) -> None:
    for figure in found:
        for light, _ in COLOURS.values():
            assert figure.inline.count(light) == figure.inline.count(f",{light})")
        assert "#000000" not in figure.inline


def test_the_same_rows_give_the_same_bytes(found: list[Drawn]) -> None:
    assert draw(evidence()) == found


def test_nothing_logged_draws_nothing() -> None:
    assert draw(Evidence([], [], [])) == []


def test_alt_text_speaks_in_numbers() -> None:
    drawn = values(evidence(noise=0.0))
    assert drawn is not None
    assert drawn.alt == (
        "Line chart over rounds 1 to 20. Predicted value goes from 4 to 23; realised value goes from 1 to 20; "
        "bias at round 20 +3."
    )
    drawn = returns(evidence(noise=0.0))
    assert drawn is not None
    assert drawn.alt == "Line chart over rounds 1 to 20. Return goes from 1 to 20; highest at round 20, 20."


def test_large_evaluations_are_thinned_and_say_so() -> None:
    drawn = calibration(evidence([5], episodes=POINTS))
    assert drawn is not None
    assert f"{POINTS} of 1,800 are drawn" in drawn.caption
    assert drawn.inline.count("<use") < POINTS + 50


def test_values_that_run_away_are_drawn_on_a_log_scale() -> None:
    rows = metrics(20, mean_q=lambda k: 10.0**k)
    drawn = q_values(Evidence(rows, [], []))
    assert drawn is not None
    assert "log scale beyond ±100" in drawn.inline


@pytest.mark.parametrize("bounds", [(None, None), (None, 5.0), (0.0, 0.0), (-1000.0, 20.0)])
def test_bounds_of_any_kind(bounds: tuple[float | None, float | None]) -> None:
    drawn = q_values(Evidence(metrics(3, mean_q=lambda k: float(k), low=bounds[0], high=bounds[1]), [], []))
    assert drawn is not None


def test_numbers_that_are_not_finite_leave_gaps() -> None:
    rows = metrics(5, mean_q=lambda _: 1.0)
    for row in rows:
        row |= {"mean_q": None, "max_q": None, "training_loss": None, "heldout_loss": None, "bellman_residual": 0.0}
        row["disagreement"] = None
    found = evaluations([5], returns=lambda _: 1, discounted=lambda _: 1, bias=lambda _: 1)
    for row in found:
        row["predicted"] = [None] * len(row["predicted"])
    assert [f.name for f in draw(Evidence(rows, found, by_round(found)))] == [
        *STARTS, "q_values", "actions", "norms", "consistency",
    ]  # fmt: skip
