"""A log a few megabytes at a time: which of its rows are held together, and to which episodes they belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fqi.nest import Array

_WINDOW = 8 << 20  # bytes


def rows_at_once(row_bytes: int) -> int:
    """How many rows of so many bytes are held at a time."""
    return max(1, _WINDOW // max(1, row_bytes))


@dataclass(frozen=True)
class Window:
    """Whole episodes, or a part of one that is too long to be held."""

    first: int  # episode
    last: int  # episode after the last
    steps: slice
    frames: slice  # without the frame in which a part ends, unless the episode does, too
    ends: bool  # whether its last step is the last of its episode


def windows(lengths: Array, step_bytes: int) -> Iterator[Window]:
    """The log in order, a few megabytes at a time."""
    most = rows_at_once(step_bytes)  # steps
    ends_at = np.cumsum(lengths)
    starts = ends_at - lengths
    episode, count = 0, len(lengths)
    while episode < count:
        begin, length = int(starts[episode]), int(lengths[episode])
        if length > most:
            for a in range(0, length, most):
                b = min(a + most, length)
                frame = begin + episode
                ends = b == length
                frames = slice(frame + a, frame + b + ends)
                yield Window(episode, episode + 1, slice(begin + a, begin + b), frames, ends)
            episode += 1
            continue
        last = int(np.searchsorted(ends_at, begin + most, "right"))
        end = int(starts[last - 1] + lengths[last - 1])
        yield Window(episode, last, slice(begin, end), slice(begin + episode, end + last), True)
        episode = last


@dataclass(frozen=True)
class Part:
    """The rows of one episode among those of a window."""

    episode: int
    done: int  # steps of the episode that earlier windows held
    steps: slice
    frames: slice
    ends: bool


class Walk:
    """Tells to which episodes the rows of one window after another belong."""

    def __init__(self, lengths: Array) -> None:
        self._lengths: list[int] = lengths.tolist()
        self._episode, self._done = 0, 0

    def parts(self, steps: int) -> Iterator[Part]:
        """The next so many steps."""
        step = frame = 0
        while step < steps:
            left = self._lengths[self._episode] - self._done
            count = min(left, steps - step)
            ends = count == left
            frames = count + ends
            yield Part(self._episode, self._done, slice(step, step + count), slice(frame, frame + frames), ends)
            step, frame = step + count, frame + frames
            self._episode, self._done = (self._episode + 1, 0) if ends else (self._episode, self._done + count)
