"""Rounds judged from rows whose numbers are known."""

from __future__ import annotations

from typing import Any

import pytest
from report_runs import evaluations

from fqi.errors import UserError
from fqi.reports.overestimation import best_round, by_round, comparable


def row(number: int, member: int, **columns: Any) -> dict[str, Any]:
    known = {"environment": "E", "seed": 0, "episodes": 2, "gamma": 0.9, "limit": None, "success": None}
    known |= {"lengths": [3, 5], "terminated": [True, False], "tail": [0.0, 0.5]}
    return {"round": number, "member": member, **known, **columns}


def planted() -> list[dict[str, Any]]:
    return [
        row(2, 1, returns=[8.0, 10.0], discounted=[4.0, 6.0], predicted=[9.0, 11.0], success=[True, True]),
        row(2, 0, returns=[6.0, 8.0], discounted=[3.0, 3.0], predicted=[4.0, 8.0], success=[True, False]),
        row(1, 0, returns=[1.0, 3.0], discounted=[0.0, 0.0], predicted=[1.0, 1.0]),
        row(1, 1, returns=[1.0, 3.0], discounted=[0.0, 0.0], predicted=[1.0, 1.0]),
    ]


def test_each_round_holds_means_over_members() -> None:
    first, second = by_round(planted())
    assert (first["round"], second["round"], second["members"], second["episodes"]) == (1, 2, 2, 2)
    assert second["return"].mean == 8.0  # of 7 and 9
    assert second["discounted"].mean == 4.0  # of 3 and 5
    assert second["predicted"].mean == 8.0  # of 6 and 10
    assert second["bias"].mean == 4.0  # of 3 and 5
    assert second["bias"].high == pytest.approx(4 + 12.706205)  # t of 1 degree of freedom, error 1
    assert second["success"] == 0.75
    assert (second["terminated"], second["tail"], second["length"].mean) == (0.5, 0.25, 4.0)


def test_members_are_told_one_by_one_in_order() -> None:
    assert by_round(planted())[1]["per_member"] == [
        {"member": 0, "return": 7.0, "discounted": 3.0, "predicted": 6.0, "bias": 3.0, "success": 0.5},
        {"member": 1, "return": 9.0, "discounted": 5.0, "predicted": 10.0, "bias": 5.0, "success": 1.0},
    ]


def test_a_ratio_is_given_only_where_the_realised_value_is_surely_positive() -> None:
    assert by_round(planted())[0]["ratio"] is None  # realised 0
    assert by_round(planted())[1]["ratio"] is None  # realised 4, but its interval reaches below 0
    rows = [row(1, m, returns=[1, 1], discounted=[4.0, 6.0], predicted=[10.0, 10.0]) for m in (0, 1)]
    assert by_round(rows)[0]["ratio"] == 2.0
    rows = [row(1, m, returns=[1, 1], discounted=[-4.0, -6.0], predicted=[-10.0, -10.0]) for m in (0, 1)]
    assert by_round(rows)[0]["ratio"] is None


def test_the_best_round_is_the_earliest_of_equals() -> None:
    rows = evaluations([1, 2, 3], returns=lambda k: 5.0 * (k > 1), discounted=lambda _: 1, bias=lambda _: 0, noise=0)
    best = best_round(by_round(rows))
    assert best is not None
    assert best["round"] == 2
    assert best_round([]) is None


def test_values_that_are_not_finite_spoil_their_own_number_only() -> None:
    rows = [row(1, 0, returns=[1.0, 3.0], discounted=[1.0, 1.0], predicted=[None, 1.0])]
    found = by_round(rows)[0]
    assert found["return"].mean == 2.0
    assert found["bias"].mean != found["bias"].mean
    assert found["per_member"][0]["bias"] is None


def test_members_of_a_round_must_have_played_the_same() -> None:
    rows = planted()
    rows[0]["environment"] = "Other-v0"
    with pytest.raises(UserError, match="different environment: E, Other-v0; evaluate the round again"):
        by_round(rows)


def test_only_rounds_of_the_last_environment_are_compared() -> None:
    rows = planted()
    for r in rows[2:]:
        r["environment"] = "Other-v0"
    assert [r["round"] for r in comparable(by_round(rows))] == [2]
