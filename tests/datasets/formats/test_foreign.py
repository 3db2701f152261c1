"""HDF5 of any layout, by a mapping that is checked before anything is read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from fqi.datasets.formats import rows
from fqi.datasets.load import load_log
from fqi.errors import UserError
from tests.datasets.formats.test_d4rl import NEXT, frames

MAPPING = """
observations = "data/state"
actions = "data/action"
rewards = "data/reward"
"""
FLAGS = 'terminations = "data/end"\ntruncations = "data/cut"\n'


def save(folder: Path, mapping: str) -> str:
    """Six rows: an end in row 1, a cut in row 4; `done` merges both."""
    with h5py.File(folder / "any.h5", "w") as file:
        file["data/state"] = np.arange(6, dtype=np.float32).reshape(6, 1)
        file["data/next"] = NEXT
        file["data/action"] = np.arange(6) % 2
        file["data/reward"] = np.arange(6)
        file["data/end"] = np.arange(6) == 1
        file["data/cut"] = np.arange(6) == 4
        file["data/done"] = np.isin(np.arange(6), (1, 4))
        file["data/pi"] = np.full(6, 0.5)
    (folder / "map.toml").write_text(mapping)
    return f"{folder / 'any.h5'}@{folder / 'map.toml'}"


def test_flags_frames_and_probabilities(tmp_path: Path) -> None:
    name = save(tmp_path, MAPPING + FLAGS + 'next_observations = "data/next"\npropensity = "data/pi"\n')
    for reference in (name, f"hdf5:{name}"):
        log = load_log(reference)
        assert log.lengths.tolist() == [2, 3, 1]
        assert frames(log) == [0, 1, 91, 2, 3, 4, 94, 5, 95]
        assert log.rewards.dtype == np.float64
        assert log.propensity is not None
        assert log.propensity.tolist() == [0.5] * 6


def test_done_alone_needs_the_length_of_cut_episodes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not tell terminations from cuts.*max_episode_steps"):
        load_log(save(tmp_path, MAPPING + 'done = "data/done"\n'))
    log = load_log(save(tmp_path, MAPPING + 'done = "data/done"\nmax_episode_steps = 3\n'))
    assert log.lengths.tolist() == [2, 2]
    assert np.flatnonzero(log.terminations).tolist() == [1]
    assert log.provenance["notes"][rows.LIMITED] == 1
    with pytest.raises(UserError, match="at most 2 steps, the time limit, found one of 3"):
        load_log(save(tmp_path, MAPPING + 'done = "data/done"\nmax_episode_steps = 2\n'))


def test_parts_make_a_nest_and_an_environment_gives_spaces(tmp_path: Path) -> None:
    parts = MAPPING.replace('observations = "data/state"\n', "") + FLAGS
    log = load_log(save(tmp_path, f'{parts}[observations]\na = "data/state"\nb = "data/pi"\n'))
    assert isinstance(log.observations, dict)
    assert list(log.observations) == ["a", "b"]
    with pytest.raises(UserError, match="expected rows of shape"):
        load_log(save(tmp_path, MAPPING + FLAGS + 'environment = "CartPole-v1"\n'))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("actions = 1", "expected observations"),
        (MAPPING, "either terminations"),
        (MAPPING + FLAGS + 'done = "data/done"', "either terminations"),
        (MAPPING + FLAGS + "max_episode_steps = 5", "only splits done"),
        (MAPPING + FLAGS + 'gamma = "x"', "'gamma': expected one of observations"),
        (MAPPING + 'done = "data/done"\nmax_episode_steps = true', "expected a number of steps"),
        (MAPPING + 'done = "data/done"\ntruncations = "data/cut"\nmax_episode_steps = 3', "done merges"),
        (MAPPING + 'terminations = "gone"', "expected the dataset gone"),
        (MAPPING + 'terminations = "data"', "data"),
        (MAPPING + "terminations = 3", "expected a name"),
        (MAPPING + FLAGS + 'environment = "Nowhere-v0"', "Nowhere"),
        (MAPPING + FLAGS + "[next_observations]\na = 'data/next'", "expected the parts"),
        ("a = = 1", "expected TOML"),
        ("a = " + "[" * 5000, "expected TOML"),
    ],
)
def test_a_mapping_is_understood_or_refused(tmp_path: Path, mapping: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_log(save(tmp_path, mapping))
    assert "\n" not in str(caught.value)


def test_names_say_what_is_missing(tmp_path: Path) -> None:
    save(tmp_path, MAPPING)
    with pytest.raises(UserError, match=r"hdf5:FILE@MAPPING\.toml"):
        load_log(f"hdf5:{tmp_path / 'any.h5'}")
    with pytest.raises(UserError, match=r"hdf5:FILE@MAPPING\.toml"):
        load_log(tmp_path / "any.h5")
    with pytest.raises(UserError, match=r"gone\.toml: cannot be read"):
        load_log(f"{tmp_path / 'any.h5'}@{tmp_path / 'gone.toml'}")
