"""Logs made of logs, from the command line."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fqi.datasets.load import load_log
from tests.cli.conftest import Fqi
from tests.cli.test_stopped import stop

Refused = Callable[..., str]

FOREIGN = """\
traj,t,pos,vel,act,rew,finished
7,0,0.1,0.0,left,-1,0
7,1,0.0,-0.1,right,-1,0
7,2,0.2,0.1,right,10,1
9,1,0.5,0.3,left,-1,0
9,0,0.4,0.2,left,-1,0
"""
COLUMNS = (
    "--episode", "traj", "--step", "t", "--observation", "pos,vel", "--action", "act", "--reward", "rew",
    "--termination", "finished",
)  # fmt: skip


@pytest.fixture
def foreign(folder: Path) -> str:
    (folder / "foreign.csv").write_text(FOREIGN)
    return "foreign.csv"


def test_a_foreign_table_is_read_by_flags_or_by_the_mapping_that_was_suggested(fqi: Fqi, foreign: str) -> None:
    by_flags = fqi("data", "convert", foreign, "a.h5", *COLUMNS)
    assert by_flags.code == 0
    assert "note: cut episodes without a final frame" in by_flags.out
    assert "log a.h5: 4 steps, 2 episodes" in by_flags.out
    made = fqi("data", "convert", foreign, "map.toml", "--suggest", *COLUMNS, "--json").json
    assert made == {"table": foreign, "mapping": "map.toml"}
    again = fqi("data", "convert", "foreign.csv@map.toml", "b.h5", "--json").json
    assert {k: again[k] for k in ("log", "steps", "episodes")} == {"log": "b.h5", "steps": 4, "episodes": 2}
    assert sum(again["notes"].values()) == 3
    np.testing.assert_array_equal(load_log("a.h5").observations, load_log("b.h5").observations)
    assert load_log("a.h5").provenance["action_names"] == ["left", "right"]
    assert fqi("data", "info", "foreign.csv@map.toml").code == 0
    shown = fqi("data", "convert", foreign, "--suggest")
    assert shown.code == 0
    assert "not complete" in shown.out


def test_the_chain_of_logs(fqi: Fqi, copies: Path) -> None:
    episodes = load_log("log.h5").episodes
    assert fqi("data", "convert", "log.h5", "log.csv.gz", "--json").json["episodes"] == episodes
    assert fqi("data", "convert", "log.csv.gz", "minari:fqi/back-v0", "--json").json["episodes"] == episodes
    merged = fqi("data", "merge", "log.h5", "log.csv.gz", "minari:fqi/back-v0", "logs/all.h5", "--json").json
    assert merged["episodes"] == 3 * episodes
    assert Path("logs/latest").resolve().name == "all.h5"
    parts = fqi("data", "split", "logs/latest", "train.h5", "test.h5", "--share", "0.5", "--json").json["logs"]
    assert sum(part["episodes"] for part in parts) == 3 * episodes
    kept = fqi("data", "filter", "train.h5", "good.h5", "--min-length", "2", "--behaviour", "random", "--json").json
    assert 0 < kept["episodes"] <= parts[0]["episodes"]
    assert fqi("data", "head", "good.h5", "few.h5", "--episodes", "2", "--json").json["episodes"] == 2
    for name in ("train.h5", "good.h5", "few.h5", "logs/all.h5"):
        assert fqi("data", "check", name, "--json").json["ok"]
    found = fqi("data", "head", "good.h5", "few.h5", "--episodes", "1", "--force")
    assert "next: fqi data info few.h5" in found.out
    assert load_log("few.h5").episodes == 1


def test_what_a_format_cannot_hold_is_said_before_it_is_lost(fqi: Fqi, refused: Refused, copies: Path) -> None:
    said = refused("data", "convert", "log.h5", "d3rlpy:out.h5")
    assert "propensities" in said
    assert "--lossy" in said
    found = fqi("data", "convert", "log.h5", "d3rlpy:out.h5", "--lossy", "--json")
    assert found.json["log"] == "d3rlpy:out.h5"
    assert "propensities" in found.err
    assert "exists already" in refused("data", "convert", "log.h5", "d3rlpy:out.h5", "--lossy")
    assert "is the log that is read" in refused("data", "convert", "d3rlpy:out.h5", "out.h5", "--force")
    back = fqi("data", "convert", "d3rlpy:out.h5", "back.h5", "--json").json
    assert 0 < back["episodes"] <= load_log("log.h5").episodes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["convert"], "no log in logs/"),
        (["convert", "log.h5"], "name the log to write"),
        (["convert", "gone.h5", "a.h5"], "no such log"),
        (["convert", "log.h5", "a.xyz"], "such as a file that ends in .h5"),
        (["convert", "log.h5", "run/config.toml"], "such as"),
        (["convert", "log.h5", "log.h5", "--force"], "is the log that is read"),
        (["convert", "log.h5", "a.h5", "--episode", "x"], "effect only on a table"),
        (["convert", "log.h5", "a.h5", "--flatten-actions"], "one choice already"),
        (["convert", "log.h5", "--suggest"], "effect only on a table"),
        (["convert", "foreign.csv", "a.h5"], "--suggest"),
        (["convert", "foreign.csv", "map.h5", "--suggest"], "ends in .toml"),
        (["convert", "foreign.csv", "a.h5", *COLUMNS[:-2], "--done", "finished"], "--done-means"),
        (["convert", "foreign.csv@gone.toml", "a.h5"], "gone.toml"),
        (["convert", "log.h5", "minari:no dots.allowed-v0"], "minari:NAMESPACE"),
        (["merge"], "logs"),
        (["merge", "log.h5", "a.h5"], "two logs or more"),
        (["merge", "log.h5", "gone.h5", "a.h5"], "gone.h5"),
        (["split", "log.h5", "a.h5"], "second"),
        (["split", "log.h5", "a.h5", "b.h5", "--share", "1.5"], "between 0 and 1"),
        (["split", "log.h5", "a.h5", "b.h5", "--share", "x"], "--share"),
        (["split", "log.h5", "a.h5", "a.h5"], "two files"),
        (["filter", "log.h5", "a.h5"], "--min-return"),
        (["filter", "log.h5", "a.h5", "--min-return", "1e9"], "none of"),
        (["filter", "log.h5", "a.h5", "--min-return", "nan"], "none of"),
        (["filter", "log.h5", "a.h5", "--behaviour", "expert"], "known: random"),
        (["head", "log.h5", "a.h5", "--episodes", "0"], "--episodes"),
        (["head", "log.h5", "log.h5"], "is the log that is read"),
    ],
    ids=" ".join,
)
def test_wrong_words_get_one_sentence(
    refused: Refused, copies: Path, foreign: str, words: list[str], says: str
) -> None:
    assert says in refused("data", *words)


def test_ctrl_c_leaves_nothing_behind(fqi: Fqi, copies: Path) -> None:
    for _ in range(5):  # grow the log until there is time to stop
        shutil.move("log.h5", "one.h5")
        assert fqi("data", "merge", *["one.h5"] * 4, "log.h5").code == 0
        Path("one.h5").unlink()
    code, error = stop(
        ("data", "convert", "log.h5", "log.csv"), lambda: bool(list(Path().glob(".log.csv.*.part"))), signal.SIGINT
    )
    assert code == 130
    assert error == "fqi: interrupted\n"
    assert not list(Path().glob("*.csv"))
    assert not list(Path().glob(".*part"))
