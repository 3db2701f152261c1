"""The numbers, the verdict, the figures and the page of a comparison."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_cells import cell, created, filled, task
from test_page import HOSTILE, Page

from fqi.reports.comparison.numbers import numbers
from fqi.reports.comparison.page import write_comparison_report
from fqi.reports.comparison.record import Comparison
from fqi.reports.comparison.verdict import BETTER, OPEN, WORSE, told
from fqi.reports.comparison.wording import chance, shown, text_table
from fqi.reports.words import number

SECTIONS = ["abstract", "numbers", "figures", "terms", "pairs", "method", "reproduce"]


def read(path: Path) -> tuple[Page, dict[str, Any], str]:
    html = path.read_text(encoding="utf-8")
    return Page(html), json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), html


def level(value: float) -> dict[str, Any]:
    """Returns of five seeds about this value."""
    return {"returns": [[value + s] * 6 for s in range(5)]}


def flat(value: float) -> dict[str, Any]:
    """One row of returns, as a reference line has."""
    return {"returns": [[value] * 6]}


def texts(comparison: Comparison) -> str:
    return " ".join(sentence["text"] for sentence in numbers(comparison)["verdict"])


def kinds(comparison: Comparison) -> list[str]:
    return [sentence["kind"] for sentence in numbers(comparison)["verdict"]]


# ---- the page


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """A finished comparison and its page, for reading."""
    comparison = filled(tmp_path_factory.mktemp("usual") / "c")
    return comparison, write_comparison_report(comparison)


def test_a_page_is_whole_and_stands_alone(usual: tuple[Comparison, Path]) -> None:
    comparison, path = usual
    page, content, html = read(path)
    assert path == comparison.path / "report" / "comparison.html"
    assert [i for i in page.ids if i in SECTIONS] == SECTIONS
    assert len(set(page.ids)) == len(page.ids)
    assert path.stat().st_size < 1_500_000
    assert not re.search(r"https?:|//|@import|url\((?!#)", html)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1  # numbers under the pointer, sealed by its hash
    files = {f"comparison_figures/{f['name']}.{k}" for f in content["figures"] for k in ("svg", "png", "json")}
    assert {a for a in page.addresses if not a.startswith("#")} == files | {"comparison.json"}
    for file in files:
        assert (path.parent / file).stat().st_size > 0
    assert [f["name"] for f in content["figures"]] == ["scores", "rounds", "iterations", "steps"]
    assert page.labels == [f["alt"] for f in content["figures"]]


def test_every_number_of_the_tables_is_in_the_file_beside_it(usual: tuple[Comparison, Path]) -> None:
    page, content, _ = read(usual[1])
    own = content["tasks"][0]
    for row, line in zip(page.tables["returns-1"][1:], own["rows"], strict=True):
        reference = line["group"] == "reference"
        assert row == [
            line["learner"],
            "–" if reference else shown(line["iqm"]),
            shown(line["mean"]),
            number(line["worst"]),
            number(line["normalised"]["value"]),
            chance(line["improvement"]).replace(" %", "\u00a0%"),
            f"{line['seeds']} × {line['episodes']}" if line["seeds"] else number(line["episodes"]),
        ]
    for row, line in zip(page.tables["costs-1"][1:], own["rows"], strict=False):
        assert row[1:5] == [number(line["costs"][k]) for k in ("rows", "steps", "queries", "updates")]
    names = page.tables["pairs-1"][0][1:]
    for row in page.tables["pairs-1"][1:]:
        for other, text in zip(names, row[1:], strict=True):
            found = [p for p in own["pairs"] if (p["first"], p["second"]) == (row[0], other)]
            assert text == (chance(found[0]["probability"]).split(" [")[0] if found else "")
    assert [row[0] for row in page.tables["shift-1"][1:]] == ["bc", "dagger"]
    assert [row[0] for row in page.tables["predicted-1"][1:]] == ["fqi", "fqi:target=double,n-step=3", "dqn"]
    for sentence in content["verdict"] + content["warnings"]:
        assert sentence["text"].replace("`", "") in page.text


def test_several_tasks_have_an_aggregate_and_a_profile(tmp_path: Path) -> None:
    path = write_comparison_report(filled(tmp_path / "c", tasks=3))
    page, content, _ = read(path)
    assert path.stat().st_size < 1_500_000
    assert content["aggregate"]["tasks"] == ["Made-up-v0", "Made-up-v1", "Made-up-v2"]
    assert [row[0] for row in page.tables["aggregate"][1:]] == [r["learner"] for r in content["aggregate"]["rows"]]
    names = [f["name"] for f in content["figures"]]
    assert names[:3] == ["scores", "profile", "scores_1"]
    assert len(set(names)) == len(names)
    # normalised by hand: random is 20 and the expert 500 on every task
    row = content["aggregate"]["rows"][0]
    first = content["tasks"][0]["rows"][0]
    assert row["scores"][0] == pytest.approx([(v - 20) / 480 for v in first["scores"]])


def test_the_same_comparison_gives_the_same_bytes(usual: tuple[Comparison, Path], tmp_path: Path) -> None:
    comparison, first = usual
    second = write_comparison_report(comparison, tmp_path / "b")
    files = sorted(p.relative_to(first.parent) for p in first.parent.rglob("*") if p.is_file())
    assert len(files) == 2 + 4 * 3
    for file in files:
        assert (first.parent / file).read_bytes() == (second.parent / file).read_bytes()


@pytest.mark.parametrize("seeds", [1, 2, 12])
def test_few_and_many_seeds(tmp_path: Path, seeds: int) -> None:
    page, content, _ = read(write_comparison_report(filled(tmp_path / "c", seeds=seeds)))
    assert not re.search(r"\bnan\b|\bNone\b|\bNaN\b|\binf\b", page.text)
    assert ("few seeds" in {s["kind"] for s in content["verdict"]}) == (seeds < 4)
    assert ("profile" in {f["name"] for f in content["figures"]}) == (seeds == 12)


def test_numbers_that_are_not_finite_and_extreme_ones(tmp_path: Path) -> None:
    bad = {"returns": [[float("nan")] * 6] + [[1.0] * 6] * 4}
    huge = {"returns": [[1e300 * (s + 1)] * 6 for s in range(5)], "predicted": None}
    page, content, _ = read(write_comparison_report(filled(tmp_path / "c", bc=bad, dqn=huge)))
    assert not re.search(r"\bnan\b|\bNone\b|\bNaN\b|\binf\b", page.text)
    assert "not finite" in {s["kind"] for s in content["verdict"]}
    assert content["tasks"][0]["rows"][2]["iqm"]["value"] is None


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    page, content, _ = read(write_comparison_report(filled(tmp_path / "c", leave=("dqn", "bc"))))
    assert [m["learner"] for m in content["missing"]] == ["bc", "dqn"]
    assert "Not finished: bc on Made-up-v0, dqn on Made-up-v0" in page.text
    assert "fqi compare --resume" in page.text


def test_nothing_is_finished(tmp_path: Path) -> None:
    page, content, _ = read(write_comparison_report(created(tmp_path / "c")))
    assert content["figures"] == []
    assert "no answer yet" in page.text
    assert "Nothing is finished yet." in page.text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    learners = [{"name": HOSTILE, "kind": "bc", "settings": {HOSTILE: HOSTILE}}]
    comparison = created(tmp_path / "c", [task(HOSTILE)], learners=learners, command=["fqi", HOSTILE])
    comparison.write_cell(cell("x", "bc") | {"task": HOSTILE, "learner": HOSTILE, "network": HOSTILE})
    page, _, html = read(write_comparison_report(comparison))
    assert page.tags.count("script") == html.count("<script") == 1  # ours alone
    assert page.text.count(HOSTILE) > 3


# ---- the answer


def test_worth_it(tmp_path: Path) -> None:
    comparison = filled(tmp_path / "c", fqi=level(480), bc=level(200), offline_dqn=level(300), mixed=flat(99.0))
    assert kinds(comparison)[0] == "worth it"
    assert "fqi returns 482" in texts(comparison)
    assert "the log's behaviour (mixed) returned 99" in texts(comparison)
    assert len(numbers(comparison)["verdict"]) <= 5


@pytest.mark.parametrize(
    ("returns", "kind", "words"),
    [
        ({"bc": level(490), "fqi": level(300), "offline_dqn": level(99)}, "not worth it", "bc does better from it"),
        ({"bc": level(480), "fqi": level(480)}, "open", "cannot be told apart from bc"),
        ({"fqi": level(50), "bc": level(20), "offline_dqn": level(20)}, "not worth it", "less than its own data"),
    ],
)
def test_not_worth_it_or_open(tmp_path: Path, returns: dict[str, Any], kind: str, words: str) -> None:
    comparison = filled(tmp_path / "c", mixed=flat(100.0), **returns)
    assert kinds(comparison)[0] == kind
    assert words in texts(comparison)


def test_no_yes_before_the_rivals_are_finished(tmp_path: Path) -> None:
    returns = {"fqi": level(480), "offline_dqn": level(300), "mixed": flat(99.0)}
    comparison = filled(tmp_path / "c", leave=("bc",), **returns)
    assert kinds(comparison)[0] == "open"
    assert "Fitted Q is ahead so far; not finished: bc" in texts(comparison)


def test_one_seed_is_no_answer(tmp_path: Path) -> None:
    found = filled(tmp_path / "c", seeds=1, fqi=flat(480.0), bc=flat(20.0), offline_dqn=flat(20.0), mixed=flat(99.0))
    assert kinds(found)[0] == "open"
    assert "cannot be told from this" in texts(found)


def test_unequal_terms_are_said(tmp_path: Path) -> None:
    found = [s["text"] for s in numbers(filled(tmp_path / "c", bc={"network": "mlp 2x32"}))["warnings"]]
    assert found == [
        "dagger took 6,000 environment steps with each seed, 1.2 times as many as the log holds",
        "dagger asked the expert for 2,000 labels with each seed; the log has none",
        "dqn took 6,000 environment steps with each seed, 1.2 times as many as the log holds",
        "The learners have different networks (fqi, fqi:target=double,n-step=3, offline-dqn, dagger, dqn: mlp 2x64; "
        "bc: mlp 2x32)",
    ]


def test_three_seeds_tell_nothing_apart() -> None:
    sure = {"low": 0.6, "high": 1.0}
    assert told(sure, 3) == OPEN
    assert told(sure, 4) == told(sure, 3, tasks=2) == BETTER
    assert told({"low": 0.0, "high": 0.4}, 5) == WORSE
    assert told(None, 5) == OPEN


# ---- numbers


def test_worked_by_hand(tmp_path: Path) -> None:
    rows = {"returns": [[10.0 * s] * 6 for s in (1, 2, 3, 4, 10)]}
    found = numbers(filled(tmp_path / "c", fqi=rows, bc={"returns": [[10.0 * s] * 6 for s in (0, 2, 3, 5, 1)]}))
    row, bc = found["tasks"][0]["rows"][0], found["tasks"][0]["rows"][2]
    assert (row["iqm"]["value"], row["mean"]["mean"], row["worst"]) == (30, 40, 10)
    # wins of 10 20 30 40 100 over 0 20 30 50 10: 1.5 + 2.5 + 3.5 + 4 + 5 of 25
    assert bc["improvement"]["value"] == pytest.approx(16.5 / 25)
    assert row["normalised"]["value"] == pytest.approx((30 - 20) / 480)
    assert found["tasks"][0]["scale"] == {
        "low": 20, "high": 500, "source": "random and expert on the same start states",
    }  # fmt: skip


def test_given_reference_scores_come_first(tmp_path: Path) -> None:
    comparison = created(tmp_path / "c", [task(reference_scores={"low": 0, "high": 1000, "source": "a paper"})])
    comparison.write_cell(cell("Made-up-v0", "fqi", **level(500)))
    found = numbers(comparison)["tasks"][0]
    assert found["scale"]["source"] == "a paper"
    assert found["rows"][0]["normalised"]["value"] == pytest.approx(0.502)


def test_a_missing_cell_changes_no_other_interval(tmp_path: Path) -> None:
    whole, part = filled(tmp_path / "a"), filled(tmp_path / "b", leave=("bc",))
    rows = [{r["learner"]: r["iqm"] for r in numbers(c)["tasks"][0]["rows"]} for c in (whole, part)]
    assert all(rows[0][name] == value for name, value in rows[1].items())


def test_the_terminal_has_the_same_numbers(tmp_path: Path) -> None:
    content = numbers(filled(tmp_path / "c", tasks=2))
    lines = text_table(content)
    for own in content["tasks"]:
        for row in own["rows"]:
            assert any(row["learner"][:10] in line and shown(row["iqm"]) in line for line in lines)
    assert lines[-1] == content["verdict"][-1]["text"] + "."
    assert np.unique([line for line in lines if line.startswith("Made-up")]).tolist() == ["Made-up-v0", "Made-up-v1"]


def test_the_shift_of_continuous_actions_is_told_in_squared_errors(tmp_path: Path) -> None:
    errors = [{"heldout_error": 0.01, "difference_log": 0.02, "difference_own": 0.3 + 0.01 * s} for s in range(5)]
    comparison = filled(tmp_path / "c", bc={"facts": errors}, dagger={"facts": []})
    page, content, _ = read(write_comparison_report(comparison))
    (row,) = content["tasks"][0]["shift"]
    assert (row["learner"], row["measure"], row["heldout"]["mean"]) == ("bc", "difference", pytest.approx(0.01))
    assert row["own"]["mean"] == pytest.approx(0.32)  # the mean of .30, .31, .32, .33, .34
    assert "mean squared difference" in page.text


def test_without_an_expert_the_accuracy_on_held_out_episodes_is_still_told(tmp_path: Path) -> None:
    facts = [{"heldout_accuracy": 0.8}] * 5
    page, content, _ = read(write_comparison_report(filled(tmp_path / "c", bc={"facts": facts}, dagger={"facts": []})))
    assert content["tasks"][0]["shift"][0]["log"] is None
    assert page.tables["shift-1"][1][1].startswith(number(0.8))
    assert page.tables["shift-1"][1][2:] == ["–", "–"]
