"""d3rlpy's files, of both versions: what d3rlpy wrote, and what we write for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from fqi.datasets.formats import rows
from fqi.datasets.formats.d3rlpy import losses
from fqi.datasets.load import load_log, save_log
from fqi.datasets.source import held
from fqi.errors import UserError
from tests.datasets.formats.test_d4rl import save, six
from tests.datasets.helpers import played, small_log

FILES = Path(__file__).parent / "files"


def test_what_d3rlpy_wrote() -> None:
    """Episodes of 3, 4, 2 and 1 rows; the second and the fourth were cut, so their last rows are no steps."""
    log = load_log(FILES / "d3rlpy_discrete.h5")
    assert log.lengths.tolist() == [3, 3, 2]
    assert log.rewards.tolist() == [0, 1, 2, 10, 11, 12, 20, 21]
    assert np.asarray(log.observations)[:, 0].tolist() == [0, 2, 4, 4, 100, 102, 104, 106, 200, 202, 202]
    assert np.flatnonzero(log.terminations).tolist() == [2, 7]
    assert np.flatnonzero(log.truncations).tolist() == [5]
    assert log.action_space == gym.spaces.Discrete(3)
    assert log.provenance["notes"] == {rows.LOST: 2, rows.REPEATED: 2}


def test_tuples_that_d3rlpy_wrote_are_nests() -> None:
    log = load_log(FILES / "d3rlpy_tuple.h5")
    assert isinstance(log.observations, dict)
    assert {name: part.shape for name, part in log.observations.items()} == {"0": (8, 2), "1": (8, 3, 4, 4)}
    assert log.observations["1"].dtype == np.uint8
    assert np.asarray(log.observations["1"])[:, 0, 0, 0].tolist() == [0] * 4 + [1] * 4


def test_version_1_tells_cuts_from_terminations(tmp_path: Path) -> None:
    arrays = six(timeouts=None, episode_terminals=np.array([0, 1, 0, 0, 1, 0], np.float32))
    log = load_log(save(tmp_path / "v1.h5", arrays))
    assert log.provenance["source"] == "d3rlpy"
    assert log.lengths.tolist() == [2, 2]
    assert np.flatnonzero(log.terminations).tolist() == [1]
    plain = load_log(f"d3rlpy:{save(tmp_path / 'v1.h5', six(timeouts=None))}")
    assert plain.lengths.tolist() == [2, 3]  # all ends are terminations; the last row, unfinished, is no step


def test_cut_episodes_are_written_with_the_row_that_d3rlpy_does_not_count(tmp_path: Path) -> None:
    log = small_log()  # four episodes of five steps: two terminated, two cut
    save_log(log, f"d3rlpy:{tmp_path / 'log.h5'}")
    with h5py.File(tmp_path / "log.h5") as file:
        assert [len(file[f"rewards_{i}"]) for i in range(4)] == [5, 5, 6, 6]
        assert [bool(file[f"terminated_{i}"][()]) for i in range(4)] == [True, True, False, False]
        assert file["rewards_3"].shape == (6, 1)
        assert file["rewards_3"][-1] == 0
        assert list(file["columns"]) == [b"observations", b"actions", b"rewards", b"terminated"]
    found = load_log(tmp_path / "log.h5")
    np.testing.assert_array_equal(found.rewards, log.rewards)
    np.testing.assert_array_equal(np.asarray(found.observations)[12:], np.asarray(log.observations)[12:])
    assert found.provenance["notes"] == {rows.REPEATED: 2}
    # propensity, behaviour, seeds, final frames of terminated episodes
    assert len(losses(held("", "d3rlpy", log).outline, "")) == 4


def test_real_environments_come_back(tmp_path: Path) -> None:
    for name in ("CartPole-v1", "Pendulum-v1"):
        log = played(name, 250)
        save_log(log, f"d3rlpy:{tmp_path / 'log.h5'}")
        found = load_log(tmp_path / "log.h5")
        assert (found.observation_space, found.action_space) == (log.observation_space, log.action_space)
        np.testing.assert_array_equal(found.actions, log.actions)
        np.testing.assert_array_equal(found.truncations, log.truncations)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"num_episodes": 5}, "expected the dataset rewards_4"),
        ({"num_episodes": 3}, "3 and more"),
        ({"num_episodes": 0}, "expected a number of episodes"),
        ({"num_episodes": 10**12}, "expected the dataset rewards_4"),
        ({"actions_1": np.zeros((3, 1), int)}, "actions_1: expected 4 rows"),
        ({"actions_1": np.zeros((4, 1))}, "rows of int64 .* as in earlier episodes, found float64"),
        ({"observations_2": np.zeros((2, 3), np.float32)}, "observations_2: expected rows of"),
        ({"terminated_0": np.array([2])}, "terminated_0: expected one flag"),
        ({"rewards_0": np.zeros((0, 1))}, "at least one row"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, harm: dict[str, Any], message: str) -> None:
    path = tmp_path / "log.h5"
    path.write_bytes((FILES / "d3rlpy_discrete.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        for name, value in harm.items():
            del file[name]
            file.create_dataset(name, data=value)
    with pytest.raises(UserError, match=message):
        load_log(path)


def test_actions_that_d3rlpy_would_misread_are_refused(tmp_path: Path) -> None:
    log = small_log()
    several = type(log)(
        **{
            **{name: getattr(log, name) for name in log.__dataclass_fields__},
            "actions": np.zeros((20, 2), np.int64),
            "action_space": gym.spaces.MultiDiscrete([2, 3]),
        }
    )
    with pytest.raises(UserError, match="numbered actions and vectors"):
        save_log(several, f"d3rlpy:{tmp_path / 'log.h5'}")
    assert not list(tmp_path.iterdir())
