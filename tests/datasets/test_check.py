"""The doctor: silent on sound logs, and each fault found under its name, in its column and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import given, settings

from fqi.datasets import store
from fqi.datasets.check import Finding, check, examine
from fqi.datasets.collect import Request, collect
from fqi.datasets.columns import Columns, columns_of, head_of
from fqi.datasets.doctor.finding import WHY
from fqi.datasets.doctor.parts import changed
from fqi.errors import UserError
from fqi.log import Log
from tests.datasets import planted
from tests.datasets.helpers import played, small_log
from tests.datasets.planted import Fault, healthy
from tests.strategies import logs

KNOWN = ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1", "Taxi-v4", "FrozenLake-v1", "CliffWalking-v1"]


@pytest.mark.parametrize("env_id", KNOWN)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sound_logs_of_known_environments_are_not_accused(env_id: str, seed: int) -> None:
    assert check(played(env_id, 1000, seed)) == []


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("env_id", "policies"),
    [
        ("CartPole-v1", ("random", "scripted,epsilon=0.2")),
        ("MountainCar-v0", ("scripted,epsilon=0.1",)),
        ("Pendulum-v1", ("random", "scripted")),
        ("FrozenLake-v1", ("random",)),
        ("fqi/CarOnTheHill-v0", ("random",)),
    ],
)
def test_what_is_collected_is_sound(env_id: str, policies: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    collect(Request.new(env_id, {"envs": 8, "policies": policies, "seed": seed}, 1500, None), tmp_path / "log.h5")
    assert check(tmp_path / "log.h5") == []


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


def names(log: Log) -> dict[str, Finding]:
    """The findings by name, the first of each."""
    return {finding.name: finding for finding in reversed(check(planted.columns(log)))}


@pytest.mark.parametrize("known", [True, False])
def test_a_glitch_and_a_join_are_discontinuities(known: bool) -> None:
    log = played("CartPole-v1", 3000) if known else planted.unnamed(played("CartPole-v1", 3000))
    found = names(planted.put("observations", (500, 0), 3.0)(log))  # one sensor, once
    assert found["discontinuity"].severity == "warning"
    assert found["discontinuity"].rows in ((500, 501), (500,), (501,))
    assert ("contradicted rows" in found) == known

    lengths = np.concatenate([[log.lengths[0] + log.lengths[1] + 1], log.lengths[2:]])  # the end between is lost
    cut = int(log.lengths[0])
    ends = np.insert(log.terminations, cut, False)
    ends[cut - 1] = False
    joined = {"lengths": lengths, "terminations": ends, "seeds": None}
    for name in ("actions", "rewards", "truncations"):
        joined[name] = np.insert(getattr(log, name), cut, 0)
    assert names(changed(log, **joined))["discontinuity"].rows == (cut + 1,)


def test_a_true_jump_that_replays_is_no_discontinuity() -> None:
    # One more episode of one step: at full speed into MountainCar's left wall, where the speed is 0 at once.
    log = healthy("MountainCar-v0")
    crash = np.array([[-1.19, -0.07], [-1.2, 0.0]], np.float32)
    more = {"actions": 1, "rewards": -1.0, "terminations": False, "truncations": True, "lengths": 1}
    longer = {name: np.append(getattr(log, name), value) for name, value in more.items()}
    jumping = changed(log, **longer, seeds=None, observations=np.concatenate([np.asarray(log.observations), crash]))
    assert names(jumping) == {}
    assert "discontinuity" in names(planted.unnamed(jumping))


def test_frames_that_the_source_denies_are_named() -> None:
    log = healthy("CartPole-v1")
    said = np.array(log.observations)[log.frame_of_step + 1]
    columns = planted.columns(log)
    columns.arrays["next_observations"] = said
    assert check(columns) == []
    said[[3, 9], 1] += 0.5
    found = check(columns)[0]
    assert (found.name, found.severity, found.rows) == ("next frame differs", "error", (3, 9))


def test_single_bad_rows_are_listed() -> None:
    log = healthy("CartPole-v1")
    found = names(planted.put("observations", (5, 2), 0.2)(log))["contradicted rows"]
    assert (found.rows, found.severity) == ((4, 5), "error")  # the step to it and the step from it
    found = names(planted.put("rewards", [5, 17], 0.5)(log))["contradicted rows"]
    assert (found.column, found.rows) == ("rewards", (5, 17))
    assert "0.5 where the environment gives 1" in found.found


@pytest.mark.parametrize(
    ("fault", "name", "says"),
    [
        (planted.rolled("actions", 1), "actions shifted", "one row late"),
        (planted.rolled("actions", -1), "actions shifted", "one row early"),
        (planted.rolled("rewards", 1), "rewards shifted", "one row late"),
        (planted.rolled("rewards", -1), "rewards shifted", "one row early"),
        (planted.frames_moved(-1), "frames shifted", "one row ahead"),
        (planted.frames_moved(1), "frames shifted", "one row behind"),
    ],
)
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "FrozenLake-v1"])
def test_an_off_by_one_is_named_as_such(env_id: str, fault: Fault, name: str, says: str) -> None:
    found = names(fault(healthy(env_id)))
    assert {n for n, f in found.items() if f.severity == "error"} == {name}
    assert says in found[name].found
    assert found[name].mend == f"fqi data repair log --only {name.replace(' ', '-')} --out log-repaired.h5"


def test_actions_and_rewards_off_in_opposite_ways_are_two_findings() -> None:
    bad = planted.rolled("rewards", -1)(planted.rolled("actions", 1)(healthy("Pendulum-v1")))
    assert {n for n, f in names(bad).items() if f.severity == "error"} == {"actions shifted", "rewards shifted"}


def test_rewards_that_differ_at_the_goal_alone_are_told_from_their_roll(tmp_path: Path) -> None:
    request = Request.new("Acrobot-v1", {"envs": 4, "policies": ("scripted",)}, None, 6)
    log = collect(request, tmp_path / "log.h5")
    assert "rewards shifted" in names(planted.rolled("rewards", 1)(log))


def test_another_environment_and_another_reward_are_warnings() -> None:
    log = healthy("Pendulum-v1")
    found = names(changed(log, environment={"id": "Pendulum-v1", "kwargs": {"g": 3.0}, "max_episode_steps": 200}))
    assert found["another environment"].severity == "warning"
    found = names(changed(log, rewards=log.rewards / 10))
    assert set(found) == {"another reward"}
    found = names(planted.unnamed(changed(log, observations=np.asarray(log.observations) * 100)))
    assert "another environment" not in found
    found = names(changed(log, observations=np.asarray(log.observations) * 100))
    assert "another environment" in found


def test_merged_ends_are_seen_by_replay_or_else_suspected_from_lengths() -> None:
    log = planted.cut(healthy("CartPole-v1", 3000), 40)  # some fall before 40 steps, many are cut there
    merged = planted.all_terminated(log)
    found = names(merged)
    assert {n for n, f in found.items() if f.severity == "error"} == {"false termination"}
    assert found["false termination"].count == np.count_nonzero(log.truncations)
    found = names(planted.unnamed(merged))
    assert set(found) == {"merged ends"}
    assert found["merged ends"].severity == "warning"
    assert names(planted.unnamed(log)) == {}


def test_a_termination_that_was_recorded_as_truncation() -> None:
    log = healthy("CartPole-v1")
    found = names(planted.all_truncated(log))
    assert found["missed termination"].count == log.episodes
    assert set(names(planted.unnamed(planted.all_truncated(log)))) == {"never terminated"}


def test_ends_that_are_missing_double_or_in_the_middle() -> None:
    log = healthy("CartPole-v1")
    assert names(planted.both(log))["both ends"].repairable
    assert not names(planted.unnamed(planted.both(log)))["both ends"].repairable
    assert names(planted.never_ended(log))["open episode"].count == log.episodes
    assert names(planted.put("truncations", 2, True)(log))["end inside an episode"].rows == (2,)
    longer = changed(log, environment=log.environment | {"max_episode_steps": 10})  # type: ignore[operator]
    assert "longer than the limit" in names(longer)


def test_propensities_that_do_not_add_up() -> None:
    log = healthy("FrozenLake-v1")
    fair = changed(log, propensity=np.full(log.steps, 0.25))
    assert names(fair) == {}
    wrong = names(changed(log, propensity=np.full(log.steps, 0.3)))
    assert wrong["propensities that do not add up"].severity == "error"
    # A behaviour that remembers gives one action of a state several propensities: it is not judged.
    memory = np.random.default_rng(0).uniform(0.5, 1, log.steps)
    assert names(changed(log, propensity=memory)) == {}
    # Where the mask leaves one action in state 0, that action is certain.
    mask = np.ones((log.steps + log.episodes, 4), np.bool_)
    mask[np.asarray(log.observations) == 0] = np.arange(4) == 0
    first = np.asarray(log.observations)[log.frame_of_step] == 0
    masked = changed(log, action_mask=mask, actions=np.where(first, 0, log.actions), environment=None)
    assert "propensities that do not add up" in names(changed(masked, propensity=fair.propensity))
    assert names(changed(masked, propensity=np.where(first, 1, 0.25))).keys() <= {"never terminated"}


def test_reward_outliers_and_unscaled_columns() -> None:
    log = planted.unnamed(healthy("Pendulum-v1"))
    assert names(planted.put("rewards", 31, 1e5)(log))["reward outlier"].rows == (31,)
    frames = np.array(log.observations)
    frames[:, 2] *= 1e6
    wide = gym.spaces.Box(-1e9, 1e9, (3,), np.float32)
    assert set(names(changed(log, observations=frames, observation_space=wide))) == {"unscaled columns"}


def test_a_bonus_at_the_end_is_no_outlier() -> None:
    log = planted.unnamed(healthy("CartPole-v1"))
    rewards = np.random.default_rng(0).normal(size=log.steps)
    rewards[planted.last(log)[:1]] = 1e6
    assert "reward outlier" not in names(changed(log, rewards=rewards))


def test_rows_written_twice_are_told_from_a_state_of_rest() -> None:
    log = healthy("CartPole-v1")
    at = int(log.start_frames[1]) + 3
    step = int(log.starts[1]) + 3
    more = {name: np.insert(getattr(log, name), step, getattr(log, name)[step]) for name in
            ("actions", "rewards", "terminations", "truncations")}  # fmt: skip
    lengths = log.lengths.copy()
    lengths[1] += 1
    frames = np.asarray(log.observations)
    twice = changed(log, **more, lengths=lengths, observations=np.insert(frames, at, frames[at], axis=0))
    assert names(twice)["repeated rows"].rows == (step + 1,)
    assert names(planted.unnamed(twice))["repeated rows"].rows == (step + 1,)
    # At rest upright with no torque, the pendulum stays for ever.
    rest = healthy("Pendulum-v1")
    still = changed(rest, observations=np.tile(np.float32([1, 0, 0]), (rest.steps + rest.episodes, 1)),
                    actions=np.zeros_like(rest.actions), rewards=np.zeros(rest.steps))  # fmt: skip
    assert "repeated rows" not in names(still)
    assert "repeated rows" in names(planted.unnamed(still))


def test_actions_outside_the_space() -> None:
    log = healthy("Pendulum-v1")
    found = names(planted.put("actions", 8, 5.0)(log))["action outside the space"]
    assert (found.rows, found.severity) == ((8,), "error")


def test_hostile_frames_do_not_stop_the_replay() -> None:
    # Acrobot's own arithmetic winds angles back turn by turn: from a rate of 1e30 it would not return.
    log = healthy("Acrobot-v1", 500)
    found = names(planted.put("observations", (slice(None), 4), 1e30)(log))
    assert "another environment" in found
    found = names(planted.put("observations", (7, 4), 1e30)(log))
    assert found["contradicted rows"].rows[0] in (6, 7)


def test_the_examination_says_what_was_replayed() -> None:
    log = healthy("CartPole-v1")
    assert examine(log).to_json()["replay"] == {
        "environment": "CartPole-v1",
        "played": log.steps,
        "steps": log.steps,
        "agree": log.steps,
    }
    assert "does not name" in examine(planted.unnamed(log)).to_json()["replay"]["reason"]


def test_one_command_mends_all_that_is_certain() -> None:
    bad = planted.all_terminated(planted.rolled("rewards", 1)(healthy("Pendulum-v1")))
    said = "fqi data repair log --only rewards-shifted --only false-termination --out log-repaired.h5"
    assert examine(planted.columns(bad)).to_json()["repair"] == said


def test_constant_columns_and_repeated_episodes_are_warnings() -> None:
    log = small_log()
    frames = np.array(log.observations)
    frames[:, 1] = 7
    twice = Log(**{**vars(log), "observations": frames}).select(np.array([0, 1, 0]))
    found = {finding.name: finding for finding in check(twice)}
    assert found["duplicate episodes"].rows == (2,)
    assert "dimension 1" in found["constant column"].found


@pytest.mark.parametrize("name", sorted(WHY))
def test_every_finding_says_why_and_how(name: str) -> None:
    for repairable in (True, False):
        said = Finding(name, "error", "rewards", (1,), 1, "this", "that", repairable).to_json()
        assert said["why"]
        assert said["mend"].startswith("fqi data repair LOG --only ") == repairable
