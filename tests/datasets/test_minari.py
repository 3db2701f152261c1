"""Minari: round trips are exact, Minari itself sees the same arrays, and what it made is read as it is."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fqi import spaces
from fqi.datasets.check import check
from fqi.datasets.formats import minari as ours
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import leaves
from tests.datasets.helpers import assert_same, played, read_or_sentence, small_log
from tests.strategies import logs

SHARED_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.fixture(scope="module")
def minari() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import minari

        return minari


def create(minari: Any, name: str, buffers: list[Any], **given: Any) -> Any:
    """A dataset made by Minari alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(name, buffer=buffers, **given)


def names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"minari:fqi/any-v{number}"


NAMES = names()


@settings(max_examples=40, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(log=logs())
def test_any_log_comes_back_exactly(log: Log, minari: Any) -> None:
    name = next(NAMES)
    ours.write_minari(log, name)
    assert_same(ours.read_minari(name), log)
    dataset = minari.load_dataset(name.removeprefix("minari:"))
    assert dataset.total_steps == log.steps
    assert dataset.total_episodes == log.episodes
    for index, episode in enumerate(dataset.iterate_episodes()):
        part = log.select(np.array([index]))
        np.testing.assert_array_equal(episode.actions, part.actions)
        np.testing.assert_array_equal(episode.rewards, part.rewards)
        np.testing.assert_array_equal(episode.truncations, part.truncations)
        seen = _flat(episode.observations)
        for path, array in leaves(part.observations).items():
            np.testing.assert_array_equal(seen[path], array)
            assert seen[path].dtype == array.dtype


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Minari's observations by the paths of our leaves."""
    if not isinstance(value, dict | tuple):
        return {path: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for key, inner in pairs:
        found.update(_flat(inner, f"{path}/{key}" if path else str(key)))
    return found


@pytest.mark.parametrize("shape", [(84, 84), (84, 84, 3), (84, 84, 1), (84, 84, 4), (4, 84, 84)])
def test_pixels_are_never_lossy(shape: tuple[int, ...], minari: Any) -> None:
    generator = np.random.default_rng(0)
    log = _pixels(generator.integers(0, 256, (5, *shape), np.uint8))
    ours.write_minari(log, "minari:fqi/pixels-v0")
    assert_same(ours.read_minari("minari:fqi/pixels-v0"), log)
    episode = minari.load_dataset("fqi/pixels-v0")[0]
    np.testing.assert_array_equal(episode.observations, np.asarray(log.observations))


def _pixels(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Log:
    steps = len(frames) - 1
    last = np.arange(steps) == steps - 1
    return Log(
        observations=frames,
        actions=np.zeros(steps, np.int64),
        rewards=np.zeros(steps),
        terminations=last,
        truncations=np.zeros(steps, np.bool_),
        lengths=np.array([steps]),
        observation_space=gym.spaces.Box(0, 255, frames.shape[1:], np.uint8),
        action_space=gym.spaces.Discrete(2),
    )


@pytest.mark.parametrize("shape", [(84, 84), (84, 84, 3)])
def test_jpeg_datasets_are_read_and_said_to_be_lossy(shape: tuple[int, ...], minari: Any) -> None:
    from minari.data_collector import EpisodeBuffer

    ramp = np.linspace(0, 255, int(np.prod(shape))).reshape(shape).astype(np.uint8)
    frames = np.stack([ramp, ramp // 2, np.random.default_rng(0).integers(0, 256, shape, np.uint8)])
    flags = np.array([False, True])
    buffer = EpisodeBuffer(
        observations=frames, actions=np.array([0, 1]), rewards=np.ones(2), terminations=flags, truncations=flags
    )
    log = _pixels(frames)
    dataset = create(
        minari, "aa/jpeg-v0", [buffer], observation_space=log.observation_space, action_space=log.action_space
    )
    found = ours.read_minari("minari:aa/jpeg-v0")
    np.testing.assert_array_equal(found.observations, dataset[0].observations)
    assert any("JPEG" in note for note in found.provenance["notes"])


def test_a_real_environment_can_be_recovered(minari: Any) -> None:
    log = played("CartPole-v1", 200)
    folder = ours.write_minari(log, "minari:fqi/cartpole/random-v0", description="random play")
    dataset = minari.load_dataset("fqi/cartpole/random-v0")
    assert dataset.env_spec.id == "CartPole-v1"
    assert dataset.env_spec.max_episode_steps == 500
    env = dataset.recover_environment()
    np.testing.assert_array_equal(env.reset(seed=0)[0], np.asarray(log.observations)[0])
    env.close()
    assert [m["seed"] for m in dataset.storage.get_episode_metadata([0, 1])] == [0, 1]
    assert "fqi/cartpole/random-v0" in minari.list_local_datasets()
    for name in (folder, folder / "data", "minari:fqi/cartpole/random-v0"):
        assert_same(ours.read_minari(name), log)


def test_infos_follow_minaris_alignment(minari: Any) -> None:
    log = small_log()
    ours.write_minari(log, "minari:fqi/infos-v0")
    infos = minari.load_dataset("fqi/infos-v0")[1].infos
    assert len(infos["propensity"]) == 6
    assert np.isnan(infos["propensity"][0])
    assert infos["behaviour"].tolist() == [-1, 0, 0, 0, 0, 0]


def test_labels_travel_along(minari: Any) -> None:
    log = small_log()
    labelled = Log(**{**vars(log), "label": 1 - log.actions})
    ours.write_minari(labelled, "minari:fqi/labels-v0")
    assert_same(ours.read_minari("minari:fqi/labels-v0"), labelled)
    infos = minari.load_dataset("fqi/labels-v0")[0].infos
    assert infos["label"].tolist() == [labelled.label[0], *labelled.label[: log.lengths[0]]]


def test_nothing_half_written_is_ever_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("fqi.datasets.formats.minari_write._finish", fail)
    with pytest.raises(OSError, match="disk"):
        ours.write_minari(small_log(), "minari:fqi/half-v0")
    assert list(root.iterdir()) == []


def test_a_dataset_is_never_overwritten(root: Path) -> None:
    ours.write_minari(small_log(), "minari:fqi/once-v0")
    with pytest.raises(UserError, match="next version"):
        ours.write_minari(small_log(), "minari:fqi/once-v0")
    assert sorted(p.name for p in root.iterdir()) == ["fqi"]


@pytest.mark.parametrize("name", ["eps0.3-v0", "a/b-v0", "no-version", "aa/b", "", "../x-v0", "aa//b c-v0", "/etc-v0"])
def test_bad_names_are_told_by_minaris_rules(name: str) -> None:
    with pytest.raises(UserError, match="expected minari:"):
        ours.read_minari(f"minari:{name}")


def _foreign(minari: Any, name: str, **changes: Any) -> Any:
    from minari.data_collector import EpisodeBuffer

    generator = np.random.default_rng(0)
    buffers = []
    for seed, length in enumerate((3, 4)):
        columns = {
            "observations": generator.normal(size=(length + 1, 2)).astype(np.float32),
            "actions": generator.integers(0, 2, length),
            "rewards": np.arange(length),
            "terminations": np.zeros(length, np.bool_),
            "truncations": np.zeros(length, np.bool_),
        }
        buffers.append(EpisodeBuffer(**{"seed": 2**64 - 1 - seed, **columns, **changes}))
    box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    return create(
        minari, name, buffers, observation_space=box, action_space=gym.spaces.Discrete(2), jpeg_encoding=False
    )


def test_what_minari_leaves_open_is_mended_and_counted(minari: Any) -> None:
    _foreign(minari, "aa/open-v0")
    log = ours.read_minari("minari:aa/open-v0")
    assert np.flatnonzero(log.truncations).tolist() == [2, 6]
    assert log.rewards.dtype == np.float64
    notes = log.provenance["notes"]
    assert notes["episodes whose last step was neither terminated nor truncated, now truncated"] == 2
    assert notes["episodes whose seed exceeds 63 bits, recorded as unknown"] == 2
    assert log.seeds is None


def test_an_end_inside_an_episode_is_refused_and_found_by_the_doctor(minari: Any) -> None:
    _foreign(minari, "aa/ends-v0")
    path = ours.root() / "aa/ends-v0/data/main_data.hdf5"
    with h5py.File(path, "r+") as file:
        file["episode_1/terminations"][1] = True
        file["episode_0/observations"][2, 0] = np.nan
    with pytest.raises(UserError, match="terminations: row 4: expected no end inside an episode"):
        ours.read_minari("minari:aa/ends-v0")
    found = {(f.name, f.column, f.rows) for f in check("minari:aa/ends-v0") if f.severity == "error"}
    assert found == {("end inside an episode", "terminations", (4,)), ("not finite", "observations", (2,))}


def test_an_episode_of_the_wrong_length_is_named(minari: Any) -> None:
    _foreign(minari, "aa/short-v0")
    with h5py.File(ours.root() / "aa/short-v0/data/main_data.hdf5", "r+") as file:
        file["episode_1/actions"].resize((2,))
    with pytest.raises(UserError, match="episode_1: actions: expected 4 rows"):
        ours.read_minari("minari:aa/short-v0")
    assert [f.column for f in check("minari:aa/short-v0") if f.name == "unreadable"] == ["episode_1"]


def test_links_out_of_the_dataset_are_refused(minari: Any, tmp_path: Path) -> None:
    _foreign(minari, "aa/link-v0")
    with h5py.File(ours.root() / "aa/link-v0/data/main_data.hdf5", "r+") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = h5py.ExternalLink(str(tmp_path / "x.h5"), "/x")
    with pytest.raises(UserError, match="link to another file"):
        ours.read_minari("minari:aa/link-v0")


def test_flipped_and_missing_bytes_end_in_a_sentence(minari: Any) -> None:
    _foreign(minari, "aa/flip-v0")
    path = ours.root() / "aa/flip-v0/data/main_data.hdf5"
    content, generator = path.read_bytes(), np.random.default_rng(0)
    for position in generator.choice(len(content), 150, replace=False):
        broken = bytearray(content)
        broken[position] ^= int(generator.integers(1, 256))
        path.write_bytes(broken if position % 3 else content[:position])
        read_or_sentence(lambda: ours.read_minari("minari:aa/flip-v0"))
        check("minari:aa/flip-v0")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_format", "arrow", "expected HDF5 data, found arrow"),
        ("observation_space", '{"type": "Text"}', "Text"),
        ("observation_space", "{", "damage"),
        ("total_steps", 10**15, None),
        ("total_steps", "many", None),
    ],
)
def test_metadata_is_not_believed(minari: Any, key: str, value: Any, message: str | None) -> None:
    _foreign(minari, "aa/meta-v0")
    path = ours.root() / "aa/meta-v0/data/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    if message is None:
        assert ours.read_minari("minari:aa/meta-v0").steps == 7
    else:
        with pytest.raises(UserError, match=message):
            ours.read_minari("minari:aa/meta-v0")


@settings(max_examples=100, deadline=None)
@given(log=logs())
def test_spaces_are_written_as_minari_writes_them(log: Log) -> None:
    from minari.serialization import deserialize_space

    for space in (log.observation_space, log.action_space):
        value = json.loads(json.dumps(spaces.to_json(space)))
        assert spaces.to_json(spaces.from_json(value)) == value
        assert spaces.from_json(value) == space
        assert deserialize_space(value) == space


def test_a_dataset_that_is_not_here_is_fetched_by_minari(minari: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = small_log()
    ours.write_minari(log, "minari:fqi/far-v0")
    here, away = ours.root() / "fqi/far-v0", ours.root().parent / "hub"
    here.rename(away)
    monkeypatch.setattr(minari, "download_dataset", lambda name: away.rename(ours.root() / name))
    assert_same(ours.read_minari("minari:fqi/far-v0"), log)

    def offline(name: str) -> None:
        raise ConnectionError("Max retries exceeded\nwith url: /api")

    monkeypatch.setattr(minari, "download_dataset", offline)
    with pytest.raises(
        UserError, match=r"could not be fetched \(Max retries exceeded with url: /api\); is there a net"
    ):
        ours.read_minari("minari:fqi/nowhere-v0")

    def bare(name: str) -> None:
        raise ImportError("huggingface_hub is not installed")

    monkeypatch.setattr(minari, "download_dataset", bare)
    with pytest.raises(UserError, match=r"pip install 'minari\[hf\]'"):
        ours.read_minari("minari:fqi/nowhere-v0")


def test_an_episode_that_is_unlike_the_others_is_named() -> None:
    log = played("CartPole-v1", 300, behaviours=("random",), behaviour=None)
    ours.write_minari(log, "minari:fqi/many-v0")
    assert_same(ours.read_minari("minari:fqi/many-v0"), log)
    with h5py.File(ours.root() / "fqi/many-v0/data/main_data.hdf5", "r+") as file:
        last = max(int(name[8:]) for name in file)
        del file[f"episode_{last}"]["rewards"]
    with pytest.raises(UserError, match=f"episode_{last}"):
        ours.read_minari("minari:fqi/many-v0")


def test_an_episode_that_lost_its_rewards_is_not_taken_for_an_empty_one() -> None:
    ours.write_minari(small_log(), "minari:fqi/broken-v0")
    with h5py.File(ours.root() / "fqi/broken-v0/data/main_data.hdf5", "r+") as file:
        del file["episode_2/rewards"]
        file["episode_2/rewards"] = np.zeros(0)
    with pytest.raises(UserError, match="episode_2: rewards: expected 5 rows, found none"):
        ours.read_minari("minari:fqi/broken-v0")
