"""Datasets taken from a file's bytes are what HDF5 reads; what is not recognised, or is damaged, is left to HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fqi.datasets.alike import Attributes, Datasets
from fqi.datasets.formats import minari, minari_survey
from fqi.datasets.hdf5 import opened
from fqi.datasets.headers import Image
from fqi.log import Log
from tests.datasets.formats.mutate import broken
from tests.datasets.helpers import played, read_or_sentence

ROWS = (3, 40, 7, 1, 900, 3)


def written(path: Path, make: Any, **how: Any) -> list[bytes]:
    with h5py.File(path, "w", track_order=True, **how) as file:
        for i, rows in enumerate(ROWS):
            make(file.create_group(f"e{i}"), np.random.default_rng(i), rows)
    return [b"e%d/x" % i for i in range(len(ROWS))]


def growing(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=generator.random((rows, 5), np.float32), chunks=True, maxshape=(None, 5))


def fixed(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group["x"] = generator.integers(0, 9, (rows, 2, 3))


def flags(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=generator.random(rows) < 0.5, chunks=True, maxshape=(None,))


def resized(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    dataset = group.create_dataset("x", shape=(rows + 3, 2), dtype="f8", chunks=(16, 2), maxshape=(None, 2))
    dataset[...] = generator.random((rows + 3, 2))
    dataset.resize((rows, 2))


def split_rows(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=generator.random((rows, 7)), chunks=(min(rows, 100), 4), maxshape=(None, 7))


def two_kinds(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    (growing if rows % 2 else fixed)(group, generator, rows)


def packed(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=generator.random(rows), chunks=(rows,), compression="gzip")


def swapped(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=generator.random(rows), dtype=">f8")


def text(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    group.create_dataset("x", data=["a"] * rows, dtype=h5py.string_dtype())


def external(group: h5py.Group, generator: np.random.Generator, rows: int) -> None:
    beside = Path(group.file.filename).with_suffix(".bin")
    np.ones(1000).tofile(beside)
    group.create_dataset("x", (rows,), "f8", external=[(str(beside), 0, 8 * rows)])


@pytest.mark.parametrize("make", [growing, fixed, flags, resized, split_rows, two_kinds])
def test_what_is_recognised_is_what_hdf5_reads(make: Any, tmp_path: Path) -> None:
    names = written(tmp_path / "f.h5", make)
    with opened(tmp_path / "f.h5") as file:
        found = Datasets(Image(file), names)
        for place, name in enumerate(names):
            expected = file.file[name][()]
            like = found.like(place)
            assert like == (expected.shape, expected.dtype)
            array = np.empty(*like)
            assert found.read(place, array)
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("make", [packed, swapped, text, external])
def test_what_needs_hdf5_is_left_to_it(make: Any, tmp_path: Path) -> None:
    names = written(tmp_path / "f.h5", make)
    with opened(tmp_path / "f.h5") as file:
        assert [Datasets(Image(file), names).like(place) for place in range(len(names))] == [None] * len(names)


def test_newer_headers_and_blocks_before_the_file_are_left_to_hdf5(tmp_path: Path) -> None:
    for how in ({"libver": "latest"}, {"userblock_size": 512}):
        names = written(tmp_path / "f.h5", growing, **how)
        with opened(tmp_path / "f.h5") as file:
            assert Datasets(Image(file), names).like(0) is None


def test_names_of_the_same_group_and_of_nothing_are_left_to_hdf5(tmp_path: Path) -> None:
    names = written(tmp_path / "f.h5", growing)
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["f0"] = file["e0"]
    with opened(tmp_path / "f.h5") as file:
        found = Datasets(Image(file), [*names, b"f0/x", b"e9/x"])
        assert [found.like(place) is None for place in range(8)] == [False] * 6 + [True] * 2


def test_attributes_are_read_whatever_their_sign_and_where_there_are_none(tmp_path: Path) -> None:
    seeds = [5, -7, np.uint64(2**64 - 1), None, np.uint64(9), 11]
    with h5py.File(tmp_path / "f.h5", "w", track_order=True) as file:
        for i, seed in enumerate(seeds):
            group = file.create_group(f"e{i}")
            group.attrs["id"] = i
            if seed is not None:
                group.attrs["seed"] = seed
            group.attrs["pair"] = np.array([i, -i])
            group["x"] = np.zeros(1)
    with opened(tmp_path / "f.h5") as file:
        found = Attributes(Image(file), [b"e%d" % i for i in range(6)], {"seed": (), "pair": (2,)})
    assert found.known.all()
    assert found.present["seed"].tolist() == [True, True, True, False, True, True]
    most = np.iinfo(np.int64).max  # to which HDF5, too, cuts what needs a 64th bit
    assert found.values["seed"].tolist() == [5, -7, most, 0, 9, 11]
    assert found.values["pair"].tolist() == [[i, -i] for i in range(6)]


# ---- damage: whatever HDF5 itself would read, the bytes give, too


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    folder = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        log = played("CartPole-v1", 60, behaviours=("random",), behaviour=None)
        minari.write_minari(log, "minari:fqi/sound-v0")
    return folder / "fqi/sound-v0/data", log


class Nothing(Datasets):
    def __init__(self, image: Image, names: list[bytes]) -> None:
        super().__init__(image, [b"nothing"] * len(names))


@pytest.mark.slow
def test_damaged_headers_are_never_read_otherwise_than_by_hdf5(
    sound: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, whole = sound
    (tmp_path / "metadata.json").write_bytes((data / "metadata.json").read_bytes())
    content = (data / "main_data.hdf5").read_bytes()
    with h5py.File(data / "main_data.hdf5") as file:  # headers, trees and the data itself
        begins = [
            h5py.h5o.get_info(file[f"episode_1/{name}"].id).addr for name in ("observations", "rewards", "truncations")
        ]
        trees = [at for at in range(len(content)) if content.startswith(b"TREE\x01", at)][3:8]
    generator = np.random.default_rng(0)
    places = [at + i for at in begins for i in range(160)] + [at + i for at in trees for i in range(100)]
    loaded = 0
    for turn in range(200):
        changed = bytearray(content)
        changed[generator.choice(places)] = generator.integers(256) if turn % 4 else 0xFF
        (tmp_path / "main_data.hdf5").write_bytes(changed if turn % 10 else broken(content, generator))
        by_bytes = read_or_sentence(lambda: minari.read_minari(tmp_path))
        with monkeypatch.context() as patch:
            patch.setattr(minari_survey, "Datasets", Nothing)
            by_hdf5 = read_or_sentence(lambda: minari.read_minari(tmp_path))
        if by_bytes is None:
            assert by_hdf5 is None
            continue
        loaded += 1
        expected = whole if by_hdf5 is None else by_hdf5  # bytes that only HDF5 looks at, such as another chunk's place
        for name in ("observations", "actions", "rewards", "terminations", "truncations", "seeds"):
            np.testing.assert_array_equal(getattr(by_bytes, name), getattr(expected, name))
    assert loaded > 50
