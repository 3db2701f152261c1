"""Checkpoints of Dopamine's replay buffer: rings, padding, and gzip files that mean harm."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.datasets.convert import convert
from fqi.datasets.formats import rows
from fqi.datasets.formats.dqn_replay import PADDED
from fqi.datasets.load import load_log
from fqi.errors import UserError
from tests.datasets.formats.test_npz import member
from tests.datasets.helpers import assert_same

# Two episodes of 3 and 2 steps as Dopamine adds them: three rows of zeros before each.
FRAMES = np.array([0, 0, 0, 1, 2, 3, 0, 0, 0, 4, 5], np.uint8)
ACTIONS = np.array([0, 0, 0, 2, 0, 1, 0, 0, 0, 1, 0], np.int32)
REWARDS = np.array([0, 0, 0, 1, 0, -1, 0, 0, 0, 1, 1], np.float32)
TERMINAL = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], np.uint8)


def save(folder: Path, turn: int = 0, spare: int = 0, number: int = 0, **changed: Any) -> Path:
    """A checkpoint whose ring has turned by so many rows, or has spare places."""
    frames = np.repeat(FRAMES, 6).reshape(-1, 2, 3)
    columns = {"observation": frames, "action": ACTIONS, "reward": REWARDS, "terminal": TERMINAL}
    count = len(FRAMES) + (turn and len(FRAMES) + turn - len(FRAMES))
    for name, array in {**columns, "add_count": np.array(count), **changed}.items():
        if name == "add_count":
            path = folder / f"add_count_ckpt.{number}.gz"
        else:
            path = folder / f"$store$_{name}_ckpt.{number}.gz"
            array = np.roll(np.concatenate([array, np.repeat(array[-1:], spare, axis=0)]), turn, axis=0)
        with gzip.open(path, "wb") as file:
            np.save(file, array)
    return folder


def firsts(log: Any) -> list[int]:
    return np.asarray(log.observations)[:, 0, 0].tolist()


def test_padding_is_left_out_and_ends_repeat_their_frame(tmp_path: Path) -> None:
    log = load_log(save(tmp_path))
    assert firsts(log) == [1, 2, 3, 3, 4, 5, 5]
    assert np.asarray(log.observations).dtype == np.uint8
    assert log.observation_space == gym.spaces.Box(0, 255, (2, 3), np.uint8)
    assert log.actions.tolist() == [2, 0, 1, 1, 0]
    assert log.rewards.tolist() == [1, 0, -1, 1, 1]
    assert np.flatnonzero(log.terminations).tolist() == [2, 4]
    assert log.provenance["notes"][PADDED] == 6


def test_a_ring_that_has_turned_is_read_from_its_oldest_row(tmp_path: Path) -> None:
    log = load_log(f"dqn-replay:{save(tmp_path, turn=4)}:0")
    assert firsts(log) == [1, 2, 3, 3, 4, 5, 5]
    assert log.provenance["notes"][PADDED] == 6


def test_only_rows_that_were_added_are_read(tmp_path: Path) -> None:
    log = load_log(save(tmp_path, spare=7))
    assert log.steps == 5
    # The buffer was saved in the middle of the second episode: its last row does not know what followed.
    log = load_log(save(tmp_path, add_count=np.array(10)))
    assert log.lengths.tolist() == [3]
    assert log.provenance["notes"][rows.LOST] == 1


def test_streaming_gives_the_same_log(tmp_path: Path) -> None:
    folder = save(tmp_path, turn=4)
    convert(str(folder), str(tmp_path / "log.h5"))
    found, expected = load_log(tmp_path / "log.h5"), load_log(folder)
    assert found.provenance == expected.provenance | {"converted_from": [str(folder)]}
    assert_same(replace(found, provenance=expected.provenance), expected)


def test_a_black_first_frame_is_not_padding(tmp_path: Path) -> None:
    """Four black rows in a row are three of padding and a frame."""
    black = np.repeat(np.array([0, 0, 0, 0, 2, 3, 0, 0, 0, 4, 5], np.uint8), 6).reshape(-1, 2, 3)
    actions = np.where(np.arange(11) == 3, 0, ACTIONS)
    rewards = np.where(np.arange(11) == 3, 0, REWARDS).astype(np.float32)
    log = load_log(save(tmp_path, observation=black, action=actions, reward=rewards))
    assert firsts(log) == [0, 2, 3, 3, 4, 5, 5]


def test_several_checkpoints_must_be_told_apart(tmp_path: Path) -> None:
    save(tmp_path)
    save(tmp_path, number=7)
    with pytest.raises(UserError, match=r"checkpoints 0, 7; name one: dqn-replay:.*:7"):
        load_log(tmp_path)
    assert load_log(f"dqn-replay:{tmp_path}:7").provenance["checkpoint"] == 7
    with pytest.raises(UserError, match="expected the checkpoint 3, found 0, 7"):
        load_log(f"dqn-replay:{tmp_path}:3")
    with pytest.raises(UserError, match="found none"):
        load_log(f"dqn-replay:{tmp_path / 'gone'}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"action": np.zeros(5, np.int32)}, "action: expected 11 rows"),
        ({"observation": np.zeros((5, 2, 3), np.uint8)}, "at least 11 frames"),
        ({"observation": np.zeros((11, 2, 3))}, "frames of bytes"),
        ({"terminal": np.full(11, 3, np.uint8)}, "row 0: expected 0 or 1, found 3"),
        ({"add_count": np.array(0)}, "at least one row"),
        ({"add_count": np.array([1, 2])}, "one whole number"),
        ({"reward": np.full(11, np.nan, np.float32)}, "finite"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_log(save(tmp_path, **changed))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(member("(1000000000000, 84, 84)", b"\0", "|u1")), "beyond compression"),
        (gzip.compress(member("(11, 2, 3)", b"\0" * 65, "|u1")), "the file was cut"),
        (gzip.compress(member("(11, 2, 3)", b"\0" * 67, "|u1")), "found more"),
        (gzip.compress(member("(11, 2, 3)", b"\0" * 66, "|O")), "never unpickled"),
        (gzip.compress(b"text"), "expected an array"),
        (b"text", "damage"),
        (b"", "expected an array"),
    ],
    ids=["a bomb", "cut", "too long", "objects", "no array", "not packed", "empty"],  # gzip writes the time
)
def test_gzip_files_that_mean_harm_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    save(tmp_path)
    (tmp_path / "$store$_observation_ckpt.0.gz").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_log(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "$store$_reward_ckpt.0.gz").unlink()
    with pytest.raises(UserError, match=r"reward_ckpt\.0\.gz: no such file"):
        load_log(tmp_path)
