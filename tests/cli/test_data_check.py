"""`fqi data check` and `fqi data repair`, as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fqi.datasets.store import write_log
from tests.cli.conftest import Fqi
from tests.datasets import planted
from tests.datasets.planted import healthy

Refused = Callable[..., str]


@pytest.fixture
def bad(folder: Path) -> Path:
    """A Pendulum log with rewards off by one."""
    write_log(planted.rolled("rewards", 1)(healthy("Pendulum-v1")), folder / "bad.h5")
    return folder / "bad.h5"


def test_a_sound_log(fqi: Fqi, copies: Path) -> None:
    found = fqi("data", "check", "log.h5", "--page", "page.html")
    assert found.code == 0
    assert found.out.splitlines()[-1] == "log log.h5: 0 errors, 0 warnings"
    assert "agree with CartPole-v1" in found.out
    assert "Sound." in Path("page.html").read_text()


def test_json_has_findings_replay_and_measures(fqi: Fqi, copies: Path) -> None:
    found = fqi("data", "check", "log.h5", "--json", "--worst-return", "0", "--best-return", "99").json
    assert found.keys() == {"log", "ok", "findings", "repair", "replay", "measures"}
    assert found["ok"] is True
    assert 0 < found["measures"]["trajectory_quality"]["value"] < 1
    other = fqi("data", "check", "log.h5", "--json", "--reference", "log.h5", "--cells", "5").json
    assert other["measures"]["state_action_coverage"]["value"] == 1.0


def test_a_finding_says_why_and_how_and_the_command_mends_it(fqi: Fqi, bad: Path) -> None:
    found = fqi("data", "check", "bad.h5")
    assert found.code == 1
    assert "error: rewards shifted" in found.out
    assert "  why: each y holds" in found.out
    command = next(line for line in found.out.splitlines() if line.startswith("next: fqi ")).split()[2:]
    said = fqi(*command)
    assert said.code == 0
    assert "rewards shifted: moved the rewards by one row" in said.out
    assert said.out.splitlines()[-1] == "next: fqi data check bad-repaired.h5"
    assert fqi("data", "check", "bad-repaired.h5").code == 0
    assert fqi("data", "info", "bad-repaired.h5").code == 0
    again = fqi("data", "repair", "bad.h5", "--only", "rewards shifted", "--out", "x.h5", "--json").json
    assert again["findings"] == []
    assert [done["name"] for done in again["repairs"]] == ["rewards shifted"]


def test_a_repaired_collection_is_not_gone_on_with(fqi: Fqi, copies: Path, refused: Refused) -> None:
    with h5py.File("log.h5") as file:
        assert "rewards" in file
    from fqi.datasets.load import load_log

    write_log(planted.both(load_log("log.h5")), Path("both.h5"))
    assert fqi("data", "repair", "both.h5", "--only", "both-ends", "--out", "new.h5").code == 0
    assert "cannot go on" in refused("collect", "--resume", "--out", "new.h5", "--steps", "900")


def test_broken_logs_are_checked_as_far_as_they_can_be_read(fqi: Fqi, copies: Path) -> None:
    with h5py.File("log.h5", "r+") as file:
        file["rewards"][3] = np.nan
        del file["actions"]
    found = fqi("data", "check", "log.h5", "--page", "page.html")
    assert found.code == 1
    assert "not finite" in found.out
    assert "not finite" in Path("page.html").read_text()


def test_what_cannot_be_repaired_is_one_sentence(refused: Refused, bad: Path) -> None:
    assert "--only" in refused("data", "repair", "bad.h5", "--out", "x.h5")
    assert "--out" in refused("data", "repair", "bad.h5", "--only", "rewards-shifted")
    assert "exists already" in refused("data", "repair", "bad.h5", "--only", "rewards-shifted", "--out", "bad.h5")
    assert "no such finding" in refused("data", "repair", "bad.h5", "--only", "nope", "--out", "x.h5")
    assert "not known" in refused("data", "repair", "bad.h5", "--only", "contradicted-rows", "--out", "x.h5")
    assert ".h5" in refused("data", "repair", "bad.h5", "--only", "rewards-shifted", "--out", "x.csv")
    refused("data", "repair", "nope.h5", "--only", "rewards-shifted", "--out", "x.h5")


def test_options_of_the_check_are_checked(refused: Refused, copies: Path, bad: Path) -> None:
    assert ".html" in refused("data", "check", "log.h5", "--page", "page.txt")
    assert "give both" in refused("data", "check", "log.h5", "--worst-return", "1")
    for flag, value in (("--gamma", "2"), ("--cells", "1"), ("--cells", "x"), ("--best-return", "nan")):
        refused("data", "check", "log.h5", flag, value)
    assert "other observations" in refused("data", "check", "log.h5", "--reference", "bad.h5")
    write_log(healthy("Taxi-v4"), Path("taxi.h5"))
    assert "--cells has no effect" in refused("data", "check", "taxi.h5", "--cells", "5")


def test_a_log_larger_than_memory_is_refused_in_a_sentence(
    refused: Refused, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fqi.datasets.load.affordable", lambda: 1000)
    for arguments in (("check", "bad.h5"), ("repair", "bad.h5", "--only", "rewards-shifted", "--out", "mended.h5")):
        said = refused("data", *arguments)
        assert "bad.h5: takes 0.00 GiB, more than the 0.00 GiB (half of this machine's memory)" in said
        assert "fqi data head bad.h5 PART.h5" in said
