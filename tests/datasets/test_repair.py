"""Repairs: every finding that can be mended for certain is planted, found, mended and gone; the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fqi.datasets.check import check
from fqi.datasets.doctor.parts import changed
from fqi.datasets.load import load_log, save_log
from fqi.datasets.repair import REPAIRS, Repaired, repair
from fqi.datasets.store import write_log
from fqi.datasets.writer import checksum
from fqi.errors import UserError
from fqi.log import Log, fingerprint
from tests.datasets import planted
from tests.datasets.helpers import assert_same
from tests.datasets.planted import Fault, healthy


def mended(log: Log, fault: Fault, names: list[str], folder: Path) -> Repaired:
    """Plant the fault, see it found, mend it, and see it gone from the log that was written."""
    write_log(fault(log), folder / "bad.h5")
    before = (folder / "bad.h5").read_bytes()
    assert set(names) <= {finding.name.replace(" ", "-") for finding in check(folder / "bad.h5") if finding.repairable}
    found = repair(folder / "bad.h5", names)
    save_log(found.log, folder / "good.h5")
    assert check(folder / "good.h5") == []
    assert (folder / "bad.h5").read_bytes() == before
    assert_same(load_log(folder / "good.h5"), found.log)
    return found


def values(found: Log, expected: Log) -> None:
    """The same rows, whatever the head says."""
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


STEPS = {"Taxi-v4": 8000, "FrozenLake-v1": 3000}  # many episodes: often several actions explain their ends
EVERY = ["CartPole-v1", "MountainCar-v0", "Pendulum-v1", "Taxi-v4"]
LOSSLESS: list[tuple[str, list[str], Fault]] = [
    *((e, ["actions-shifted"], planted.rolled("actions", by)) for e in EVERY for by in (1, -1)),
    ("FrozenLake-v1", ["actions-shifted"], planted.rolled("actions", 1)),
    *((e, ["actions-shifted"], planted.moved("actions", 1, 0)) for e in ("CartPole-v1", "MountainCar-v0")),
    *((e, ["rewards-shifted"], planted.rolled("rewards", 1)) for e in ("Pendulum-v1", "Taxi-v4", "FrozenLake-v1")),
    ("Taxi-v4", ["rewards-shifted"], planted.moved("rewards", -1, 0)),
    *((e, ["false-termination"], planted.all_terminated) for e in ("MountainCar-v0", "Pendulum-v1", "Taxi-v4")),
    *((e, ["missed-termination"], planted.all_truncated) for e in ("CartPole-v1", "FrozenLake-v1")),
    *((e, ["both-ends"], planted.both) for e in EVERY),
    *((e, ["open-episode"], planted.never_ended) for e in EVERY),
    ("CartPole-v1", ["end-inside-an-episode"], planted.put("terminations", [3, 60], True)),
    ("MountainCar-v0", ["end-inside-an-episode"], planted.put("truncations", [3, 60], True)),
    ("Pendulum-v1", ["duplicate-episodes"], planted.twice),
    ("Pendulum-v1", ["false-termination", "actions-shifted"],
     lambda log: planted.rolled("actions", 1)(planted.all_terminated(log))),
]  # fmt: skip


@pytest.mark.parametrize(("env_id", "names", "fault"), LOSSLESS)
def test_what_is_mended_without_loss_is_the_healthy_log(
    env_id: str, names: list[str], fault: Fault, tmp_path: Path
) -> None:
    log = healthy(env_id, STEPS.get(env_id, 700))
    if "false-termination" in names and "actions-shifted" in names:
        write_log(fault(log), tmp_path / "bad.h5")
        values(repair(tmp_path / "bad.h5", names).log, log)
    else:
        values(mended(log, fault, names, tmp_path).log, log)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Taxi-v4", "FrozenLake-v1"])
@pytest.mark.parametrize("by", [1, -1])
def test_frames_that_run_ahead_or_lag_cost_a_step_of_each_episode(env_id: str, by: int, tmp_path: Path) -> None:
    log = healthy(env_id)
    found = mended(log, planted.frames_moved(by), ["frames-shifted"], tmp_path).log
    assert found.steps == log.steps - log.episodes
    # Frames that run ahead lack the first of each episode: what is left begins with the second step.
    first, start = int(log.lengths[0]), 1 if by == -1 else 0
    np.testing.assert_array_equal(found.actions[: first - 1], log.actions[start : start + first - 1])
    np.testing.assert_array_equal(found.observations[:first], np.asarray(log.observations)[start : start + first])
    assert not found.terminations.any() if by == 1 else found.terminations.sum() == log.terminations.sum()
    assert found.seeds is not None
    assert (found.seeds == -1).all() if by == -1 else (found.seeds >= 0).all()


def test_a_lost_action_that_nothing_tells_costs_its_step(tmp_path: Path) -> None:
    log = healthy("Pendulum-v1")
    found = mended(log, planted.moved("actions", 1, 0), ["actions-shifted"], tmp_path)
    assert found.log.steps == log.steps - log.episodes
    assert found.log.truncations[planted.last(found.log)].all()
    assert f"the last step of {log.episodes} episodes is lost" in found.done[0]["did"]


def test_an_action_that_several_explain_is_not_guessed(tmp_path: Path) -> None:
    # On slippery ice every way but the opposite one explains a slide: a filled 0 often agrees, but proves nothing.
    log = healthy("FrozenLake-v1")
    found = mended(log, planted.moved("actions", 1, 0), ["actions-shifted"], tmp_path).log
    assert found.steps == log.steps - log.episodes
    kept = np.setdiff1d(np.arange(log.steps), planted.last(log))
    np.testing.assert_array_equal(found.actions, log.actions[kept])


def test_one_start_proves_nothing_more_the_hundredth_time(tmp_path: Path) -> None:
    # Every episode starts on the same tile, from which most slides have several explanations.
    log = healthy("FrozenLake-v1")
    found = mended(log, planted.rolled("actions", -1), ["actions-shifted"], tmp_path).log
    assert found.steps == log.steps - log.episodes
    np.testing.assert_array_equal(found.actions, log.actions[np.setdiff1d(np.arange(log.steps), log.starts)])


def test_columns_of_actions_that_were_moved_are_left_out(tmp_path: Path) -> None:
    log = healthy("CartPole-v1")
    told: dict[str, Any] = {
        "propensity": np.full(log.steps, 0.5),
        "behaviour": np.zeros(log.steps, np.int32),
        "behaviours": ("random",),
    }
    found = mended(Log(**{**vars(log), **told}), planted.rolled("actions", 1), ["actions-shifted"], tmp_path)
    assert found.log.propensity is None
    assert found.log.behaviour is None
    assert "left out propensity, behaviour: " in found.done[0]["did"]


def test_rows_that_are_not_finite_cut_their_episode(tmp_path: Path) -> None:
    log = healthy("CartPole-v1")
    a, b = int(log.starts[1]), int(log.start_frames[3])
    fault = planted.put("rewards", a + 4, np.nan)
    whole = mended(log, lambda log: planted.put("observations", b, np.inf)(fault(log)), ["not-finite"], tmp_path).log
    # Episode 1 keeps the 4 steps before its bad reward and is truncated; episode 3, bad from its first frame, is gone.
    lengths = log.lengths.copy()
    lengths[1] = 4
    np.testing.assert_array_equal(whole.lengths, np.delete(lengths, 3))
    end = int(whole.starts[1]) + 3
    assert whole.truncations[end]
    assert not whole.terminations[end]
    first = int(log.lengths[0]) + 1
    np.testing.assert_array_equal(whole.observations[: first + 5], np.asarray(log.observations)[: first + 5])
    assert whole.seeds is not None
    np.testing.assert_array_equal(whole.seeds, np.delete(log.seeds, 3))  # type: ignore[arg-type]


def test_a_bad_frame_takes_the_step_that_led_to_it(tmp_path: Path) -> None:
    log = healthy("CartPole-v1")
    fault = planted.put("observations", 5, np.nan)  # the frame after step 4
    assert mended(log, fault, ["not-finite"], tmp_path).log.lengths[0] == 4


def test_steps_after_a_missed_end_are_dropped(tmp_path: Path) -> None:
    # Two episodes of CartPole whose flag was lost go on as if nothing had happened: here by a third step of the first.
    log = healthy("CartPole-v1")
    frames, end = np.asarray(log.observations), int(log.lengths[0])
    grown = np.insert(frames, end + 1, frames[end], axis=0)  # after the fall it lies where it fell
    more: dict[str, Any] = {name: np.insert(getattr(log, name), end, 0) for name in ("actions", "rewards")}
    ended = np.insert(log.terminations, end, True)
    ended[end - 1] = False
    lengths = log.lengths.copy()
    lengths[0] += 1
    more |= {"terminations": ended, "truncations": np.zeros_like(ended), "lengths": lengths, "observations": grown}
    write_log(changed(log, **more), tmp_path / "bad.h5")
    names = {finding.name for finding in check(tmp_path / "bad.h5")}
    assert "missed termination" in names
    values(repair(tmp_path / "bad.h5", ["missed-termination"]).log, log)


def test_without_the_environment_an_open_episode_at_the_limit_is_truncated(tmp_path: Path) -> None:
    log = planted.cut(healthy("Pendulum-v1"), 50)
    other = {"id": "Mine-v0", "kwargs": {}, "max_episode_steps": 50}
    log = Log(**{**vars(log), "environment": other})
    found = mended(log, planted.never_ended, ["open-episode"], tmp_path)
    values(found.log, log)
    write_log(planted.never_ended(changed(log, environment=other | {"max_episode_steps": 60})), tmp_path / "x.h5")
    with pytest.raises(UserError, match="may have terminated, and the environment cannot be asked"):
        repair(tmp_path / "x.h5", ["open-episode"])


def test_without_the_environment_both_ends_are_mended_only_where_it_is_documented(tmp_path: Path) -> None:
    log = planted.cut(healthy("Pendulum-v1"), 50)
    limits = {"id": "Mine-v0", "kwargs": {}, "max_episode_steps": 50}
    write_log(planted.both(changed(log, environment=limits)), tmp_path / "a.h5")
    assert repair(tmp_path / "a.h5", ["both-ends"]).log.terminations.sum() == log.episodes
    write_log(planted.both(changed(log, environment=None)), tmp_path / "b.h5")
    with pytest.raises(UserError, match="termination wins only at the time limit"):
        repair(tmp_path / "b.h5", ["both-ends"])


def test_the_log_says_what_was_done_to_it(tmp_path: Path) -> None:
    log = Log(**{**vars(healthy("CartPole-v1")), "provenance": {"collected": {"seed": 3}}})
    bad = planted.all_truncated(log)
    found = mended(log, lambda _: bad, ["missed-termination"], tmp_path).log
    told = found.provenance["repaired"]
    assert told["of"] == str(tmp_path / "bad.h5")
    assert told["checksum"] == fingerprint(bad)
    assert [done["name"] for done in told["repairs"]] == ["missed termination"]
    assert found.provenance["before"] == {"collected": {"seed": 3}}


def test_what_a_repair_brings_to_light_is_told(tmp_path: Path) -> None:
    write_log(planted.rolled("actions", 1)(planted.all_terminated(healthy("Pendulum-v1"))), tmp_path / "bad.h5")
    with pytest.raises(UserError, match="shows false-termination as well"):
        repair(tmp_path / "bad.h5", ["actions-shifted"])


def test_a_shift_that_is_not_all_is_refused(tmp_path: Path) -> None:
    bad = planted.put("observations", (300, 0), 0.123)(planted.rolled("actions", 1)(healthy("Pendulum-v1")))
    write_log(bad, tmp_path / "bad.h5")
    with pytest.raises(UserError, match=r"2 of .* steps still do not replay"):
        repair(tmp_path / "bad.h5", ["actions-shifted"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nope", "there is no such finding"),
        ("contradicted-rows", "cannot be mended with certainty: which of"),
        ("constant-column", "cannot be mended with certainty"),
        ("duplicate-episodes", "there is no finding 'duplicate-episodes' to mend"),
        ("false-termination", "there is no finding"),
    ],
)
def test_what_is_not_there_or_not_certain_is_refused(name: str, says: str, tmp_path: Path) -> None:
    save_log(healthy("CartPole-v1"), tmp_path / "log.h5")
    with pytest.raises(UserError, match=says):
        repair(tmp_path / "log.h5", [name])


def test_a_damaged_file_is_not_repaired(tmp_path: Path) -> None:
    save_log(planted.twice(healthy("Pendulum-v1")), tmp_path / "log.h5")
    with h5py.File(tmp_path / "log.h5", "r+") as file:
        file["rewards"][3] = 0.5
    with pytest.raises(UserError, match="changed or damaged"):
        repair(tmp_path / "log.h5", ["duplicate-episodes"])


def test_columns_that_do_not_fit_are_not_repaired(tmp_path: Path) -> None:
    log = healthy("CartPole-v1")
    write_log(log, tmp_path / "log.h5")
    with h5py.File(tmp_path / "log.h5", "r+") as file:
        short = file["rewards"][:-1]
        del file["rewards"]
        file["rewards"] = short
        file["rewards"].attrs["crc32"] = np.uint32(checksum(short))
    with pytest.raises(UserError, match="do not fit together"):
        repair(tmp_path / "log.h5", ["not-finite"])


def test_another_fault_keeps_the_log_from_being_born(tmp_path: Path) -> None:
    bad = planted.put("actions", 7, 5)(planted.put("rewards", 40, np.nan)(healthy("CartPole-v1")))
    write_log(bad, tmp_path / "bad.h5")
    with pytest.raises(UserError, match="after these repairs it is no log yet: actions: row 7"):
        repair(tmp_path / "bad.h5", ["not-finite"])


def test_every_repair_was_tried() -> None:
    tried = {name for _, names, _ in LOSSLESS for name in names} | {"frames-shifted", "not-finite"}
    assert tried == {name.replace(" ", "-") for name in REPAIRS}
