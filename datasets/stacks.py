"""Observations that are stacks of an episode's last frames: recognised, and taken apart so that each is stored once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import Column
from fqi.datasets.deriving import Hearing, derived
from fqi.datasets.format import Format
from fqi.datasets.source import Source
from fqi.datasets.stream import Output
from fqi.errors import UserError
from fqi.nest import Array

_MOST = 16  # frames of a stack
_COLUMN = "observations"
_PIECE = 8 << 20


@dataclass(frozen=True)
class Stacks:
    """Observations [F, ...] that hold `depth` frames along `axis` of one observation, the oldest first."""

    axis: int
    depth: int

    def some(self, frames: Array, part: slice | int) -> Array:
        """Some of the frames of every stack."""
        index: list[Any] = [slice(None)] * frames.ndim
        index[self.axis + 1] = part
        return np.asarray(frames[tuple(index)])


@dataclass
class _Seen:
    """What was found of all stacks."""

    steps: int = 0  # whose stack does not follow from the one before
    first: int = -1  # such a frame
    blank: int = 0  # episodes that begin with frames of zeros, not with the first frame repeated
    other: int = 0  # episodes that begin in another way


def shifting(one: Source) -> Stacks | None:
    """How observations are stacked, as far as the first of them show."""
    for stacks in _candidates(one.head.observation_space):
        seen = _seen(one, stacks, most=_PIECE)
        if not seen.steps and not seen.other:
            return stacks
    return None


def apart(one: Source, target: str, form: Format, hearing: Hearing) -> Output:
    """The same log with the newest frame of every stack: the others are the frames before it, which are there."""
    found = shifting(one)
    if found is None:
        raise UserError(
            f"{one.reference}: --unstack: expected observations that are stacks of an episode's last frames, the "
            f"oldest first, found {_short(one.head.observation_space)}, in which nothing shifts so"
        )
    seen = _seen(one, found)
    if seen.steps or seen.other:
        what = (
            f"frame {seen.first} is not the stack before it moved on by one ({seen.steps:,} such frames)"
            if seen.steps
            else f"{seen.other:,} episodes begin with several different frames, of which all but one would be lost"
        )
        raise UserError(f"{one.reference}: --unstack: {what}; keep the stacks as they are")
    if seen.blank:
        hearing.losing(
            target, [f"the blank frames before the first of {seen.blank:,} episodes: --stack repeats the first instead"]
        )
    space = one.head.observation_space
    assert isinstance(space, gym.spaces.Box)
    dtype: Any = np.dtype(space.dtype).type
    single = gym.spaces.Box(np.take(space.low, -1, found.axis), np.take(space.high, -1, found.axis), dtype=dtype)
    every = np.ones(one.episodes, np.bool_)
    head, origin = derived([one], [every], f"stacks of {found.depth} frames taken apart")
    head = replace(head, observation_space=single, environment=None)
    head = head.noting(stacks={"depth": found.depth, "axis": found.axis, "environment": one.head.environment})
    columns = tuple(
        Column(_COLUMN, column.dtype, single.shape, "frame") if column.name == _COLUMN else column
        for column in one.columns
    )

    def change(_: int, arrays: dict[str, Array]) -> dict[str, Array]:
        return {**arrays, _COLUMN: found.some(arrays[_COLUMN], -1)}

    return Output(target, form, head, columns, (every,), one.seeds, origin, change)


def _candidates(space: gym.Space[Any]) -> list[Stacks]:
    if not isinstance(space, gym.spaces.Box) or len(space.shape) < 2:
        return []
    axes = [(axis, space.shape[axis]) for axis in (0, len(space.shape) - 1)]
    return [Stacks(axis, depth) for axis, depth in axes if 2 <= depth <= _MOST]


def _seen(one: Source, stacks: Stacks, most: int | None = None) -> _Seen:
    """What all stacks show, or the first bytes of them."""
    column = next(column for column in one.columns if column.name == _COLUMN)
    frames = one.steps + one.episodes
    starts = np.zeros(frames, np.bool_)
    starts[np.cumsum(one.lengths + 1) - one.lengths - 1] = True
    many = max(2, _PIECE // max(1, column.row_bytes))
    if most is not None:
        frames = min(frames, max(2, most // max(1, column.row_bytes)))
    seen = _Seen()
    for first in range(0, frames, many):
        last = min(first + many, frames)
        rows = one.rows(_COLUMN, max(0, first - 1), last)
        moved = stacks.some(rows[:-1], slice(1, None)) == stacks.some(rows[1:], slice(None, -1))
        bad = ~_each(moved) & ~starts[last - len(moved) : last]
        if bad.any() and seen.first < 0:
            seen.first = last - len(moved) + int(np.flatnonzero(bad)[0])
        seen.steps += int(bad.sum())
        begun = rows[len(rows) - (last - first) :][starts[first:last]]
        older, newest = stacks.some(begun, slice(None, -1)), stacks.some(begun, slice(-1, None))
        same = _each(older == newest)
        blank = ~same & _each(older == 0)
        seen.blank += int(blank.sum())
        seen.other += int((~same & ~blank).sum())
    return seen


def _each(holds: Array) -> Array:
    """[n] whether it holds in all of a frame."""
    return np.asarray(holds.all(axis=tuple(range(1, holds.ndim))))


def _short(space: gym.Space[Any]) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 100 else text[:99] + "…"
