"""What repairs are made of: a log with other columns, windows of its episodes, and what the environment can tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from fqi.datasets.columns import OPTIONAL, REQUIRED
from fqi.datasets.doctor.oracle import Oracle, Played, oracle
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, apply


def changed(log: Log, **columns: Any) -> Log:
    """The log with other columns, unchecked."""
    found = object.__new__(Log)
    for name, value in {**vars(log), **columns}.items():
        object.__setattr__(found, name, value)
    return found


def window(log: Log, first: Array, count: Array, frame_offset: int = 0) -> Log:
    """Of each episode, `count` [M] steps from its step `first` [M] on; none where count is 0. Where its last step is
    left out, the episode is truncated there. Its frames begin `frame_offset` frames after those of its first step."""
    kept = np.flatnonzero(count > 0)
    first, count = first[kept], count[kept]
    steps = ranges(log.starts[kept] + first, count)
    frames = ranges(log.start_frames[kept] + first + frame_offset, count + 1)
    last = np.cumsum(count) - 1
    cut = last[first + count < log.lengths[kept]]
    columns: dict[str, Any] = {name: getattr(log, name)[steps] for name in REQUIRED if name != "lengths"}
    terminations, truncations = columns["terminations"].copy(), columns["truncations"].copy()
    terminations[cut], truncations[cut] = False, True
    for name in OPTIONAL:
        column = getattr(log, name)
        if column is not None:
            columns[name] = column[{"action_mask": frames, "seeds": kept, "origin": kept}.get(name, steps)]
    if columns.get("seeds") is not None:
        columns["seeds"] = np.where(first > 0, -1, columns["seeds"])  # it begins elsewhere now
    columns |= {"terminations": terminations, "truncations": truncations, "lengths": count.astype(np.int64)}
    return changed(log, **columns, observations=apply(lambda array: array[frames], log.observations))


def ranges(starts: Array, lengths: Array) -> Array:
    """The concatenation of arange(start, start + length)."""
    if not len(lengths):
        return np.zeros(0, np.int64)
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    return np.asarray(np.arange(int(lengths.sum())) + offsets)


def asked(log: Log, why: str) -> Oracle:
    """The log's oracle; without one there is no certainty."""
    found = oracle(log)
    if isinstance(found, str):
        raise UserError(f"{why}, and the environment cannot be asked: {found}")
    return found


def lasts(log: Log) -> Array:
    return np.asarray(np.cumsum(log.lengths) - 1)


def certain(found: Oracle, rows: Array, name: str) -> Played:
    """The replay of these rows, if it explains the next frame of each and leaves no doubt of the end."""
    unknown = rows[~found.usable[rows]]
    played = found.play(rows[found.usable[rows]])
    doubted = np.concatenate([unknown, played.rows[~(played.frames & played.sure)]])
    if len(doubted):
        raise UserError(f"{name}: the environment does not explain row {int(doubted.min())}, so it cannot tell the end")
    return played
