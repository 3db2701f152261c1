"""D4RL files: both flags, the frame after each step, and what older files leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from fqi.datasets.formats import rows
from fqi.datasets.formats.d4rl import losses
from fqi.datasets.load import load_log, save_log
from fqi.datasets.source import held
from fqi.errors import UserError
from tests.datasets.helpers import assert_same, played, small_log


def six(**changed: Any) -> dict[str, Any]:
    """Episodes of 2 (terminal), 3 (timeout) and 1 (unfinished) rows; row i observed i."""
    return {
        "observations": np.arange(6, dtype=np.float32).reshape(6, 1),
        "actions": np.linspace(-1, 1, 6, dtype=np.float32).reshape(6, 1),
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], bool),
        **changed,
    }


NEXT = np.array([[1], [91], [3], [4], [94], [95]], np.float32)


def save(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file.create_dataset(name, data=array)
    return path


def frames(log: Any) -> list[float]:
    return np.asarray(log.observations)[:, 0].tolist()


def test_without_next_observations_a_timeout_row_is_no_step(tmp_path: Path) -> None:
    log = load_log(save(tmp_path / "d.hdf5", six()))
    assert log.lengths.tolist() == [2, 2]  # the last row, of which nobody knows what followed, is no step either
    assert frames(log) == [0, 1, 1, 2, 3, 4]
    assert np.flatnonzero(log.terminations).tolist() == [1]
    assert np.flatnonzero(log.truncations).tolist() == [3]
    assert log.rewards.tolist() == [0, 1, 2, 3]
    assert log.provenance["notes"] == {rows.UNFINISHED: 1, rows.LOST: 2, rows.REPEATED: 1}


def test_next_observations_keep_every_step_and_final_frame(tmp_path: Path) -> None:
    log = load_log(save(tmp_path / "d.hdf5", six(next_observations=NEXT)))
    assert log.lengths.tolist() == [2, 3, 1]
    assert frames(log) == [0, 1, 91, 2, 3, 4, 94, 5, 95]
    assert np.flatnonzero(log.truncations).tolist() == [4, 5]


def test_a_break_that_no_flag_marks_is_a_cut_with_its_true_final_frame(tmp_path: Path) -> None:
    following = NEXT.copy()
    following[2] = 50  # row 2 did not lead to row 3
    log = load_log(save(tmp_path / "d.hdf5", six(next_observations=following)))
    assert log.lengths.tolist() == [2, 1, 2, 1]
    assert frames(log) == [0, 1, 91, 2, 50, 3, 4, 94, 5, 95]
    assert log.provenance["notes"][rows.BREAKS] == 1


def test_absent_timeouts_are_counted_from_the_limit_or_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "d.hdf5", six(timeouts=None))
    with pytest.raises(UserError, match=r"neither.*\?env=ID.*max_episode_steps"):
        load_log(path)
    log = load_log(f"d4rl:{path}?max_episode_steps=3")
    assert log.lengths.tolist() == [2, 2]
    assert frames(log) == [0, 1, 1, 2, 3, 4]
    assert load_log(save(path, six(timeouts=None, next_observations=NEXT))).lengths.tolist() == [
        2,
        3,
        1,
    ]  # row 4 leads to 94, not to row 5


def test_probabilities_are_taken_where_they_are_probabilities(tmp_path: Path) -> None:
    path = save(tmp_path / "d.hdf5", six(**{"infos/action_log_probs": np.log(np.full(6, 0.25)), "infos/qpos": NEXT}))
    log = load_log(path)
    np.testing.assert_allclose(log.propensity, 0.25)
    assert "infos/qpos: not kept" in log.provenance["notes"]
    assert load_log(save(path, six(**{"infos/action_log_probs": np.full(6, -np.inf)}))).propensity is None


def test_columns_of_one_and_numbers_as_flags(tmp_path: Path) -> None:
    arrays = six(rewards=np.ones((6, 1)), terminals=np.array([[0.0], [1], [0], [0], [0], [0]]), timeouts=np.eye(6)[4])
    assert load_log(save(tmp_path / "d.hdf5", arrays)).lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": np.ones(5)}, "observations: expected 5 rows"),
        ({"timeouts": np.ones(5, bool)}, "truncations: expected 6 rows"),
        ({"terminals": np.full(6, 2)}, "terminals: row 0: expected 0 or 1, found 2"),
        ({"next_observations": NEXT.astype(np.float64)}, "expected float32 as in observations"),
        ({"next_observations": NEXT[:5]}, "next observations: expected 6 rows"),
        ({"actions": np.full((6, 1), np.nan, np.float32)}, "actions.*finite"),
        ({"observations": np.ones((6, 1), complex)}, "expected numbers"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "d.hdf5", six(**changed))
    with pytest.raises(UserError, match=message) as caught:
        load_log(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_log_comes_back_with_spaces_and_every_frame(tmp_path: Path) -> None:
    log = played("CartPole-v1", 60)
    save_log(log, f"d4rl:{tmp_path / 'c.hdf5'}")
    with h5py.File(tmp_path / "c.hdf5") as file:
        assert {"observations", "next_observations", "actions", "rewards", "terminals", "timeouts"} <= set(file)
        assert len(file["observations"]) == log.steps
    found = load_log(tmp_path / "c.hdf5")
    np.testing.assert_array_equal(found.observations, log.observations)
    assert (found.observation_space, found.action_space) == (log.observation_space, log.action_space)
    assert losses(held("", "d4rl", log).outline, "") == ["the reset seeds of the episodes"]
    with pytest.raises(UserError, match="states its own spaces"):
        load_log(f"{tmp_path / 'c.hdf5'}?env=CartPole-v1")


def test_the_own_format_is_not_mistaken(tmp_path: Path) -> None:
    save_log(small_log(), tmp_path / "log.h5")
    assert_same(load_log(tmp_path / "log.h5"), small_log())


def test_a_named_environment_keeps_the_precision_of_the_data(tmp_path: Path) -> None:
    arrays = six(observations=np.zeros((6, 3)), actions=np.zeros((6, 1)))
    log = load_log(f"{save(tmp_path / 'd.hdf5', arrays)}?env=Pendulum-v1")
    assert isinstance(log.action_space, gym.spaces.Box)
    assert log.action_space.dtype == np.float64
    assert float(log.action_space.high[0]) == 2.0
    assert log.environment is not None
    assert log.environment["id"] == "Pendulum-v1"
