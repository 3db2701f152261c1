"""What makes the columns a log at all: readable, whole, of the right shapes, with ends where episodes end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import OPTIONAL, Columns, arguments
from fqi.datasets.doctor.finding import Finding, error
from fqi.errors import UserError
from fqi.log import Log, Violation, violations
from fqi.nest import Array, leaf_spaces, leaves

_NAMES = {  # what an expectation of a log's birth is called
    "finite numbers": "not finite",
    "no end inside an episode": "end inside an episode",
    "every episode's last step to be terminated or truncated": "open episode",
    "an action that the mask allows": "action not allowed",
    "probabilities in (0, 1]": "propensity",
}


def reading(columns: Columns) -> Iterator[Finding]:
    """What could not be read, and what was changed since it was written."""
    for name, problem in columns.problems.items():
        yield error("unreadable", name, "something that can be read", problem.removeprefix(f"{columns.source}: "))
    for name, (recorded, found) in columns.checksums.items():
        if recorded == -1:
            yield error("checksum", name, "a recorded checksum", "none")
        elif recorded != found:
            yield error("checksum", name, f"{recorded & 0xFFFFFFFF:08x}", f"{found:08x}")


def unchecked(columns: Columns) -> Log | None:
    """A log whose birth was not checked; None without a head."""
    if columns.head is None:
        return None
    log = object.__new__(Log)
    for name, value in {**dict.fromkeys(OPTIONAL), **arguments(columns.head, columns.arrays)}.items():
        object.__setattr__(log, name, value)
    return log


def try_unchecked(columns: Columns) -> tuple[Log | None, list[Finding]]:
    """The unchecked log, or what is missing."""
    try:
        return unchecked(columns), []
    except UserError as missing:
        said = "file" in columns.problems
        return None, [] if said else [error("missing column", "log", "every column of a log", missing)]


def invariants(log: Log, repairable: Iterable[str] = ()) -> Iterator[Finding]:
    """Every invariant of a log that the columns break, by name."""
    mended = frozenset(repairable)
    for violation in violations(log):
        name = _name(violation)
        rows, count = violation.rows, violation.count
        can = name in mended
        yield error(name, violation.column, violation.expected, violation.found, rows, count=count, repairable=can)


def _name(violation: Violation) -> str:
    if violation.expected in _NAMES:
        return _NAMES[violation.expected]
    values = violation.expected.startswith(("integers from", "values inside"))
    return "action outside the space" if violation.column in ("actions", "label") and values else "invariant"


def holds(log: Log) -> bool:
    """Whether rows can be told apart into episodes, so that the rest can be looked for."""
    if log.lengths.ndim != 1 or log.lengths.dtype.kind != "i" or not len(log.lengths) or log.lengths.min() < 1:
        return False
    steps = int(log.lengths.sum())
    frames = steps + len(log.lengths)
    flags = (log.terminations, log.truncations)
    per_step = (log.rewards, *flags)
    return (
        log.actions.shape == (steps, *(log.action_space.shape or ()))
        and all(array.shape == (steps,) for array in per_step)
        and all(array.dtype == np.bool_ for array in flags)
        and log.rewards.dtype.kind == "f"
        and all(
            array.shape == (frames, *(space.shape or ()))
            for array, space in zip(
                leaves(log.observations).values(), leaf_spaces(log.observation_space).values(), strict=True
            )
        )
    )


def flat(array: Array) -> Array:
    """[rows, everything else], also where there are no rows."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def finite_rows(array: Array) -> Array:
    """[rows] bool: whether all numbers of a row are finite."""
    if array.dtype.kind != "f":
        return np.ones(len(array), np.bool_)
    return np.asarray(np.isfinite(flat(array)).all(axis=1))


def nonfinite(columns: Columns) -> Iterator[Finding]:
    """NaN and infinity in columns that do not make a log."""
    for name, array in columns.arrays.items():
        if array.dtype.kind == "f" and array.ndim:
            rows = np.flatnonzero(~finite_rows(array))
            if len(rows):
                yield error("not finite", name, "finite numbers", array[rows[0]], rows)


def valid_actions(log: Log) -> Array:
    """[N] bool: whether each action lies in the space."""
    space, actions = log.action_space, log.actions
    if isinstance(space, gym.spaces.Box):
        with np.errstate(invalid="ignore"):
            return np.asarray(flat((actions >= space.low) & (actions <= space.high)).all(axis=1))
    low, high = bounds(space)
    if low is None or actions.dtype.kind not in "iub":
        return np.zeros(len(actions), np.bool_)
    return np.asarray(flat((actions >= low) & (actions <= high)).all(axis=1))


def bounds(space: gym.Space[Any]) -> tuple[Any, Any]:
    """The least and the greatest values of a space, None where it has none."""
    if isinstance(space, gym.spaces.Box):
        return space.low, space.high
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, gym.spaces.MultiBinary):
        return 0, 1
    return None, None
