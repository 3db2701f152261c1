"""Logs made of logs: nothing is lost, nothing mixed up, and never much held in memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fqi.datasets import windows as windowing
from fqi.datasets.convert import convert
from fqi.datasets.deriving import Hearing
from fqi.datasets.flatten import flattening
from fqi.datasets.load import load_columns, load_log, save_log
from fqi.datasets.merge import merge
from fqi.datasets.parts import Wanted, head_of_log, keep, split
from fqi.datasets.source import Outline, Take
from fqi.datasets.windows import windows
from fqi.errors import UserError
from fqi.log import Log, fingerprint
from tests.datasets.helpers import assert_same, small_log
from tests.strategies import logs

HYPOTHESIS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def plain(log: Log, origin: Any = None) -> Log:
    """The log without what tells where it came from."""
    return replace(log, provenance={}, origin=origin)


def refusal(call: Any, *words: Any, **said: Any) -> str:
    with pytest.raises(UserError) as error:
        call(*words, **said)
    return str(error.value)


@HYPOTHESIS
@given(log=logs(), window=st.sampled_from([1, 64, 1 << 20]))
def test_any_log_survives_conversion_whatever_the_window(log: Log, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windowing, "_WINDOW", window)
        save_log(log, "a.h5")
        made = convert("a.h5", "b.h5", force=True)
        found = load_log("b.h5")
        assert (made.steps, made.episodes) == (log.steps, log.episodes)
        assert found.provenance["converted_from"] == ["a.h5"]
        assert_same(replace(found, provenance=log.provenance), log)
        convert("b.h5", "c.csv", force=True)
        assert_same(replace(load_log("c.csv"), provenance=log.provenance), log)


@HYPOTHESIS
@given(log=logs(), window=st.sampled_from([1, 64, 1 << 20]), data=st.data())
def test_parts_are_the_episodes_themselves(log: Log, window: int, data: st.DataObject) -> None:
    episodes = data.draw(st.integers(1, log.episodes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windowing, "_WINDOW", window)
        save_log(log, "a.h5")
        head_of_log("a.h5", "b.h5", episodes, force=True)
        found = load_log("b.h5")
        assert_same(plain(found), plain(log.select(np.arange(episodes))))
        low = float(np.median(log.returns))
        keep("a.h5", "b.h5", Wanted(min_return=low - 1e-9), force=True)
        chosen = np.flatnonzero(log.returns >= low - 1e-9)
        found = load_log("b.h5")
        assert_same(plain(found), plain(log.select(chosen)))
        assert found.origin is not None
        assert found.origin[:, 1].tolist() == chosen.tolist()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 12))
def test_windows_cover_every_step_once(lengths: list[int], most: int) -> None:
    found = list(windows(np.array(lengths), windowing._WINDOW // most))
    assert [i for w in found for i in range(w.steps.start, w.steps.stop)] == list(range(sum(lengths)))
    frames = [i for w in found for i in range(w.frames.start, w.frames.stop)]
    assert frames == list(range(sum(lengths) + len(lengths)))
    assert all(w.steps.stop - w.steps.start <= most for w in found)
    assert {w.last for w in found if w.ends} >= {len(lengths)}


def test_a_split_is_drawn_by_its_seed_and_loses_no_episode() -> None:
    log = small_log(10)
    save_log(log, "a.h5")
    made = split("a.h5", ("b.h5", "c.h5"), 0.7, 3)
    first, second = load_log("b.h5"), load_log("c.h5")
    assert [one.episodes for one in made] == [first.episodes, second.episodes] == [7, 3]
    assert first.origin is not None
    assert second.origin is not None
    mine, theirs = first.origin[:, 1], second.origin[:, 1]
    assert sorted([*mine, *theirs]) == list(range(10))
    assert_same(plain(first), plain(log.select(mine)))
    assert_same(plain(second), plain(log.select(theirs)))
    split("a.h5", ("d.h5", "e.h5"), 0.7, 3)
    assert Path("b.h5").read_bytes() == Path("d.h5").read_bytes()
    split("a.h5", ("d.h5", "e.h5"), 0.7, 4, force=True)
    assert fingerprint(load_log("b.h5")) != fingerprint(load_log("d.h5"))
    for share in (0.0, 1.0, float("nan"), -1.0):
        assert "between 0 and 1" in refusal(split, "a.h5", ("x.h5", "y.h5"), share, 0)
    assert "empty" in refusal(split, "a.h5", ("x.h5", "y.h5"), 0.01, 0)
    assert "two files" in refusal(split, "a.h5", ("x.h5", "./x.h5"), 0.5, 0)
    assert not Path("x.h5").exists()


def test_merged_behaviours_are_kept_apart_and_episodes_remember_their_log() -> None:
    first = small_log(2)
    second = replace(small_log(3), behaviour=None, behaviours=(), seeds=None)
    third = replace(small_log(1), behaviours=("expert", "random"), behaviour=np.array([1, 0, 0, 1, 0], np.int32))
    for name, log in (("a", first), ("b", second), ("c", third)):
        save_log(log, f"{name}.h5")
    merge(["a.h5", "b.h5", "c.h5"], "all.h5")
    found = load_log("all.h5")
    assert found.behaviours == ("random", "b", "expert")
    assert found.behaviour is not None
    assert found.behaviour.tolist() == [0] * 10 + [1] * 15 + [0, 2, 2, 0, 2]
    assert found.seeds is not None
    assert found.seeds.tolist() == [0, 1, -1, -1, -1, 0]
    assert found.origin is not None
    assert found.origin.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0]]
    assert [one["reference"] for one in found.provenance["sources"]] == ["a.h5", "b.h5", "c.h5"]
    np.testing.assert_array_equal(
        found.observations, np.concatenate([first.observations, second.observations, third.observations])
    )
    # what is made of it names the same logs, not it
    keep("all.h5", "some.h5", Wanted(behaviours=("b",)))
    some = load_log("some.h5")
    assert some.origin is not None
    assert some.origin.tolist() == [[1, 0], [1, 1], [1, 2]]
    merge(["some.h5", "a.h5"], "again.h5")
    again = load_log("again.h5")
    assert again.origin is not None
    assert again.origin.tolist() == [[1, 0], [1, 1], [1, 2], [3, 0], [3, 1]]
    assert [one["reference"] for one in again.provenance["sources"]] == ["a.h5", "b.h5", "c.h5", "a.h5"]


def test_only_what_agrees_is_merged() -> None:
    save_log(small_log(), "a.h5")
    save_log(replace(small_log(), action_space=gym.spaces.Discrete(3)), "b.h5")
    assert "b.h5: its actions are of Discrete(3)" in refusal(merge, ["a.h5", "b.h5"], "c.h5")
    wide = gym.spaces.Box(-1e7, 1, (2,), np.float32)
    save_log(replace(small_log(), observation_space=wide), "b.h5")
    merge(["a.h5", "b.h5"], "c.h5")
    space = load_log("c.h5").observation_space
    assert isinstance(space, gym.spaces.Box)
    assert (float(space.low[0]), float(space.high[0])) == (-1e7, 1e6)
    doubles = replace(
        small_log(),
        observation_space=gym.spaces.Box(-1, 1, (2,), np.float64),
        observations=np.zeros((24, 2)),
    )
    save_log(doubles, "b.h5")
    assert "same spaces" in refusal(merge, ["a.h5", "b.h5"], "d.h5")
    for name, names in (("a", ["left", "right"]), ("b", ["right", "left"])):
        save_log(replace(small_log(), provenance={"action_names": names}), f"{name}.h5")
    assert "action_names differ" in refusal(merge, ["a.h5", "b.h5"], "d.h5")
    save_log(replace(small_log(), propensity=None), "b.h5")
    save_log(small_log(), "a.h5")
    assert "propensity (missing in b.h5)" in refusal(merge, ["a.h5", "b.h5"], "d.h5")
    assert not Path("d.h5").exists()
    heard: list[str] = []
    merge(["a.h5", "b.h5"], "d.h5", hearing=Hearing(losing=lambda path, lost: heard.extend(lost)))
    assert heard == ["propensity (missing in b.h5)"]
    assert load_log("d.h5").propensity is None


def test_a_log_without_a_mask_allows_everything() -> None:
    mask = np.zeros((24, 2), np.bool_)
    mask[:, 0] = True
    steps = small_log().frame_of_step
    mask[steps, small_log().actions] = True
    save_log(replace(small_log(), action_mask=mask), "a.h5")
    save_log(small_log(), "b.h5")
    merge(["a.h5", "b.h5"], "c.h5")
    found = load_log("c.h5").action_mask
    assert found is not None
    np.testing.assert_array_equal(found, np.concatenate([mask, np.ones((24, 2), np.bool_)]))


def test_filters() -> None:
    log = small_log(4)  # returns grow; the first two terminate
    save_log(log, "a.h5")

    def kept(**said: Any) -> list[int]:
        keep("a.h5", "b.h5", Wanted(**said), force=True)
        origin = load_log("b.h5").origin
        assert origin is not None
        return [int(i) for i in origin[:, 1]]

    assert kept(min_return=float(log.returns[2])) == [2, 3]
    assert kept(max_return=float(log.returns[1])) == [0, 1]
    assert kept(terminated=True) == [0, 1]
    assert kept(terminated=False, max_length=5) == [2, 3]
    assert kept(behaviours=("random",), min_length=5) == [0, 1, 2, 3]
    assert "none of 4 episodes has lengths of at least 6" in refusal(keep, "a.h5", "x.h5", Wanted(min_length=6))
    assert "known: random" in refusal(keep, "a.h5", "x.h5", Wanted(behaviours=("expert",)))
    assert "nothing was asked for" in refusal(keep, "a.h5", "x.h5", Wanted())


def test_nothing_is_overwritten_unless_asked() -> None:
    save_log(small_log(), "a.h5")
    Path("b.csv").write_text("mine")
    Path("c.schema.toml").write_text("mine")
    assert "--force" in refusal(convert, "a.h5", "b.csv")
    assert "c.schema.toml exists" in refusal(convert, "a.h5", "c.csv")
    assert "is the log that is read" in refusal(convert, "a.h5", "./a.h5", force=True)
    Path("e.h5").mkdir()
    assert "folder" in refusal(convert, "a.h5", "e.h5")
    Path("d.h5.journal").write_text("")
    assert "unfinished" in refusal(convert, "a.h5", "d.h5", force=True)
    assert "such as a file that ends in .h5" in refusal(convert, "a.h5", "b.xyz")
    convert("a.h5", "b.csv", force=True)
    assert load_log("b.csv").episodes == 4


def test_a_format_that_loses_something_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    from fqi.datasets import deriving as converting
    from fqi.datasets.format import Format

    written: list[str] = []

    @contextlib.contextmanager
    def sink(outline: Outline, name: str) -> Iterator[Take]:
        yield lambda arrays: written.append(name)

    poor = Format(
        "poor", "x.poor", lambda name: False, load_log, load_columns, sink,
        lambda name: True, lambda outline, name: ["seeds"],
    )  # fmt: skip
    monkeypatch.setattr(converting, "writable", lambda name: poor)
    save_log(small_log(), "a.h5")
    assert "cannot hold seeds; say --lossy" in refusal(convert, "a.h5", "x.poor")
    assert not written
    heard: list[str] = []
    convert("a.h5", "x.poor", hearing=Hearing(losing=lambda path, lost: heard.extend([path, *lost])))
    assert heard == ["x.poor", "seeds"]
    assert written == ["x.poor"]


def broken(change: Any) -> str:
    save_log(small_log(), "a.h5")
    with h5py.File("a.h5", "r+") as file:
        change(file)
    said = refusal(convert, "a.h5", "b.h5")
    assert not Path("b.h5").exists()
    assert not list(Path().glob(".b.h5*"))
    return said


def test_a_broken_log_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(name: str, row: int, value: Any) -> Any:
        def change(file: h5py.File) -> None:
            file[name][row] = value

        return change

    def drop(file: h5py.File) -> None:
        del file["rewards"]

    for window in (1, 1 << 20):
        monkeypatch.setattr(windowing, "_WINDOW", window)
        assert "finite" in broken(put("observations", 3, np.nan))
        assert "end inside" in broken(put("truncations", 2, True))
        assert "end inside" in broken(put("terminations", 2, True))
        assert "terminated or truncated" in broken(put("terminations", 4, False))
        assert "from 0 to 1" in broken(put("actions", 7, 9))
        assert "rows for" in broken(put("lengths", 0, 6))
        assert "rewards" in broken(drop)


def test_choices_become_an_index() -> None:
    space = gym.spaces.MultiDiscrete([2, 3], start=np.array([1, 0]))
    flat = flattening(space, "log")
    actions = np.array([[1, 0], [1, 2], [2, 0], [2, 2]])
    assert flat.index({"": actions}).tolist() == [0, 2, 3, 5]
    meaning = flat.to_json()["meaning"]
    assert [meaning[i] for i in (0, 2, 3, 5)] == actions.tolist()
    nest = gym.spaces.Dict([("turn", gym.spaces.Discrete(3, start=-1)), ("fire", gym.spaces.MultiBinary(2))])
    named = flattening(nest, "log")
    assert named.count == 12
    assert named.index({"turn": np.array([-1, 1]), "fire": np.array([[0, 1], [1, 1]])}).tolist() == [1, 11]
    assert named.to_json()["choices"] == ["turn", "fire[0]", "fire[1]"]
    assert named.to_json()["meaning"][11] == [1, 1, 1]
    assert "only choices" in refusal(flattening, gym.spaces.Box(0, 1, (2,)), "log")
    assert "one choice already" in refusal(flattening, gym.spaces.Discrete(2), "log")
    assert "at most" in refusal(flattening, gym.spaces.MultiDiscrete([256, 256, 2]), "log")


def test_conversion_flattens_actions_and_says_so() -> None:
    log = replace(
        small_log(), action_space=gym.spaces.MultiDiscrete([2, 3]), actions=np.stack([np.arange(20) % 2] * 2, axis=1)
    )
    log = replace(log, label=log.actions[::-1].copy())
    save_log(log, "a.h5")
    save_log(log, "minari:fqi/many-v0")
    convert("minari:fqi/many-v0", "m.h5", flatten_actions=True)
    convert("a.h5", "b.h5", flatten_actions=True)
    for name in ("b.h5", "m.h5"):
        found = load_log(name)
        assert found.action_space == gym.spaces.Discrete(6)
        assert found.actions.tolist() == [0, 4] * 10
        assert found.label is not None
        assert found.label.tolist() == [4, 0] * 10
    assert found.provenance["action_table"]["meaning"][4] == [1, 1]
    assert "one choice already" in refusal(convert, "b.h5", "c.h5", flatten_actions=True)


def test_minari_actions_of_named_choices_become_an_index() -> None:
    import warnings

    import minari
    from minari.data_collector import EpisodeBuffer

    space = gym.spaces.Dict([("fire", gym.spaces.Discrete(2)), ("turn", gym.spaces.Discrete(3))])
    taken = {"fire": np.array([0, 1]), "turn": np.array([2, 1])}
    episode = EpisodeBuffer(
        id=None, seed=None, options=None, observations=np.zeros((3, 2), np.float32), actions=taken,
        rewards=np.ones(2), terminations=np.array([False, True]), truncations=np.zeros(2, np.bool_), infos=None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "fqi/choices-v0", buffer=[episode], observation_space=gym.spaces.Box(-1, 1, (2,)), action_space=space
        )
    assert "--flatten-actions" in refusal(convert, "minari:fqi/choices-v0", "a.h5")
    convert("minari:fqi/choices-v0", "a.h5", flatten_actions=True)
    log = load_log("a.h5")
    assert log.actions.tolist() == [2, 4]
    assert log.provenance["action_table"]["choices"] == ["fire", "turn"]


def test_pixels_stay_bytes_and_memory_stays_bounded() -> None:
    """A log of 85 MB is converted, split and filtered by a process that takes less than 50 MB more than for a tenth."""
    episodes, length = 12, 1000
    frames = np.zeros((episodes * (length + 1), 84, 84), np.uint8)
    frames[:, 0, 0] = np.arange(len(frames)) % 251
    last = np.zeros(episodes * length, np.bool_)
    last[length - 1 :: length] = True
    log = Log(
        observations=frames,
        actions=np.zeros(len(last), np.int64),
        rewards=np.ones(len(last)),
        terminations=last,
        truncations=np.zeros_like(last),
        lengths=np.full(episodes, length, np.int64),
        observation_space=gym.spaces.Box(0, 255, (84, 84), np.uint8),
        action_space=gym.spaces.Discrete(2),
    )
    save_log(log, "a.h5")
    code = (
        "import resource\n"
        "from fqi.datasets.convert import convert\n"
        "from fqi.datasets.parts import *\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "head_of_log('a.h5', 'tiny.h5', 1)\n"
        "before = peak()\n"
        "convert('a.h5', 'b.h5')\n"
        "keep('a.h5', 'c.h5', Wanted(min_length=2))\n"
        "split('a.h5', ('d.h5', 'e.h5'), 0.5, 0)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000  # KiB
    found = load_log("b.h5")
    assert isinstance(found.observations, np.ndarray)
    assert found.observations.dtype == np.uint8
    np.testing.assert_array_equal(found.observations[:, 0, 0], frames[:, 0, 0])
