"""The doctor: silent on sound logs, and each fault found under its name, in its column and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings

from fqi.datasets import store
from fqi.datasets.check import Finding, check
from fqi.datasets.columns import Columns, columns_of, head_of
from fqi.errors import UserError
from fqi.log import Log
from tests.datasets.helpers import played, small_log
from tests.strategies import logs


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1", "Taxi-v4"])
def test_sound_logs_of_known_environments_are_not_accused(env_id: str) -> None:
    log = played(env_id, 3000)
    never = {"never terminated"} if not log.terminations.any() else set()
    assert {finding.name for finding in check(log)} == never


@settings(max_examples=60, deadline=None)
@given(log=logs())
def test_a_valid_log_has_no_error(log: Log) -> None:
    findings = check(log)
    assert [finding for finding in findings if finding.severity == "error"] == []
    json.dumps([finding.to_json() for finding in findings])
    assert all("\n" not in str(finding) for finding in findings)


def broken(tmp_path: Path, harm: Callable[[h5py.File], None]) -> list[Finding]:
    path = tmp_path / "log.h5"
    store.write_log(small_log(), path)
    with h5py.File(path, "r+") as file:
        harm(file)
    return check(path)


def put(name: str, row: int, value: float) -> Callable[[h5py.File], None]:
    def harm(file: h5py.File) -> None:
        file[name][row] = value

    return harm


@pytest.mark.parametrize(
    ("harm", "name", "column", "rows"),
    [
        (put("rewards", 3, np.nan), "not finite", "rewards", (3,)),
        (put("observations", 9, np.inf), "not finite", "observations", (9,)),
        (put("actions", 5, 2), "action outside the space", "actions", (5,)),
        (put("terminations", 7, True), "end inside an episode", "terminations", (7,)),
        (put("truncations", 19, False), "open episode", "truncations", (19,)),
        (put("propensity", 4, 1.5), "propensity", "propensity", (4,)),
        (put("behaviour", 4, 1), "invariant", "behaviour", (4,)),
        (put("lengths", 0, 4), "invariant", "rewards", (0,)),
        (put("lengths", 0, -4), "invariant", "lengths", (0,)),
    ],
)
def test_each_fault_is_found_in_its_place(
    tmp_path: Path, harm: Callable[[h5py.File], None], name: str, column: str, rows: tuple[int, ...]
) -> None:
    errors = [finding for finding in broken(tmp_path, harm) if finding.severity == "error"]
    assert (name, column, rows) in [(finding.name, finding.column, finding.rows) for finding in errors]
    assert "checksum" in {finding.name for finding in errors}


def test_nan_is_found_even_where_the_shapes_are_wrong(tmp_path: Path) -> None:
    def harm(file: h5py.File) -> None:
        values = np.ones(18)
        values[[2, 11]] = np.nan
        del file["rewards"]
        file["rewards"] = values

    found = {(finding.name, finding.column, finding.rows) for finding in broken(tmp_path, harm)}
    assert ("not finite", "rewards", (2, 11)) in found
    assert ("invariant", "rewards", (0,)) in found


@pytest.mark.parametrize("name", ["rewards", "observations", "header", "lengths"])
def test_a_missing_column_is_named(tmp_path: Path, name: str) -> None:
    def harm(file: h5py.File) -> None:
        del file[name]

    assert any(name in str(finding) for finding in broken(tmp_path, harm) if finding.severity == "error")


@pytest.mark.parametrize("name", sorted(columns_of(small_log())))
def test_no_column_is_so_odd_that_the_doctor_falls(name: str) -> None:
    log = small_log()
    sound = columns_of(log)
    odd = [np.zeros(()), np.zeros(0), np.zeros(20), np.zeros((20, 2, 2)), np.zeros(4, np.int64), np.full(20, np.nan)]
    odd += [sound[name].astype(np.float16), sound[name][:-1], sound[name].astype(np.uint8), np.zeros(20, np.bool_)]
    odd += [np.full(4, 2**62), np.full(4, -1), sound[name][:0]]
    for array in odd:
        if array.dtype == sound[name].dtype and np.array_equal(array, sound[name]):
            continue
        findings = check(Columns("odd", head_of(log), {**sound, name: array}))
        valid = name in ("propensity", "rewards") and array.dtype.kind == "f"  # another precision is no fault
        assert valid or name in ("actions", "seeds", "behaviour") or [f for f in findings if f.severity == "error"], (
            array
        )


def test_a_log_without_episodes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.h5"
    log = small_log().select(np.zeros(0, np.int64))
    store.write_log(log, path)
    with pytest.raises(UserError, match="no episode"):
        store.read_log(path)
    assert [finding.column for finding in check(path)] == ["lengths"]


def test_frames_outside_their_box_are_a_warning() -> None:
    log = small_log()
    frames = np.array(log.observations)
    frames[[4, 6]] = 2e6
    found = check(Log(**{**vars(log), "observations": frames}))
    assert ("outside the observation space", "warning", (4, 6)) in [(f.name, f.severity, f.rows) for f in found]


def test_a_glitch_and_a_join_are_discontinuities() -> None:
    log = played("CartPole-v1", 3000)
    frames = np.array(log.observations)
    frames[500, 0] += 2.0  # one sensor, once
    found = [f for f in check(Log(**{**vars(log), "observations": frames})) if f.name == "discontinuity"]
    assert found[0].rows == (500, 501) or found[0].rows == (500,)

    lengths = np.concatenate([[log.lengths[0] + log.lengths[1] + 1], log.lengths[2:]])  # the end between is lost
    cut = int(log.lengths[0])
    ends = np.insert(log.terminations, cut, False)
    ends[cut - 1] = False
    joined = {"lengths": lengths, "terminations": ends, "seeds": None}
    for name in ("actions", "rewards", "truncations"):
        joined[name] = np.insert(getattr(log, name), cut, 0)
    found = [f for f in check(Log(**{**vars(log), **joined})) if f.name == "discontinuity"]
    assert found[0].rows == (cut + 1,)


def test_constant_columns_and_repeated_episodes_are_warnings() -> None:
    log = small_log()
    frames = np.array(log.observations)
    frames[:, 1] = 7
    twice = Log(**{**vars(log), "observations": frames}).select(np.array([0, 1, 0]))
    found = {finding.name: finding for finding in check(twice)}
    assert found["duplicate episodes"].rows == (2,)
    assert "dimension 1" in found["constant column"].found
