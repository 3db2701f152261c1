"""Stacks of frames on import: told, taken apart only where that loses nothing, and packed files hold the same."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from fqi.datasets.convert import convert
from fqi.datasets.deriving import Hearing
from fqi.datasets.load import load_log, save_log
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array
from fqi.transitions import stacked
from tests.datasets.helpers import assert_same


def frames_log(axis: int | None, lengths: tuple[int, ...] = (5, 2, 7), depth: int = 4, first: str = "repeated") -> Log:
    """Noise of 9 x 6 bytes; with an axis, each frame stacked with those before it, which begin as `first` says."""
    steps = sum(lengths)
    last = np.zeros(steps, np.bool_)
    last[np.cumsum(lengths) - 1] = True

    def made(observations: Array) -> Log:
        return Log(
            observations=observations,
            actions=np.arange(steps) % 2,
            rewards=np.ones(steps),
            terminations=last,
            truncations=np.zeros(steps, np.bool_),
            lengths=np.array(lengths),
            observation_space=gym.spaces.Box(0, 255, observations.shape[1:], np.uint8),
            action_space=gym.spaces.Discrete(2),
        )

    single = made(np.random.default_rng(0).integers(1, 256, (steps + len(lengths), 9, 6), np.uint8))
    if axis is None:
        return single
    index = stacked(single, depth)
    assert isinstance(single.observations, np.ndarray)
    stacks = single.observations[index]
    if first != "repeated":
        before = np.arange(len(index))[:, None] - np.arange(depth - 1, -1, -1) < index
        stacks[before] = 0 if first == "blank" else np.random.default_rng(1).integers(1, 256, (9, 6), np.uint8)
    return made(np.ascontiguousarray(np.moveaxis(stacks, 1, axis)))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("axis", [1, 3])
def test_stacks_are_told_and_taken_apart_bit_for_bit(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqi.datasets.stacks._PIECE", 9 * 6 * 4 * 3)  # three frames at a time
    save_log(frames_log(axis), "stacks.h5")
    assert convert("stacks.h5", "same.h5").notes == {
        "observations that are stacks of 4 frames, of which --unstack keeps one": 17
    }
    convert("stacks.h5", "single.h5", unstack=True)
    found, expected = load_log("single.h5"), frames_log(None)
    np.testing.assert_array_equal(found.observations, expected.observations)
    assert found.observation_space == expected.observation_space
    assert found.provenance["stacks"] == {"depth": 4, "axis": axis - 1, "environment": None}
    assert found.origin is not None
    assert found.origin[:, 1].tolist() == [0, 1, 2]
    again = np.moveaxis(np.asarray(found.observations)[stacked(found, 4)], 1, axis)  # what --stack 4 gathers
    np.testing.assert_array_equal(again, frames_log(axis).observations)


def test_what_does_not_shift_is_left_alone() -> None:
    log = frames_log(1)
    changed = np.array(log.observations)
    changed[8, 0, 0, 0] ^= 1
    save_log(Log(**{**vars(log), "observations": changed}), "odd.h5")
    assert convert("odd.h5", "same.h5").notes == {}
    with pytest.raises(UserError, match="nothing shifts so"):
        convert("odd.h5", "single.h5", unstack=True)
    assert not Path("single.h5").exists()
    save_log(frames_log(None), "frames.h5")
    assert convert("frames.h5", "same2.h5").notes == {}


def test_a_late_break_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqi.datasets.stacks._PIECE", 9 * 6 * 4 * 5)
    log = frames_log(1)
    changed = np.array(log.observations)
    changed[14, 1] = 0
    save_log(Log(**{**vars(log), "observations": changed}), "odd.h5")
    with pytest.raises(UserError, match=r"frame 14 is not the stack before it .*\(2 such frames\)"):
        convert("odd.h5", "single.h5", unstack=True)


def test_blank_beginnings_are_asked_about() -> None:
    save_log(frames_log(1, first="blank"), "blank.h5")
    with pytest.raises(UserError, match=r"blank frames before the first of 3 episodes.*say --lossy"):
        convert("blank.h5", "single.h5", unstack=True)
    heard: list[str] = []
    convert("blank.h5", "single.h5", unstack=True, hearing=Hearing(losing=lambda _, lost: heard.extend(lost)))
    assert len(heard) == 1
    np.testing.assert_array_equal(load_log("single.h5").observations, frames_log(None).observations)
    save_log(frames_log(1, first="other"), "other.h5")
    with pytest.raises(UserError, match="nothing shifts so"):
        convert("other.h5", "none.h5", unstack=True)


def test_a_packed_log_is_smaller_and_the_same() -> None:
    log = frames_log(None, lengths=(2000,))
    plain = np.array(log.observations)
    plain[:, 2:] = 0
    log = Log(**{**vars(log), "observations": plain})
    save_log(log, "a.h5")
    convert("a.h5", "packed.h5", compress=True)
    assert Path("packed.h5").stat().st_size < Path("a.h5").stat().st_size / 2
    found = load_log("packed.h5", verify=True)
    object.__setattr__(found, "provenance", {})
    assert_same(found, log)
    lazy = load_log("packed.h5", memory=0)
    np.testing.assert_array_equal(lazy.observations[np.array([1500, 3, 700])], plain[[1500, 3, 700]])
    with pytest.raises(UserError, match=r"--compress has an effect only on logs that end in \.h5"):
        convert("a.h5", "a.csv", compress=True)
