"""What rows of a table show of what its mapping leaves open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fqi.datasets.formats.extents import Extent
from fqi.nest import Array


@dataclass(frozen=True)
class Glance:
    """Whole episodes; those of all parts are put together by `|`."""

    ids: tuple[Any, ...]  # [M] what the file calls the episodes
    some: Array  # [M] whether it has a step
    observations: dict[str, Extent] = field(default_factory=dict)  # by the paths of leaves
    actions: dict[str, Extent] = field(default_factory=dict)  # by roles, where they are numbers
    blank: frozenset[str] = frozenset()  # roles of actions
    names: tuple[str, ...] | None = None  # of actions that are words
    behaviours: frozenset[str] = frozenset()

    def __or__(self, other: Glance) -> Glance:
        names = None
        if self.names is not None or other.names is not None:
            names = tuple(sorted({*(self.names or ()), *(other.names or ())}))
        return Glance(
            self.ids + other.ids,
            np.concatenate((self.some, other.some)),
            _merged(self.observations, other.observations),
            _merged(self.actions, other.actions),
            self.blank | other.blank,
            names,
            self.behaviours | other.behaviours,
        )


def _merged(one: dict[str, Extent], other: dict[str, Extent]) -> dict[str, Extent]:
    return {**one, **{name: one[name] | seen if name in one else seen for name, seen in other.items()}}
