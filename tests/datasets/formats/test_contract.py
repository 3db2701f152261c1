"""One contract for every format that can be written: any valid log survives, up to what is said to be lost.

A new format adds a line to `HOLDS`: an example of a name, and what is left of a log after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fqi.datasets.columns import columns_of, head_of
from fqi.datasets.load import FORMATS, load_columns, load_log, save_log, writable
from fqi.datasets.source import held
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import apply
from tests.strategies import logs


def without(log: Log, *columns: str, **changed: Any) -> Log:
    """The log with optional columns taken away."""
    known = {field.name: getattr(log, field.name) for field in fields(log)}
    known.update(dict.fromkeys(columns), **changed)
    return Log(**known)


def _d4rl(log: Log) -> Log:
    return without(log, "action_mask", "seeds", "origin")


def _d3rlpy(log: Log) -> Log:
    """Terminated episodes lose their final frame, for which the one before stands, and a second flag."""
    last = np.cumsum(log.lengths) - 1
    final = (log.start_frames + log.lengths)[log.terminations[last]]
    source = np.arange(log.steps + log.episodes)
    source[final] -= 1
    return without(
        log,
        "propensity",
        "behaviour",
        "label",
        "action_mask",
        "seeds",
        "origin",
        observations=apply(lambda array: array[source], log.observations),
        truncations=log.truncations & ~log.terminations,
    )


@dataclass(frozen=True)
class Case:
    """A name to write to, what is left of a log, and how the format refuses a log that it has no place for."""

    name: str  # {} becomes a path that is new
    left: Callable[[Log], Log]
    refuses: str | None = None


HOLDS = {
    "fqi": Case("{}.h5", lambda log: log),
    "minari": Case("minari:fqi/any-v{}", lambda log: log),
    "table": Case("{}.csv", lambda log: log),
    "d4rl": Case("d4rl:{}.hdf5", _d4rl, "D4RL holds one array"),
    "d3rlpy": Case("d3rlpy:{}.h5", _d3rlpy, "d3rlpy knows numbered actions"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_writable_format_is_here() -> None:
    assert {form.name for form in FORMATS if form.sink is not None} == set(HOLDS)


@pytest.mark.parametrize("form", HOLDS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(log=logs())
def test_what_was_not_said_to_be_lost_comes_back(form: str, log: Log) -> None:
    case = HOLDS[form]
    number = sum(1 for _ in Path.cwd().rglob("*"))
    name = case.name.format(number)
    known = writable(name)
    assert known.name == form
    lost = [] if known.lost is None else known.lost(held(name, form, log).outline, name)
    before = sorted(Path.cwd().rglob("*"))
    try:
        save_log(log, name)
    except UserError as error:
        if case.refuses is None or case.refuses not in str(error):
            raise
        assert sorted(Path.cwd().rglob("*")) == before
        return
    found, expected = load_log(name), case.left(log)
    mine, theirs = columns_of(found), columns_of(expected)
    assert list(mine) == list(theirs)
    for column, array in theirs.items():
        assert mine[column].dtype == array.dtype, column
        np.testing.assert_array_equal(mine[column], array, err_msg=column)
    head, written = head_of(found).to_json(), head_of(log).to_json()
    head["provenance"].pop("notes", None)
    assert head == written
    original = columns_of(log)
    changed = [
        column for column in original if column not in mine or not np.array_equal(mine[column], original[column])
    ]
    assert bool(changed) <= bool(lost), f"{changed} lost, and nothing said"
    assert not load_columns(name).problems
