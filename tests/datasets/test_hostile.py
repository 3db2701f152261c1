"""Files that mean harm or were damaged: one sentence, nothing followed, no memory taken."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fqi.datasets import store
from fqi.datasets.check import check
from fqi.errors import UserError
from tests.datasets.helpers import read_or_sentence, small_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store.write_log(small_log(), tmp_path / "log.h5")
    return tmp_path / "log.h5"


def _external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["rewards"] = np.ones(20)
    del file["rewards"]
    file["rewards"] = h5py.ExternalLink(str(folder / "secret.h5"), "/rewards")


def _unused_external_link(file: h5py.File, folder: Path) -> None:
    file["more/inside"] = h5py.ExternalLink(str(folder / "secret.h5"), "/rewards")


def _soft_link(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file["rewards"] = h5py.SoftLink("/propensity")


def _external_storage(file: h5py.File, folder: Path) -> None:
    np.ones(20).tofile(folder / "secret.bin")
    del file["rewards"]
    file.create_dataset("rewards", (20,), "f8", external=[(str(folder / "secret.bin"), 0, 160)])


def _virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["rewards"] = np.ones(20)
    layout = h5py.VirtualLayout((20,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "rewards", (20,))
    del file["rewards"]
    file.create_virtual_dataset("rewards", layout)


def _huge(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (10**12,), "f8", chunks=(1000,))


def _huge_contiguous(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (10**12,), "f8")


def _huge_compressed(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (10**12,), "f8", chunks=(1000,), compression="gzip")
    file["rewards"][:1000] = 0


def _huge_chunk(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (20,), "f8", chunks=(10**8,), maxshape=(None,), compression="gzip")


def _many_holes(file: h5py.File, folder: Path) -> None:
    for i in range(400):
        file.create_dataset(f"more{i}", (10_000,), "f8", chunks=(1000,))


def _objects(file: h5py.File, folder: Path) -> None:
    del file["rewards"]
    file.create_dataset("rewards", data=["a"] * 20, dtype=h5py.string_dtype())


def _format_of_varying_length(file: h5py.File, folder: Path) -> None:
    file.attrs["format"] = "fqi-log"  # in a heap over which HDF5 can loop for ever


def _header_objects(file: h5py.File, folder: Path) -> None:
    del file["header"]
    file.create_dataset("header", data="{}", dtype=h5py.string_dtype())


def _huge_space(file: h5py.File, folder: Path) -> None:
    del file["header"]
    box = b'{"type":"Box","dtype":"float64","shape":[1000000,1000000],"low":0,"high":1}'
    text = b'{"observation_space":%b,"action_space":%b}' % (box, box)
    file.create_dataset("header", data=np.frombuffer(text, np.uint8))


def _deep_header(file: h5py.File, folder: Path) -> None:
    del file["header"]
    file.create_dataset("header", data=np.frombuffer(b"[" * 200_000, np.uint8))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_external_link, "link to another file is refused"),
        (_unused_external_link, "link to another file is refused"),
        (_soft_link, "soft link is refused"),
        (_external_storage, "external storage is refused"),
        (_virtual, "virtual datasets are refused"),
        (_huge, "more than the file's"),
        (_huge_contiguous, "more than the file's"),
        (_huge_compressed, "beyond compression"),
        (_huge_chunk, "beyond compression"),
        (_many_holes, "more than the file's"),
        (_objects, "expected numbers"),
        (_format_of_varying_length, "of fixed length"),
        (_header_objects, "expected numbers"),
        (_huge_space, "the shape of one observation"),
        (_deep_header, "header"),
    ],
)
def test_harm_is_refused_in_one_sentence(path: Path, harm: Callable[[h5py.File, Path], None], message: str) -> None:
    with h5py.File(path, "r+") as file:
        harm(file, path.parent)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=message) as caught:
        store.read_log(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
    assert any(finding.severity == "error" for finding in check(path))  # the doctor says it too, and does not fall


def test_a_truncated_file_is_told_at_any_length(path: Path) -> None:
    content = path.read_bytes()
    for length in [*range(0, min(len(content), 3000), 61), *range(3000, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"log\.h5"):
            store.read_log(path)
        assert check(path)


@pytest.mark.slow
def test_flipped_bytes_never_raise_anything_but_a_sentence(path: Path) -> None:
    """Wherever a byte flips, the log is refused, or verified to be unchanged, or the flip lay in unused space."""
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    expected = store.read_log(path)
    for position in generator.choice(len(content), 400, replace=False):
        broken = bytearray(content)
        broken[position] ^= int(generator.integers(1, 256))
        path.write_bytes(broken)
        found = read_or_sentence(lambda: store.read_log(path, verify=True))
        if found is not None:
            np.testing.assert_array_equal(found.rewards, expected.rewards)
            np.testing.assert_array_equal(found.observations, expected.observations)
        check(path)


def test_a_flag_that_is_neither_0_nor_1_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        raw = np.full(20, 7, np.int8)
        dataset = file["terminations"].id
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=dataset.get_type())
    with pytest.raises(UserError, match="row 0: expected 0 or 1, found 7"):
        store.read_log(path)
