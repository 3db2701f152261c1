"""A comparison on disk: whole, checked, never written twice."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from comparison_cells import LEARNERS, cell, created, filled, task

from fqi.errors import UserError
from fqi.reports.comparison.record import Comparison


def test_cells_are_filled_one_by_one(tmp_path: Path) -> None:
    comparison = created(tmp_path / "c", [task("a"), task("b")])
    assert comparison.missing() == comparison.grid() == [(t, name) for t in "ab" for name in LEARNERS]
    comparison.write_cell(cell("b", "bc"))
    again = Comparison.open(tmp_path / "c")
    assert list(again.cells) == [("b", "bc")]
    assert again.cells["b", "bc"]["returns"] == cell("b", "bc")["returns"]
    assert ("b", "bc") not in again.missing()
    assert len(again.missing()) == 2 * len(LEARNERS) - 1
    assert [f.name for f in (tmp_path / "c" / "cells").iterdir()] == [f"{len(LEARNERS) + 3:03d}.json"]


def test_a_finished_cell_is_never_written_again(tmp_path: Path) -> None:
    comparison = filled(tmp_path / "c")
    with pytest.raises(UserError, match="'bc' on 'Made-up-v0' is finished already"):
        comparison.write_cell(cell("Made-up-v0", "bc"))


def test_a_learner_may_belong_to_some_tasks_only(tmp_path: Path) -> None:
    learners = [{"name": "bc", "kind": "bc", "settings": {}}, {"name": "slow", "kind": "behaviour", "tasks": ["b"]}]
    comparison = created(tmp_path / "c", [task("a"), task("b")], learners=learners)
    assert comparison.grid() == [("a", "bc"), ("b", "bc"), ("b", "slow")]
    with pytest.raises(UserError, match="does not compare a learner 'slow' on a task 'a'"):
        comparison.write_cell(cell("a", "bc") | {"learner": "slow"})


def test_numbers_that_are_not_finite_are_kept_as_null(tmp_path: Path) -> None:
    comparison = created(tmp_path / "c")
    found = cell("Made-up-v0", "bc")
    found["returns"][0][0] = float("nan")
    comparison.write_cell(found)
    assert Comparison.open(tmp_path / "c").cells["Made-up-v0", "bc"]["returns"][0][0] is None


def test_two_processes_never_work_on_one(tmp_path: Path) -> None:
    comparison = created(tmp_path / "c")
    code = (
        "import sys; from pathlib import Path; from fqi.reports.comparison.record import Comparison\n"
        "try:\n  with Comparison.open(Path(sys.argv[1])).held(): print('held')\n"
        "except Exception as error: print(error)"
    )
    other = [sys.executable, "-c", code, str(comparison.path)]
    with comparison.held():
        assert "another process is working on it" in subprocess.run(other, capture_output=True, text=True).stdout
    assert subprocess.run(other, capture_output=True, text=True).stdout.strip() == "held"


def test_artefacts_have_a_folder_each(tmp_path: Path) -> None:
    comparison = created(tmp_path / "c")
    folders = {comparison.artefacts("Made-up-v0", name) for name in LEARNERS}
    assert len(folders) == len(LEARNERS)
    assert all(re.fullmatch(r"\d{3}", folder.name) for folder in folders)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    created(tmp_path / "c")
    with pytest.raises(UserError, match="exists already"):
        created(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tasks": []}, "tasks: expected a list of objects, at least one, found []"),
        ({"tasks": [task(), task()]}, "task 'Made-up-v0' stands there twice"),
        ({"tasks": [task(limit=0)]}, "task 1: limit: expected a whole number above 0 or null, found 0"),
        ({"tasks": [task(log={"reference": "x"})]}, "task 1: log: fingerprint: expected a text, found nothing"),
        ({"tasks": [task(reference_scores={"low": 5, "high": 5})]}, "expected low below high, found 5 and 5"),
        ({"learners": [{"name": "x", "kind": "sarsa"}]}, "learner 1: kind: expected one of fqi, run, bc"),
        ({"learners": [{"name": "a\nb", "kind": "bc"}]}, "learner 1: name: expected a printable text"),
        ({"learners": [{"name": "a", "kind": "bc", "tasks": ["z"]}]}, "learner 'a': there is no task 'z'"),
        ({"seeds": 0}, "seeds: expected a whole number above 0, found 0"),
        ({"seeds": True}, "seeds: expected a whole number above 0, found true"),
    ],
)
def test_a_wrong_comparison_is_never_made(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        created(tmp_path / "c", **change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learner": "nobody"}, "does not compare a learner 'nobody'"),
        ({"kind": "dqn"}, "kind: expected 'bc' as comparison.json says, found 'dqn'"),
        ({"seeds": None}, "seeds: expected the seed of each row, found null"),
        ({"seeds": [0, 1, 2, 3, 3]}, "seeds: expected each once"),
        ({"seeds": [0, 1]}, "returns: expected 2 rows, one for each seed, found 5"),
        ({"returns": [[1.0], [], [1.0], [1.0], [1.0]]}, "returns: expected a list of numbers for each seed"),
        ({"returns": [["1"] * 6] * 5}, "returns: expected a list of numbers for each seed, none empty, found"),
        ({"lengths": [[1.0] * 5] * 5}, "lengths: expected 6 episodes as in returns, found 5"),
        ({"success": [[1] * 6] * 5}, "success: expected true or false by seed"),
        ({"steps": -1}, "steps: expected a whole number from 0 or null, found -1"),
        ({"seconds": float("nan")}, "seconds: expected a number from 0 or null, found NaN"),
        ({"facts": [{}]}, "facts: expected 5, one for each seed, found 1"),
        ({"curve": [{"seed": 0}]}, "curve: expected a list of objects of numbers, each with a seed and a return"),
        ({"curve": [{"seed": 9, "return": 1.0}]}, "curve: expected a seed of this cell, found 9"),
        ({"artefacts": {"log": "../../x.h5"}}, "artefacts: expected an object of paths inside the comparison"),
        ({"artefacts": {"log": "/x.h5"}}, "artefacts: expected an object of paths inside the comparison"),
    ],
)
def test_a_wrong_cell_is_never_written(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    comparison = created(tmp_path / "c")
    with pytest.raises(UserError, match=re.escape(sentence)):
        comparison.write_cell(cell("Made-up-v0", "bc") | change)
    assert list((comparison.path / "cells").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("comparison.json", "{", "not valid JSON"),
        ("comparison.json", "[]", "expected an object, found []"),
        ("comparison.json", '{"format": "fqi-run"}', "not a comparison"),
        (
            "comparison.json",
            '{"format": "fqi-comparison", "version": 2}',
            "expected comparison format version 1, found 2",
        ),
        ("cells/001.json", '{"task": "Made-up-v0"}', "001.json: learner: expected a text, found nothing"),
    ],
)
def test_what_was_changed_by_hand_is_found(tmp_path: Path, file: str, content: str, sentence: str) -> None:
    comparison = filled(tmp_path / "c")
    (comparison.path / file).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(sentence)):
        Comparison.open(comparison.path)


def test_a_cell_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    comparison = filled(tmp_path / "c")
    cells = comparison.path / "cells"
    (cells / "003.json").write_text((cells / "004.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match="expected the cell of learner 'bc'"):
        Comparison.open(comparison.path)


def test_a_path_that_holds_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such comparison"):
        Comparison.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"it has no comparison\.json"):
        Comparison.open(tmp_path)
    assert json.loads((filled(tmp_path / "c").path / "comparison.json").read_text())["status"] == "finished"
