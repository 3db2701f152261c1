"""Healthy logs, and faults planted in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fqi.datasets.columns import Columns, columns_of, head_of
from fqi.datasets.doctor.parts import changed, window
from fqi.log import Log
from fqi.nest import Array
from tests.datasets.helpers import played

Fault = Callable[[Log], Log]


@cache
def healthy(env_id: str, steps: int = 700, seed: int = 0) -> Log:
    return played(env_id, steps, seed)


def columns(log: Log) -> Columns:
    """The log as a reader would give it to the doctor."""
    return Columns("log", head_of(log), columns_of(log))


def unnamed(log: Log) -> Log:
    """The same log, which does not say where it is from."""
    return changed(log, environment=None)


def rolled(column: str, by: int) -> Fault:
    """The column moved along the whole log."""
    return lambda log: changed(log, **{column: np.roll(getattr(log, column), by, axis=0)})


def moved(column: str, by: int, fill: float) -> Fault:
    """The column moved inside each episode, and something else put where it lacks a value."""

    def fault(log: Log) -> Log:
        values = getattr(log, column).copy()
        for start, length in zip(log.starts, log.lengths, strict=True):
            values[start : start + length] = np.roll(values[start : start + length], by, axis=0)
            values[start if by == 1 else start + length - 1] = fill
        return changed(log, **{column: values})

    return fault


def frames_moved(by: int) -> Fault:
    """The frames one row ahead (-1) or behind (1), with the one at the end twice."""

    def fault(log: Log) -> Log:
        frames = np.array(log.observations)
        for start, length in zip(log.start_frames, log.lengths, strict=True):
            some = frames[start : start + length + 1].copy()
            if by == -1:
                frames[start : start + length] = some[1:]
            else:
                frames[start + 1 : start + length + 1] = some[:-1]
        return changed(log, observations=frames)

    return fault


def put(column: str, rows: Any, value: Any) -> Fault:
    def fault(log: Log) -> Log:
        values = np.array(getattr(log, column))
        values[rows] = value
        return changed(log, **{column: values})

    return fault


def last(log: Log) -> Array:
    return np.asarray(np.cumsum(log.lengths) - 1)


def all_terminated(log: Log) -> Log:
    ended = log.terminations | log.truncations
    return changed(log, terminations=ended, truncations=np.zeros_like(ended))


def all_truncated(log: Log) -> Log:
    ended = log.terminations | log.truncations
    return changed(log, truncations=ended, terminations=np.zeros_like(ended))


def both(log: Log) -> Log:
    ended = log.terminations | log.truncations
    return changed(log, truncations=ended, terminations=ended)


def never_ended(log: Log) -> Log:
    none = np.zeros(log.steps, np.bool_)
    return changed(log, truncations=none, terminations=none)


def twice(log: Log) -> Log:
    """The first three episodes once more at the end."""
    return log.select(np.concatenate([np.arange(log.episodes), np.arange(3)]))


def cut(log: Log, length: int) -> Log:
    """Every episode truncated after so many steps."""
    found = window(log, np.zeros_like(log.lengths), np.minimum(log.lengths, length))
    return Log(**vars(found))
