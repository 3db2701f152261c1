"""Logs are converted in windows: whatever their size and format, no more than a few of them are held."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.datasets import windows, writer
from fqi.datasets.convert import convert
from fqi.datasets.deriving import Hearing
from fqi.datasets.formats import parquet, separated, steps, table, table_write
from fqi.datasets.load import load_log, save_log
from fqi.datasets.merge import merge
from fqi.datasets.parts import Wanted, head_of_log, keep, split
from fqi.errors import UserError
from fqi.log import Log, fingerprint

WINDOW = 1 << 14
EPISODES, LENGTH, WIDTH = 40, 100, 32  # half a megabyte of observations: more than thirty windows
LOSSY = Hearing(losing=lambda path, lost: None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is held at a time, made small."""
    monkeypatch.setattr(windows, "_WINDOW", WINDOW)
    monkeypatch.setattr(writer, "_CHUNK_BYTES", WINDOW)
    monkeypatch.setattr(separated, "_BLOCK", 32)
    monkeypatch.setattr(parquet, "_BLOCK", 32)


def large(episodes: int = EPISODES, length: int = LENGTH, width: int = WIDTH) -> Log:
    steps = episodes * length
    generator = np.random.default_rng(0)
    last = np.arange(steps) % length == length - 1
    return Log(
        observations=generator.integers(-99, 99, (steps + episodes, width)).astype(np.float32),
        actions=generator.integers(0, 3, steps),
        rewards=generator.integers(-9, 9, steps).astype(np.float64),
        terminations=last & (np.arange(steps) // length % 2 == 0),
        truncations=last & (np.arange(steps) // length % 2 == 1),
        lengths=np.full(episodes, length, np.int64),
        observation_space=gym.spaces.Box(-99, 99, (width,), np.float32),
        action_space=gym.spaces.Discrete(3),
    )


def peak(work: Callable[[], object]) -> int:
    """Bytes that were held at once, beyond what was held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NAMES = {
    "own": "{}.h5",
    "minari": "minari:fqi/{}-v0",
    "d4rl": "d4rl:{}.hdf5",
    "d3rlpy": "d3rlpy:{}.hdf5",
    "csv": "{}.csv",
    "parquet": "{}.parquet",
}
FOREIGN = (
    'observations = "observations"\nactions = "actions"\nrewards = "rewards"\nterminations = "terminals"\n'
    'truncations = "timeouts"\nnext_observations = "next_observations"\n'
)


def imitation(log: Log, name: str, layout: str) -> None:
    """An archive of another library, with a trajectory without a step where the layout has such."""
    actions, rewards, observations = np.asarray(log.actions), np.asarray(log.rewards), np.asarray(log.observations)
    if layout == "trajectories":
        frame = LENGTH + 1  # of the second trajectory, before which one of a single frame is put
        observations = np.insert(observations, frame, 77, axis=0)
        ends = np.cumsum(log.lengths)[:-1]
        terminal = np.insert(log.terminations[np.cumsum(log.lengths) - 1], 1, False)
        said = {"terminal": terminal, "indices": np.insert(ends, 0, ends[0])}
    else:
        of = np.arange(log.steps) + np.arange(log.steps) // LENGTH
        said = {"dones": log.terminations, "next_obs": observations[of + 1]}
        observations = observations[of]
    save = np.savez if layout == "transitions" else np.savez_compressed
    save(name, obs=observations, acts=actions, rews=rewards, **said)


TABLES = ("csv", "parquet")  # whose text and libraries take more than such a small log: their rows are counted


@pytest.mark.parametrize("form", [name for name in NAMES if name != "own" and name not in TABLES])
def test_a_log_is_written_by_windows(form: str, small: None) -> None:
    save_log(large(2), "tiny.h5")
    convert("tiny.h5", NAMES[form].format("tiny"), hearing=LOSSY)  # libraries take their time and memory first
    log = large()
    save_log(log, "large.h5")
    size, target = np.asarray(log.observations).nbytes, NAMES[form].format("large")
    assert peak(lambda: convert("large.h5", target, hearing=LOSSY)) < size / 2
    found = load_log(target)
    assert (found.steps, found.episodes) == (log.steps, log.episodes)
    np.testing.assert_array_equal(found.actions, log.actions)


@pytest.mark.parametrize("form", [*(name for name in NAMES if name not in TABLES), "foreign"])
def test_a_log_is_read_by_windows(form: str, small: None) -> None:
    name = NAMES.get(form, NAMES["d4rl"])
    for what, log in (("tiny", large(2)), ("large", large())):
        save_log(log, name.format(what))
    Path("m.toml").write_text(FOREIGN)
    name = "{}.hdf5@m.toml" if form == "foreign" else name
    convert(name.format("tiny"), "tiny-out.h5")
    size = np.asarray(log.observations).nbytes
    assert peak(lambda: convert(name.format("large"), "out.h5")) < 0.6 * size
    assert fingerprint(load_log("out.h5")) == fingerprint(load_log(name.format("large")))


@pytest.mark.parametrize("layout", ["trajectories", "transitions"])
def test_an_archive_is_read_by_windows(layout: str, small: None) -> None:
    log = large(3 * EPISODES)  # zip's own buffers do not grow with it
    imitation(large(2), "tiny.npz", layout)
    imitation(log, "large.npz", layout)
    convert("tiny.npz", "tiny.h5")
    size = np.asarray(log.observations).nbytes
    assert peak(lambda: convert("large.npz", "out.h5")) < size / 3
    found = load_log("out.h5")
    assert fingerprint(found) == fingerprint(load_log("large.npz"))
    np.testing.assert_array_equal(found.lengths, log.lengths)
    for name in ("observations", "actions", "rewards", "terminations", "truncations"):
        np.testing.assert_array_equal(getattr(found, name), getattr(log, name))


@pytest.mark.parametrize("form", TABLES)
def test_a_table_is_written_and_read_a_few_episodes_at_a_time(
    form: str, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    rows_of, columns_of = table_write._Plan.rows, steps.columns_of_table

    def written(plan: Any, arrays: dict[str, Any]) -> Any:
        held.append(len(arrays["rewards"]))
        return rows_of(plan, arrays)

    def read(table: Any, *others: Any) -> Any:
        held.append(table.rows)
        return columns_of(table, *others)

    monkeypatch.setattr(table_write._Plan, "rows", written)
    monkeypatch.setattr(steps, "columns_of_table", read)
    log, name = large(width=4), NAMES[form].format("large")
    save_log(log, "large.h5")
    convert("large.h5", name)
    assert sum(held) == log.steps
    assert max(held) <= 4 * LENGTH
    held.clear()
    convert(name, "back.h5")
    assert sum(held) == log.steps
    assert max(held) <= 4 * LENGTH
    assert fingerprint(load_log("back.h5")) == fingerprint(log)
    held.clear()
    assert fingerprint(load_log(name)) == fingerprint(log)
    assert held == [log.steps]


@pytest.mark.parametrize("form", TABLES)
def test_parts_of_a_table_are_read_as_often_as_it_takes(form: str, small: None) -> None:
    log, name = large(9, width=4), NAMES[form].format("large")
    save_log(log, name)
    split(name, ("a.h5", "b.h5"), 0.5, 0)
    keep(name, "c.h5", Wanted(terminated=True))
    merge(["c.h5", name], "d.h5")
    assert [load_log(f"{part}.h5").episodes for part in "abcd"] == [4, 5, 5, 14]
    assert fingerprint(replace(load_log("c.h5"), origin=None)) == fingerprint(log.select(np.arange(0, 9, 2)))


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("form", TABLES)
def test_a_table_in_another_order_is_put_in_order_on_disk(
    form: str, stated: bool, small: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, name = large(6, width=4), NAMES[form].format("large")
    save_log(log, name)
    shuffle(name, stated)
    held: list[int] = []
    columns_of = steps.columns_of_table

    def read(table: Any, *others: Any) -> Any:
        held.append(table.rows)
        return columns_of(table, *others)

    monkeypatch.setattr(steps, "columns_of_table", read)
    monkeypatch.setattr(table, "memory_bytes", lambda: 1 << 14)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "rows"))
    with pytest.raises(UserError, match=r"rows: rows cannot be put in order there.*TMPDIR"):
        convert(name, "out.h5")
    (folder / "rows").mkdir()
    convert(name, "out.h5")
    assert sum(held) == log.steps
    assert max(held) <= 4 * LENGTH
    assert not list((folder / "rows").iterdir())
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    found = load_log(name)
    assert fingerprint(found) == fingerprint(load_log("out.h5"))
    assert sorted(found.rewards.tolist()) == sorted(log.rewards.tolist())
    assert not np.array_equal(found.rewards, log.rewards)  # the first episode is the one that is seen first


def shuffle(name: str, stated: bool) -> None:
    """The rows of a table in another order, perhaps without what it says of itself."""
    generator = np.random.default_rng(1)
    if name.endswith(".csv"):
        header, *lines = Path(name).read_text().splitlines()
        if not stated:
            Path(name).with_suffix(".schema.toml").unlink()
        lines = [lines[row] for row in generator.permutation(len(lines))]
        Path(name).write_text("\n".join([header, *lines]) + "\n")
        return
    import pyarrow.parquet

    whole = pyarrow.parquet.read_table(name)
    whole = whole if stated else whole.replace_schema_metadata({})
    pyarrow.parquet.write_table(whole.take(generator.permutation(whole.num_rows)), name)


@pytest.mark.parametrize("form", NAMES)
def test_an_episode_longer_than_a_window_is_written_in_parts(form: str, small: None) -> None:
    log = large(2, 900, 4)
    save_log(log, "long.h5")
    target = NAMES[form].format("out")
    convert("long.h5", target, hearing=LOSSY)
    found = load_log(target)
    assert found.lengths.tolist() == [900, 900]
    for name in ("actions", "rewards"):
        np.testing.assert_array_equal(getattr(found, name), getattr(log, name))
    convert(target, "back.h5")
    assert fingerprint(load_log("back.h5")) == fingerprint(found)


def test_parts_of_other_formats_are_taken_by_windows(small: None) -> None:
    name, size = NAMES["d4rl"].format("large"), np.asarray(large().observations).nbytes
    save_log(large(), name)
    head_of_log(name, "tiny.h5", 2)

    def work() -> None:
        keep(name, "c.h5", Wanted(terminated=True))
        merge(["c.h5", name], "d.h5")

    assert peak(work) < size / 2
    assert load_log("c.h5").episodes == EPISODES // 2
    assert load_log("d.h5").episodes == EPISODES + EPISODES // 2
