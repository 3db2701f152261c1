"""Records of any shape as tables."""

from __future__ import annotations

from fqi.reports.tables import LONGEST, cell, tables


def test_scalars_distributions_and_nested_records() -> None:
    found = tables({
        "steps": 100,
        "nothing": None,
        "return": {"count": 3, "mean": 1.5, "min": 1, "max": 2, "quantiles": {"0": 1, "0.05": 1.1, "1": 2}},
        "behaviours": [{"behaviour": "random", "share": 0.5}, {"behaviour": "expert", "mean_return": 9.0}],
        "environment": {"id": "E", "kwargs": {"size": 4}},
        "columns": {"a": {"dtype": "f4"}, "b": {"dtype": "i8"}},
    })  # fmt: skip
    assert [(t["title"], t["columns"], t["rows"]) for t in found] == [
        ("", ["", ""], [["steps", 100]]),
        ("spread", ["", "count", "mean", "min", "max", "5 %"], [["return", 3, 1.5, 1, 2, 1.1]]),
        ("behaviours", ["behaviour", "share", "mean return"], [["random", 0.5, None], ["expert", None, 9.0]]),
        ("environment", ["", ""], [["id", "E"]]),
        ("environment: kwargs", ["", ""], [["size", 4]]),
        ("columns", ["", "dtype"], [["a", "f4"], ["b", "i8"]]),
    ]


def test_distributions_with_rows_of_their_own() -> None:
    found = tables({"rewards": {"mean": 1.0, "min": 1.0, "max": 1.0, "values": [{"reward": 1.0, "count": 3}]}})
    assert [t["title"] for t in found] == ["spread", "rewards: values"]


def test_long_tables_say_what_they_leave_out() -> None:
    found = tables({"rows": [{"i": i} for i in range(LONGEST + 5)]})[0]
    assert (len(found["rows"]), found["left_out"]) == (LONGEST, 5)


def test_cells() -> None:
    assert cell([1, 2.5, "a"]) == "1; 2.5; a"
    assert cell(list(range(30))).endswith("; 11; … (30 in all)")
    assert cell({"max_steps": 5}) == "max steps 5"
    assert cell([]) == ""
