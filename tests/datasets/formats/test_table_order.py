"""Tables whose rows are in no order: read by rows from a file on disk, they are what they are when all are held."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fqi.datasets import windows
from fqi.datasets.columns import columns_of, head_of
from fqi.datasets.formats import parquet, separated, shelves, table
from fqi.datasets.load import load_log, save_log
from fqi.datasets.source import gathered, logged
from fqi.datasets.stream import source
from fqi.errors import UserError
from fqi.log import Log, fingerprint
from tests.strategies import logs

HEAD = "episode,step,obs,action,reward,terminated"
SAID = """observation_space = '{"type": "Box", "dtype": "float64", "shape": [], "low": -99.0, "high": 99.0}'
action_space = '{"type": "Discrete", "n": 2, "start": 0, "dtype": "int64"}'
provenance = '{}'
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_rows(name: str) -> Log:
    with source(name) as one:
        return logged(gathered(one))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(log=logs(), seed=st.integers(0, 99), window=st.sampled_from([64, 512, 1 << 14]))
def test_any_order_is_brought_in_order(name: str, log: Log, seed: int, window: int) -> None:
    import pyarrow.parquet

    save_log(log, name)
    generator = np.random.default_rng(seed)
    if name == "t.csv":
        header, *lines = Path(name).read_text().splitlines()
        Path(name).write_text("\n".join([header, *(lines[row] for row in generator.permutation(len(lines)))]) + "\n")
    else:
        whole = pyarrow.parquet.read_table(name)
        pyarrow.parquet.write_table(whole.take(generator.permutation(whole.num_rows)), name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WINDOW", window)
        patch.setattr(separated, "_BLOCK", 3)
        patch.setattr(parquet, "_BLOCK", 3)
        mine = by_rows(name)
    theirs = load_log(name)
    assert fingerprint(mine) == fingerprint(theirs)
    assert mine.provenance == theirs.provenance


def outcome(read: Callable[[str], Log], name: str) -> tuple[object, ...]:
    try:
        log = read(name)
    except UserError as error:
        return ("refused", str(error))
    arrays = {name: (array.dtype, array.tolist()) for name, array in columns_of(log).items()}
    return str(arrays), head_of(log).to_json()


LEFT_OUT = {"episode and step": (), "episode": ("step",), "flags": ("episode", "step")}


@pytest.mark.parametrize("told", LEFT_OUT)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(log=logs(), seed=st.integers(0, 99), window=st.sampled_from([64, 512, 1 << 14]))
def test_what_nobody_states_is_found_in_the_same_way(told: str, log: Log, seed: int, window: int) -> None:
    save_log(log, "t.csv")
    Path("t.schema.toml").unlink()
    header, *rows = csv.reader(Path("t.csv").read_text().splitlines())
    keep = [i for i, name in enumerate(header) if name not in LEFT_OUT[told]]
    if told == "episode and step":
        rows = [rows[row] for row in np.random.default_rng(seed).permutation(len(rows))]
    with Path("t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[row[i] for i in keep] for row in [header, *rows]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separated, "_BLOCK", 3)
        theirs = outcome(load_log, "t.csv")
        patch.setattr(windows, "_WINDOW", window)
        patch.setattr(table, "memory_bytes", lambda: 16)
        assert outcome(by_rows, "t.csv") == theirs or "action_mask" in header


ROWS = [
    "b,1,5.5,0,0.75,0",
    "a,2,3.0,1,3.0,1",
    "a,0,1.0,1,1.0,0",
    "c,0,7.0,1,0.0,0",
    "b,0,4.5,1,0.25,0",
    "d,0,8.0,0,0.5,1",
    "a,1,2.0,0,2.0,0",
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),  # episode c is cut in its only row, and left out
        ("a,1,2.0,0,2.0,0", "a,1,,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,1,two,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,1,2.0,0,2.0,1"),
        ("a,1,2.0,0,2.0,0", "a,1,2.0,0,2.0,7"),
        ("a,1,2.0,0,2.0,0", "a,2,2.0,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,5,2.0,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,nan,2.0,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", ",1,2.0,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,,2.0,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", "a,1,2.0,0,nan,0"),
        ("a,1,2.0,0,2.0,0", "a,1,2.0,9,2.0,0"),
        ("a,1,2.0,0,2.0,0", 'a,1,"[1, 2]",0,2.0,0'),
        ("a,1,2.0,0,2.0,0", "a,1,true,0,2.0,0"),
        ("a,1,2.0,0,2.0,0", f"a,1,{2**60},0,2.0,0"),
        ("5.5,0", "5.5,left"),
    ],
)
@pytest.mark.parametrize("window", [16, 1 << 14])
def test_what_is_wrong_is_said_as_if_all_were_held(
    old: str, new: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("t.csv").write_text("\n".join([HEAD, *ROWS, ""]).replace(old, new))
    Path("t.schema.toml").write_text(SAID)
    monkeypatch.setattr(separated, "_BLOCK", 2)  # what stands together in a file of text is judged together
    theirs = outcome(load_log, "t.csv")
    monkeypatch.setattr(windows, "_WINDOW", window)
    assert outcome(by_rows, "t.csv") == theirs


def test_nothing_stays_on_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rows").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "rows"))
    Path("t.csv").write_text("\n".join([HEAD, *ROWS, ""]))
    Path("t.schema.toml").write_text(SAID)
    used: list[int] = []
    put = shelves.Shelves.put
    monkeypatch.setattr(shelves.Shelves, "put", lambda self, records: (used.append(len(records)), put(self, records)))
    by_rows("t.csv")
    assert sum(used) == len(ROWS)
    assert not list((folder / "rows").iterdir())


def test_words_whose_number_only_all_rows_tell_are_the_same_in_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["a,0,1.0,right,1.0,0", "a,1,1.0,left,1.0,1", "b,0,1.0,right,1.0,0", "b,1,1.0,right,1.0,1"]
    Path("t.csv").write_text("\n".join([HEAD, *rows, ""]))
    Path("t.schema.toml").write_text(SAID)
    monkeypatch.setattr(windows, "_WINDOW", 16)
    monkeypatch.setattr(separated, "_BLOCK", 2)
    assert by_rows("t.csv").actions.tolist() == load_log("t.csv").actions.tolist() == [1, 0, 1, 1]
