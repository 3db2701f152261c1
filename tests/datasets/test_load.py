"""Any name a user may type, and one contract for every format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fqi.datasets import store
from fqi.datasets.journal import journal_path
from fqi.datasets.load import FORMATS, latest, load_columns, load_log, save_log
from fqi.errors import UserError
from fqi.files import point
from tests.datasets.helpers import assert_same, small_log
from tests.datasets.test_journal import write

NAMES = {"fqi": "log.h5", "minari": "minari:fqi/log-v0", "table": "log.csv"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_format_that_holds_everything_has_a_name_here() -> None:
    assert {form.name for form in FORMATS if form.sink is not None and form.lost is None} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES.values())
def test_every_format_saves_loads_and_opens_for_the_doctor(name: str) -> None:
    save_log(small_log(), name)
    assert_same(load_log(name), small_log())
    columns = load_columns(name)
    assert not columns.problems
    assert columns.arrays["rewards"].shape == (20,)


def test_a_minari_folder_is_a_name(folder: Path) -> None:
    save_log(small_log(), "minari:fqi/log-v0")
    assert_same(load_log(folder / "minari/fqi/log-v0"), small_log())
    assert_same(load_log("minari/fqi/log-v0/data"), small_log())


def test_latest_is_the_marked_or_the_newest_log(folder: Path) -> None:
    with pytest.raises(UserError, match="fqi collect"):
        load_log("logs/latest")
    for number, name in enumerate(("b", "a")):
        store.write_log(small_log(number + 1), f"logs/{name}.h5")
        os.utime(f"logs/{name}.h5", (number, number))
    assert load_log("logs/latest").episodes == 2
    point(Path("logs/latest"), Path("logs/b.h5"))
    assert load_log("logs/latest").episodes == 1
    Path("logs/b.h5").unlink()  # a mark that points nowhere is no mark
    assert latest("logs") == Path("logs/a.h5")


def test_an_unfinished_collection_can_be_named_by_log_or_journal() -> None:
    write(Path("log.h5"), small_log())
    for name in ("log.h5", str(journal_path("log.h5"))):
        assert load_log(name).provenance == {"made": "by hand", "unfinished": True}


def test_what_is_not_there_is_said_with_the_next_step(folder: Path) -> None:
    store.write_log(small_log(), "here.h5")
    with pytest.raises(UserError, match=r"fqi collect --out gone\.h5.*here\.h5"):
        load_log("gone.h5")
    with pytest.raises(UserError, match="no such log"):
        load_log("no/where/gone.h5")
    with pytest.raises(UserError, match="no Minari dataset"):
        load_log(folder)
    with pytest.raises(UserError, match=r"ends in \.h5"):
        save_log(small_log(), "log.txt")
