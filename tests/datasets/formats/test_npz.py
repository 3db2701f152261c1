"""npz layouts of other libraries, their traps, and archives that mean harm."""

from __future__ import annotations

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.datasets.check import check
from fqi.datasets.convert import convert
from fqi.datasets.formats import arrays, rows
from fqi.datasets.load import load_log
from fqi.errors import UserError

FILES = Path(__file__).parent / "files"


def trajectories(**changed: Any) -> dict[str, Any]:
    """Two episodes of imitation's, of 2 and 3 steps, the second terminated."""
    return {
        "obs": np.arange(7, dtype=np.float32).reshape(7, 1),
        "acts": np.array([0, 1, 2, 1, 0]),
        "rews": np.array([1, 2, 3, 4, 5], np.float32),
        "terminal": np.array([False, True]),
        "indices": np.array([2]),
        **changed,
    }


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_trajectories_of_imitation_keep_their_final_frames(tmp_path: Path) -> None:
    log = load_log(save(tmp_path / "demos.npz", trajectories()))
    np.testing.assert_array_equal(log.observations, np.arange(7).reshape(7, 1))
    assert log.lengths.tolist() == [2, 3]
    assert log.terminations.tolist() == [False, False, False, False, True]
    assert log.truncations.tolist() == [False, True, False, False, False]
    assert log.rewards.dtype == np.float32
    assert log.action_space == gym.spaces.Discrete(3)
    assert log.observation_space == gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    assert set(log.provenance["guessed"]) == {"observation_space", "action_space"}
    assert log.provenance["notes"] == {rows.MERGED: 1}


def test_what_imitation_wrote_is_read_as_imitation_reads_it() -> None:
    log = load_log(FILES / "imitation_trajectories.npz")
    assert log.lengths.tolist() == [12, 12, 12, 12, 11, 12]
    assert np.flatnonzero(log.terminations).tolist() == [58]  # 4 x 12 + 11 - 1
    assert log.rewards.tolist() == [1.0] * 71
    assert "infos: Python objects, never unpickled, skipped" in log.provenance["notes"]
    env = gym.make("CartPole-v1")
    for episode, frame in enumerate(log.start_frames):
        np.testing.assert_array_equal(log.observations[frame], env.reset(seed=episode)[0])
    env.close()


def test_transitions_of_imitation_are_split_where_the_next_observation_does_not_follow() -> None:
    whole, log = (load_log(FILES / f"imitation_{layout}.npz") for layout in ("trajectories", "transitions"))
    np.testing.assert_array_equal(log.observations, whole.observations)
    np.testing.assert_array_equal(log.truncations, whole.truncations)
    np.testing.assert_array_equal(log.terminations, whole.terminations)
    assert log.provenance["notes"][rows.BREAKS] == 4  # five cut episodes, the last one at the end of the file


def test_a_named_environment_gives_spaces_and_the_time_limit(tmp_path: Path) -> None:
    log = load_log(f"{FILES / 'imitation_trajectories.npz'}?env=CartPole-v1")
    env = gym.make("CartPole-v1")
    assert (log.observation_space, log.action_space) == (env.observation_space, env.action_space)
    assert log.environment == {"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500}
    assert "guessed" not in log.provenance
    with pytest.raises(UserError, match="at most 11 steps, the time limit, found one of 12"):
        load_log(f"npz:{FILES / 'imitation_trajectories.npz'}?env=CartPole-v1&max_episode_steps=11")
    path = save(tmp_path / "demos.npz", trajectories(terminal=np.array([True, True])))
    log = load_log(f"npz:{path}?max_episode_steps=3")
    assert np.flatnonzero(log.truncations).tolist() == [4]
    assert np.flatnonzero(log.terminations).tolist() == [1]
    assert log.provenance["notes"] == {rows.LIMITED: 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("env=CartPole-v1&env=CartPole-v1", "each once"),
        ("gamma=1", "expected env=… or max_episode_steps=…"),
        ("max_episode_steps=0", "expected a number of steps"),
        ("max_episode_steps=many", "expected a number of steps"),
        ("env=Nowhere-v0", "Nowhere"),
        ("env=Pendulum-v1", "expected rows of shape"),
    ],
)
def test_options_are_understood_or_refused(tmp_path: Path, options: str, message: str) -> None:
    path = save(tmp_path / "demos.npz", trajectories())
    with pytest.raises(UserError, match=message):
        load_log(f"{path}?{options}")


def test_a_file_without_rewards_says_what_it_is_good_for(tmp_path: Path) -> None:
    log = load_log(save(tmp_path / "demos.npz", trajectories(rews=None)))
    assert not log.rewards.any()
    assert any("cloning only" in note for note in log.provenance["notes"])


def baselines(**changed: Any) -> dict[str, Any]:
    """Three episodes of Stable-Baselines 2: 2, 3 and 1 steps."""
    return {
        "obs": np.arange(6, dtype=np.float64).reshape(6, 1),
        "actions": np.array([[0], [1], [2], [1], [0], [1]]),
        "rewards": np.arange(6, dtype=np.float32),
        "episode_returns": np.array([1.0, 9.0, 5.0]),
        "episode_starts": np.array([True, False, True, False, False, True]),
        **changed,
    }


def test_ends_of_stable_baselines_are_terminations_whose_last_frame_is_repeated(tmp_path: Path) -> None:
    log = load_log(save(tmp_path / "expert.npz", baselines()))
    assert log.lengths.tolist() == [2, 3, 1]
    assert np.asarray(log.observations)[:, 0].tolist() == [0, 1, 1, 2, 3, 4, 4, 5, 5]
    assert np.flatnonzero(log.terminations).tolist() == [1, 4, 5]
    assert log.actions.tolist() == [0, 1, 2, 1, 0, 1]
    assert log.provenance["notes"] == {rows.REPEATED: 3, rows.MERGED: 3}


def test_steps_cut_by_a_limit_without_a_next_frame_are_lost(tmp_path: Path) -> None:
    """With a limit of 3 the second episode was cut: its last row is no step, its frame is the final one."""
    log = load_log(f"{save(tmp_path / 'expert.npz', baselines())}?max_episode_steps=3")
    assert log.lengths.tolist() == [2, 2, 1]
    assert np.asarray(log.observations)[:, 0].tolist() == [0, 1, 1, 2, 3, 4, 5, 5]
    assert log.rewards.tolist() == [0, 1, 2, 3, 5]
    assert np.flatnonzero(log.truncations).tolist() == [3]
    assert np.flatnonzero(log.terminations).tolist() == [1, 4]
    assert log.provenance["notes"] == {rows.LIMITED: 1, rows.LOST: 1, rows.REPEATED: 2}


def test_data_other_than_the_spaces_are_kept_as_they_are(tmp_path: Path) -> None:
    pixels = np.zeros((7, 40, 40, 3), np.uint8)
    log = load_log(save(tmp_path / "a.npz", trajectories(obs=pixels, acts=np.full((5, 2), 0.5, np.float32))))
    assert log.observation_space == gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    assert log.action_space == gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    log = load_log(save(tmp_path / "b.npz", trajectories(obs=np.asfortranarray(np.arange(14.0).reshape(7, 2)))))
    np.testing.assert_array_equal(log.observations, np.arange(14).reshape(7, 2))
    log = load_log(save(tmp_path / "c.npz", trajectories(obs=np.arange(7, dtype=">i2"), acts=np.ones((5, 2), int))))
    assert log.observation_space == gym.spaces.Discrete(7)
    assert log.action_space == gym.spaces.MultiDiscrete([2, 2])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"obs": np.zeros((6, 1))}, "obs: expected 5 \\+ 2 rows"),
        ({"indices": np.array([9])}, "from 0 to the 5 steps"),
        ({"indices": np.array([1, 2])}, "indices: expected 1 whole numbers"),
        ({"indices": np.array([0.5])}, "indices: expected 1 whole numbers"),
        (
            {"indices": np.array([4, 2]), "terminal": np.ones(3, bool), "obs": np.zeros((8, 1))},
            "row 1: expected rising",
        ),
        ({"terminal": np.array([0, 7])}, "terminal: row 1: expected 0 or 1, found 7"),
        ({"rews": np.ones(4)}, "rews: expected 5 rows"),
        ({"rews": np.array([1, 2, np.nan, 4, 5])}, "rewards.*row 2.*finite"),
        ({"obs": np.full((7, 1), None, dtype=object)}, "obs: expected numbers, found Python objects"),
        ({"obs": np.full((7, 1), "path.png")}, "obs: expected numbers, found <U8"),
        ({"acts": np.array([0, 1, 2, 10**9, 0])}, "actions: expected numbers of actions"),
        ({"acts": None}, "expected the arrays acts"),
        ({"obs": np.array(0.0)}, "obs: expected 5"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "demos.npz", trajectories(**changed))
    with pytest.raises(UserError, match=message) as caught:
        load_log(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert check(path)


def member(shape: str, data: bytes, descr: str = "<f8") -> bytes:
    """An array as an .npy file, whatever its header says."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (member("(1000000000000,)", b""), "bytes of data as in the archive"),
        (member("(-1,)", b"\0" * 8), "with a shape"),
        (member("(" + "1," * 40 + ")", b"\0" * 8), "with a shape"),
        (member("(2,)", b"\0" * 8), "bytes of data as in the archive"),
        (member("(1,)", b"\0" * 8, "|O"), "Python objects"),
        (member("(1,)", b"\x02", "|b1"), "expected 0 or 1, found 2"),
        (member("(1,)", b"\0" * 8, "__import__"), "damage"),
        (b"nothing", "expected an array"),
        (b"\0" * (300 << 20), "expected an array"),
    ],
)
def test_archives_that_mean_harm_are_refused_before_memory_is_taken(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = save(tmp_path / "demos.npz", trajectories(obs=None))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("obs.npy", content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=message):
        load_log(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_found_before_a_row_is_believed(tmp_path: Path, compression: int) -> None:
    path = save(tmp_path / "demos.npz", trajectories(obs=None))
    numbers = np.random.default_rng(0).normal(size=(7, 50_000)).astype(np.float32)  # of which the last row is broken
    with zipfile.ZipFile(path, "a", compression) as file:
        file.writestr("obs.npy", member("(7, 50000)", numbers.tobytes(), "<f4"))
    content = bytearray(path.read_bytes())
    content[-3000] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="obs: expected an intact archive, found damage"):
        convert(str(path), str(tmp_path / "out.h5"))
    assert [one.name for one in tmp_path.iterdir()] == ["demos.npz"]


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.zeros((7, 100_000), np.float32, "F"), "obs: needs 2800000 bytes"),  # lies column by column
        (np.zeros((7, 100_000), np.float32), "obs: needs 1600000 bytes"),  # rows that are too large
        (np.zeros((700, 1000), np.float32), "obs: expected 5"),
    ],
)
def test_only_what_must_be_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obs: np.ndarray[Any, Any], message: str
) -> None:
    monkeypatch.setattr(arrays, "memory_bytes", lambda: 2_000_000)
    with pytest.raises(UserError, match=message):
        load_log(save(tmp_path / "demos.npz", trajectories(obs=obs)))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "demos.npz", trajectories())
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((7, 1)))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("obs.npy", buffer.getvalue())
    with pytest.raises(UserError, match="each array once"):
        load_log(path)


def test_strange_names_stay_on_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "demos.npz", {"a\nb": np.ones(2)})
    with pytest.raises(UserError, match=r"found 'a\\nb'$"):
        load_log(path)


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"text")
    for name, message in (("a.npz", "another kind of file"), ("gone.npz", "no such"), ("", "found a folder")):
        with pytest.raises(UserError, match=message):
            load_log(f"npz:{tmp_path / name}")
