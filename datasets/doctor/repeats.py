"""What stands in a log twice: whole episodes, and rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fqi.datasets.doctor.finding import Finding, warning
from fqi.datasets.doctor.oracle import Oracle
from fqi.datasets.doctor.structure import flat
from fqi.log import Log
from fqi.nest import Array, leaves


def duplicates(log: Log) -> Iterator[Finding]:
    """Episodes that equal an earlier one in every frame, action and reward."""
    if _discrete(log):  # short episodes of small discrete problems repeat by nature; only a log of numbers should not
        return
    rows = repeated_episodes(log)
    if len(rows):
        yield warning("duplicate episodes", "episodes", "episodes that differ", f"{len(rows):,} repeats", rows,
                      repairable=True)  # fmt: skip


def repeated_episodes(log: Log) -> Array:
    """The episodes that equal an earlier one."""
    seen: set[tuple[Any, ...]] = set()
    repeated: list[int] = []
    columns = [(np.ascontiguousarray(array), 1) for array in leaves(log.observations).values()]
    columns += [(np.ascontiguousarray(array), 0) for array in (log.actions, log.rewards)]
    starts, frames, lengths = log.starts.tolist(), log.start_frames.tolist(), log.lengths.tolist()
    for episode, (start, frame, length) in enumerate(zip(starts, frames, lengths, strict=True)):
        parts = (a[frame : frame + length + 1] if extra else a[start : start + length] for a, extra in columns)
        key = (length, *(hash(part.tobytes()) for part in parts))
        if key in seen:
            repeated.append(episode)
        else:
            seen.add(key)
    return np.array(repeated, np.int64)


def repeated_rows(log: Log, oracle: Oracle | None) -> Iterator[Finding]:
    """Rows that equal the one before in frame, action and reward, as where a logger wrote a row twice."""
    if _discrete(log) or log.steps < 2:
        return
    frame = log.frame_of_step
    same = np.zeros(log.steps, np.bool_)
    same[1:] = (log.rewards[1:] == log.rewards[:-1]) & (log.episode_of_step[1:] == log.episode_of_step[:-1])
    same[1:] &= flat(log.actions[1:] == log.actions[:-1]).all(axis=1)
    for array in leaves(log.observations).values():
        rows = np.flatnonzero(same)  # ever fewer are compared in full
        same[rows] = flat(array[frame[rows]] == array[frame[rows] - 1]).all(axis=1)
    rows = np.flatnonzero(same)
    if oracle is not None and len(rows):  # a state of rest repeats by nature
        before = rows[oracle.usable[rows - 1]][: oracle.replayer.rows] - 1
        rows = np.setdiff1d(rows, before[oracle.play(before).frames] + 1)
    if len(rows):
        yield warning("repeated rows", "steps", "rows that differ from the one before", "the same row again", rows)


def _discrete(log: Log) -> bool:
    return all(array.dtype.kind in "iub" for array in leaves(log.observations).values())
