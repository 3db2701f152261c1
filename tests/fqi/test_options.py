"""Options: what is wrong is said in one sentence that names the option."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from fqi.errors import UserError
from fqi.options import base_types, build, check, option


@dataclass(frozen=True)
class Sample:
    rounds: int = option(3, "Rounds.", low=1, high=10)
    rate: float = option(0.5, "Rate.", above=0)
    kind_of: str = option("soft", "Kind.", choices=("soft", "hard"))
    softness: float = option(1.0, "How soft.", above=0, only=("kind_of", "soft"))
    patience: int = option(0, "Patience.", low=0)
    looks: int = option(5, "Looks.", low=1, only=("patience", True))
    share: float | None = option(None, "Share.", low=0, high=1)
    loud: bool = option(False, "Loud.")
    echo: float = option(1.0, "Echo.", only=("kind_of", ("soft", "round")))


def test_defaults_hold_where_nothing_is_said():
    assert build(Sample, {}, "x") == Sample()


def test_right_values_are_taken():
    given = {"rounds": 10, "rate": 2, "kind_of": "hard", "share": None, "loud": True}
    built = build(Sample, given, "x")
    assert (built.rounds, built.rate, built.kind_of, built.share, built.loud) == (10, 2.0, "hard", None, True)
    assert isinstance(built.rate, float)  # an integer stands for a number
    assert build(Sample, {"share": 0}, "x").share == 0.0
    assert build(Sample, {"rate": float("inf")}, "x").rate == float("inf")


@pytest.mark.parametrize(("given", "message"), [
    ({"rounds": 0}, "x: rounds must be at least 1, found 0"),
    ({"rounds": 11}, "x: rounds must be at most 10, found 11"),
    ({"rounds": 2.0}, r"x: rounds must be int, found 2\.0"),
    ({"rounds": "2"}, "x: rounds must be int, found '2'"),
    ({"rounds": True}, "x: rounds must be int, found True"),
    ({"rounds": None}, "x: rounds must be int, found None"),
    ({"rounds": [1]}, r"x: rounds must be int, found \[1\]"),
    ({"rate": 0}, "x: rate must be greater than 0, found 0.0"),
    ({"rate": -1.5}, "x: rate must be greater than 0, found -1.5"),
    ({"rate": float("nan")}, "x: rate must be a number, found nan"),
    ({"rate": False}, "x: rate must be float, found False"),
    ({"kind_of": "odd"}, "x: kind-of must be one of soft, hard, found 'odd'"),
    ({"kind_of": 1}, "x: kind-of must be str, found 1"),
    ({"share": 1.5}, "x: share must be at most 1, found 1.5"),
    ({"share": "all"}, "x: share must be float, found 'all'"),
    ({"loud": 1}, "x: loud must be bool, found 1"),
    ({"luod": True}, "x: unknown option 'luod'; known are echo, kind_of, looks"),
    ({"kind_of": "hard", "softness": 2.0}, "x: softness has an effect only with kind-of soft, found 'hard'"),
    ({"kind_of": "hard", "echo": 2.0}, "x: echo has an effect only with kind-of soft or round, found 'hard'"),
    ({"looks": 6}, "x: looks has an effect only with patience above 0, found 0"),
])  # fmt: skip
def test_what_is_wrong_is_named(given, message):
    with pytest.raises(UserError, match=message) as found:
        build(Sample, given, "x")
    assert "\n" not in str(found.value)


def test_a_default_may_be_said_where_it_has_no_effect():
    # A run's own record says everything.
    assert build(Sample, {"kind_of": "hard", "softness": 1.0, "looks": 5}, "x").kind_of == "hard"
    assert build(Sample, {"looks": 6, "patience": 2}, "x").looks == 6


def test_values_can_be_checked_one_by_one():
    assert check(Sample, {"looks": 6, "rate": 1}, "x") == {"looks": 6, "rate": 1.0}


def test_types_are_read_from_annotations():
    types = {f.name: base_types(f) for f in fields(Sample)}
    assert types["share"] == (float, type(None))
    assert types["kind_of"] == (str,)
