"""The last frames of every slot's episode, for policies that look at several at once."""

from __future__ import annotations

import numpy as np

from fqi.nest import Array, Nest, apply, leaves, unflatten


class Recent:
    """What V slots have shown lately: policies keep no memory, whoever plays does."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.kept: dict[str, Array] = {}  # by leaf [V, depth, ...], the oldest first

    def see(self, frames: Nest, fresh: Array) -> None:
        """Take the present frames [V, ...]; `fresh` [V] says which of them begin an episode."""
        if self.depth == 1:
            return
        for path, array in leaves(frames).items():
            kept = self.kept.get(path)
            if kept is None or len(kept) != len(array):
                self.kept[path] = np.repeat(array[:, None], self.depth, 1)
                continue
            kept[:, :-1] = kept[:, 1:].copy()
            kept[:, -1] = array
            kept[fresh] = array[fresh, None]

    def last(self, depth: int, frames: Nest) -> Nest:
        """The present frames [V, ...] as they are shown: alone, or the last ones [V, depth, ...], the first of an
        episode repeated while there are fewer."""
        if depth == 1:
            return frames
        return unflatten({path: kept[:, self.depth - depth :].copy() for path, kept in self.kept.items()})


def first_shown(frames: Nest, depth: int) -> Nest:
    """The first frames of episodes as they are shown: alone, or repeated [B, depth, ...]."""
    return frames if depth == 1 else apply(lambda array: np.repeat(array[:, None], depth, 1), frames)
