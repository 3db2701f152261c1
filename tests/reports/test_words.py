"""Numbers as a reader sees them."""

from __future__ import annotations

from typing import Any

import pytest

from fqi.reports.statistics import Interval
from fqi.reports.words import number, percent, plural, span, triple


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (float("-inf"), "−∞"), (True, "yes"), (False, "no"),
        (0, "0"), (0.0, "0"), (-0.0, "0"), (50000, "50,000"), (12345.6, "12,346"), (487.23, "487.2"),
        (-0.35276, "−0.3528"), (100.0, "100"), (1.5e9, "1.5e9"), (2e-7, "2e−7"),
    ],
)  # fmt: skip
def test_numbers(value: Any, text: str) -> None:
    assert number(value) == text


def test_signs() -> None:
    assert [number(v, sign=True) for v in (1.5, -1.5, 0.0)] == ["+1.5", "−1.5", "0"]


@pytest.mark.parametrize(
    ("share", "text"), [(None, "–"), (0.0, "0 %"), (0.0042, "0.42 %"), (0.5, "50 %"), (12.0, "1200 %")]
)
def test_shares(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_an_interval_has_the_decimals_that_its_width_deserves() -> None:
    assert triple(Interval(1.23456, 1.2, 1.26912, 1, 1, "")) == ("1.235", "1.200", "1.269")
    assert triple(Interval(-480.2, -495.1, -465.3, 1, 1, ""), sign=True) == ("−480", "−495", "−465")
    assert triple(Interval(500.0, 500.0, 500.0, 1, 1, "")) == ("500", "500", "500")


def test_what_a_number_rests_on() -> None:
    assert span(Interval(1.0, 0.0, 2.0, 100, 1, "")) == "95 % interval 0.0 to 2.0; 100 episodes × 1 member"
    assert span(Interval(1.0, float("nan"), float("nan"), 1, 1, "")) == "no interval; 1 episode × 1 member"
    assert plural(1000, "step") == "1,000 steps"
