"""The journal: whatever is cut off, whole episodes stay; finished, it is the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fqi.datasets import store
from fqi.datasets.check import check
from fqi.datasets.columns import Column, columns_of, head_of, per, step_columns
from fqi.datasets.journal import Block, Journal, JournalHeader, finish, journal_path, read_journal
from fqi.errors import UserError
from fqi.log import Log
from tests.datasets.helpers import assert_same, read_or_sentence, small_log
from tests.strategies import logs

SHARED_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def header_of(log: Log) -> JournalHeader:
    columns = [Column(name, a.dtype, a.shape[1:], per(name)) for name, a in columns_of(log).items()]
    return JournalHeader(head_of(log), tuple(c for c in columns if c.per != "episode"), {"seed": 3})


def blocks_of(log: Log, episodes: int = 1) -> list[Block]:
    found = []
    for first in range(0, log.episodes, episodes):
        part = log.select(np.arange(first, min(first + episodes, log.episodes)))
        seeds = np.full(part.episodes, -1) if part.seeds is None else part.seeds
        slots = np.arange(part.episodes) % 2
        found.append(Block(part.lengths, seeds, slots, first + np.arange(part.episodes), columns_of(part)))
    return found


def without_episode_columns(log: Log) -> Log:
    return Log(**{**vars(log), "seeds": None, "origin": None})


def write(path: Path, log: Log, episodes: int = 1) -> None:
    with Journal.create(journal_path(path), header_of(log)) as journal:
        for block in blocks_of(log, episodes):
            journal.append(block)


@settings(max_examples=40, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(log=logs())
def test_any_log_survives_journal_and_finish(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "log.h5"
    path.unlink(missing_ok=True)
    journal_path(path).unlink(missing_ok=True)
    write(path, log, episodes=2)
    unfinished = store.read_log(path)
    assert unfinished.provenance["unfinished"] is True
    finish(Journal.resume(journal_path(path)), path)
    assert not journal_path(path).exists()
    found = store.read_log(path, verify=True)
    assert found.seeds is not None
    assert found.origin is not None  # a journal always knows of both
    assert_same(without_episode_columns(found), without_episode_columns(log))


def test_cut_at_any_byte_whole_episodes_stay(tmp_path: Path) -> None:
    log, path = small_log(3, 2), tmp_path / "log.h5"
    write(path, log)
    journal = journal_path(path)
    content = journal.read_bytes()
    with Journal.resume(journal) as whole:
        begins = whole.index.offsets[next(iter(whole.index.offsets))]
    first = int(begins[0]) - 4 * 8 - 28  # where the header's frame ends
    sizes = [(len(content) - first) // 3 * (i + 1) + first for i in range(3)]
    for length in range(len(content)):
        journal.write_bytes(content[:length])
        if length < first:
            with pytest.raises(UserError, match="first bytes"):
                Journal.resume(journal)
            continue
        expected = sum(size <= length for size in sizes)
        with Journal.resume(journal) as resumed:
            assert resumed.index.episodes == expected
            assert journal.stat().st_size == [first, *sizes][expected]  # the torn tail is gone
        if expected:
            found = store.read_log(path)
            np.testing.assert_array_equal(found.observations, log.select(np.arange(expected)).observations)
        else:
            with pytest.raises(UserError, match="no whole episode"):
                store.read_log(path)


def test_resumed_after_a_tear_it_ends_as_if_never_torn(tmp_path: Path) -> None:
    log, path = small_log(4, 3), tmp_path / "log.h5"
    write(path, log)
    journal = journal_path(path)
    journal.write_bytes(journal.read_bytes()[:-7])
    resumed = Journal.resume(journal)
    index = resumed.index
    assert index.lengths.tolist() == [3, 3, 3]
    assert index.starts.tolist() == [0, 1, 2]
    assert index.slots.tolist() == [0, 0, 0]
    assert resumed.header.settings == {"seed": 3}
    resumed.append(blocks_of(log)[3])
    finish(resumed, path)
    found = store.read_log(path)
    assert found.origin is not None
    assert found.origin.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert_same(without_episode_columns(found), without_episode_columns(log))


@pytest.mark.parametrize("position", range(0, 900, 37))
def test_a_flipped_byte_costs_the_blocks_from_there_on(tmp_path: Path, position: int) -> None:
    log, path = small_log(3, 2), tmp_path / "log.h5"
    write(path, log)
    journal = journal_path(path)
    content = bytearray(journal.read_bytes())
    content[position] ^= 0x40
    journal.write_bytes(content)
    found = read_or_sentence(lambda: read_journal(journal))
    if found is not None:
        np.testing.assert_array_equal(found.rewards, log.select(np.arange(found.episodes)).rewards)
    check(path)


def test_finish_can_choose_and_order_episodes(tmp_path: Path) -> None:
    log, path = small_log(4, 3), tmp_path / "log.h5"
    write(path, log, episodes=3)
    order = np.array([3, 0, 2])
    finish(Journal.resume(journal_path(path)), path, order=order)
    found = store.read_log(path)
    assert_same(without_episode_columns(found), without_episode_columns(log.select(order)))
    assert found.seeds is not None
    assert found.seeds.tolist() == order.tolist()


def test_finish_moves_long_episodes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqi.datasets.journal._PIECE", 1)
    monkeypatch.setattr("fqi.datasets.journal.chunk_rows", lambda shape, itemsize: 4)
    log, path = small_log(3, 9), tmp_path / "log.h5"
    write(path, log, episodes=2)
    finish(Journal.resume(journal_path(path)), path)
    found = store.read_log(path, verify=True)
    assert_same(without_episode_columns(found), without_episode_columns(log))


def test_two_collections_cannot_share_a_journal(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "log.h5")
    with Journal.create(path, header_of(small_log())):
        with pytest.raises(UserError, match="another process"):
            Journal.resume(path)
        with pytest.raises(UserError, match="unfinished collection"):
            Journal.create(path, header_of(small_log()))


def test_a_block_that_does_not_fit_is_refused_and_nothing_written(tmp_path: Path) -> None:
    log, path = small_log(), journal_path(tmp_path / "log.h5")
    with Journal.create(path, header_of(log)) as journal:
        size = path.stat().st_size
        block = blocks_of(log)[0]
        wrong = {**block.columns, "rewards": block.columns["rewards"].astype(np.float32)}
        with pytest.raises(UserError, match="rewards: expected float64"):
            journal.append(Block(block.lengths, block.seeds, block.slots, block.starts, wrong))
        assert path.stat().st_size == size


def test_step_columns_are_those_of_a_log() -> None:
    log = small_log()
    named = step_columns(log.observation_space, log.action_space, propensity=True, behaviour=True)
    assert {(c.name, c.dtype, c.shape, c.per) for c in named} == {
        (c.name, c.dtype, c.shape, c.per) for c in header_of(log).columns
    }
