"""Frames that stay on disk are the same frames: rows, checks of birth and fingerprint are as in memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fqi.datasets import store
from fqi.datasets.stored import StoredFrames
from fqi.errors import UserError
from fqi.frames import Frames, frames_on_disk, on_disk, pieces
from fqi.log import Log, fingerprint
from fqi.nest import leaves, take
from tests.datasets.helpers import small_log
from tests.strategies import logs


def _stored(path: Path, rows: int, compress: bool = False) -> tuple[np.ndarray, Frames]:
    """Random frames of 7 x 5 bytes in chunks of four rows, and the same left on disk."""
    array = np.random.default_rng(0).integers(0, 256, (rows, 7, 5), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", data=array, chunks=(4, 7, 5), compression="gzip" if compress else None)
    with store.opened(path) as file:
        return array, StoredFrames(file, "observations", 0)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(log=logs())
def test_a_log_on_disk_says_what_the_log_in_memory_says(log: Log, tmp_path: Path) -> None:
    store.write_log(log, tmp_path / "log.h5")
    lazy = store.read_log(tmp_path / "log.h5", verify=True, memory=0)
    assert on_disk(lazy.observations)
    assert not on_disk(log.observations)
    assert fingerprint(lazy) == fingerprint(log)
    for index in (slice(1, None), np.array([0, 1, 0]), np.arange(log.steps + log.episodes)[::-1]):
        for path, leaf in leaves(take(lazy.observations, index)).items():
            np.testing.assert_array_equal(leaf, leaves(take(log.observations, index))[path])
    assert fingerprint(lazy.select(np.array([0]))) == fingerprint(log.select(np.array([0])))


@pytest.mark.parametrize("compress", [False, True])
@given(index=st.lists(st.integers(-30, 29), max_size=12))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_rows_in_any_order(tmp_path: Path, compress: bool, index: list[int]) -> None:
    array, frames = _stored(tmp_path / "a.h5", 30, compress)
    wanted = np.array(index, np.int64)
    np.testing.assert_array_equal(frames[wanted], array[wanted])
    np.testing.assert_array_equal(frames[3:17], array[3:17])
    np.testing.assert_array_equal(frames[2:20:3], array[2:20:3])
    np.testing.assert_array_equal(frames[7], array[7])
    square = np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(frames[square], array[square])
    mask = np.arange(30) % 3 == 0
    np.testing.assert_array_equal(frames[mask], array[mask])


def test_pieces_are_all_rows_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, frames = _stored(tmp_path / "a.h5", 30)
    monkeypatch.setattr("fqi.frames.PIECE", 35 * 9)  # nine rows: two whole blocks of four
    found = list(pieces(frames))  # type: ignore[arg-type]
    assert [first for first, _ in found] == [0, 8, 16, 24]
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in found]), array)


def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    _, frames = _stored(tmp_path / "a.h5", 30)
    with pytest.raises(IndexError):
        frames[np.array([30])]


def test_frames_do_not_slip_into_memory_as_a_whole(tmp_path: Path) -> None:
    _, frames = _stored(tmp_path / "a.h5", 30)
    with pytest.raises(UserError, match=r"all 30 frames in memory at once .* larger --memory"):
        np.asarray(frames)


def test_another_process_opens_the_file_for_itself(tmp_path: Path) -> None:
    array, frames = _stored(tmp_path / "a.h5", 30)
    again = pickle.loads(pickle.dumps(frames))  # as multiprocessing hands it over
    np.testing.assert_array_equal(again[5:9], array[5:9])
    handed = pickle.dumps(frames)
    _stored(tmp_path / "b.h5", 20)
    (tmp_path / "b.h5").replace(tmp_path / "a.h5")
    with pytest.raises(UserError, match="has changed since"):
        pickle.loads(handed)


def test_faults_are_found_on_disk_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqi.frames.PIECE", 8)  # a frame at a time
    path = tmp_path / "log.h5"
    store.write_log(small_log(), path)
    with h5py.File(path, "r+") as file:
        file["observations"][[3, 20]] = np.nan
    said = []
    for memory in (None, 0):
        with pytest.raises(UserError) as error:
            store.read_log(path, memory=memory)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "2 rows (first: 3)" in said[0]


def test_only_what_exceeds_the_memory_stays_on_disk(tmp_path: Path) -> None:
    store.write_log(small_log(), tmp_path / "log.h5")  # 24 frames of 8 bytes
    for memory, stays in ((192, False), (191, True)):
        log = store.read_log(tmp_path / "log.h5", memory=memory)
        assert (frames_on_disk(log.observations) is not None) == stays
