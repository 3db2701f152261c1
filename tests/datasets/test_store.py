"""The own format: any log comes back bit for bit, appears whole, and its damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fqi.datasets import store
from fqi.datasets.columns import columns_of
from fqi.datasets.writer import chunk_rows
from fqi.errors import UserError
from fqi.log import Log
from tests.datasets.helpers import assert_same, small_log
from tests.strategies import logs

SHARED_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # every example writes its own file anew


@settings(max_examples=60, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(log=logs())
def test_any_log_comes_back_bit_for_bit(log: Log, tmp_path: Path) -> None:
    store.write_log(log, tmp_path / "log.h5")
    assert_same(store.read_log(tmp_path / "log.h5", verify=True), log)


def test_columns_lie_flat_and_chunked_with_their_checksums(tmp_path: Path) -> None:
    store.write_log(small_log(), tmp_path / "log.h5")
    with h5py.File(tmp_path / "log.h5") as file:
        assert set(columns_of(small_log())) | {"header"} == set(file)
        assert all("crc32" in dataset.attrs for dataset in file.values())
        assert file["observations"].chunks == (24, 2)
        assert file["terminations"].dtype == np.bool_  # for others who open it
        assert json.loads(file["header"][()].tobytes())["behaviours"] == ["random"]


def test_chunks_hold_about_a_megabyte() -> None:
    assert chunk_rows((10**7, 4), 4) == 65_536
    assert chunk_rows((10**5, 84, 84), 1) == 148
    assert chunk_rows((10, 4096, 4096), 4) == 1


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log.h5"
    store.write_log(small_log(), path)
    before = path.read_bytes()
    log = small_log(2)
    object.__setattr__(log, "provenance", {"not JSON": {1, 2}})
    with pytest.raises(UserError, match="JSON"):
        store.write_log(log, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["log.h5"]


def test_a_changed_value_is_caught_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "log.h5"
    store.write_log(small_log(), path)
    with h5py.File(path, "r+") as file:
        file["rewards"][7] += 1
    store.read_log(path)
    with pytest.raises(UserError, match="rewards: expected checksum"):
        store.read_log(path, verify=True)
    found = store.read_columns(path).checksums
    assert [name for name, (recorded, seen) in found.items() if recorded != seen] == ["rewards"]


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name, message in [
        ("none.h5", "no such file"),
        ("text.h5", "another kind"),
        ("other.h5", "fqi-log"),
        ("", "folder"),
    ]:
        with pytest.raises(UserError, match=message):
            store.read_log(tmp_path / name)


def test_a_broken_log_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "log.h5"
    store.write_log(small_log(), path)
    with h5py.File(path, "r+") as file:
        file["rewards"][3] = np.nan
    with pytest.raises(UserError, match=r"log\.h5: rewards: row 3: expected finite numbers, found nan"):
        store.read_log(path)
