"""Files with one frame a step: rows made into episodes, which have one frame more than steps.

Where the frame after the last step of an episode is not in the file, two things can be right. A termination needs no
next frame, since nothing of its value enters a target: its last frame is repeated, and that is said. A step that was
cut by a time limit needs it: the step is lost, its frame becomes the final one of a shorter episode, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.errors import UserError
from fqi.nest import Array

REPEATED = "terminated episodes whose final frame is not in the file: the last frame is repeated, no target uses it"
LOST = "steps lost at cut episodes, since the file does not hold the frame after them"
BREAKS = "unmarked breaks, where the next observation is not the following row: taken as cuts"
UNFINISHED = "episodes at the end of the file that neither terminated nor were cut: taken as cut"
LIMITED = "ends at the time limit, taken as cuts, not as terminations"
MERGED = (
    "the file does not tell terminations from time limits: all ends are taken as terminations; name the environment by "
    "?env=ID or its limit by ?max_episode_steps=N if it has one"
)
_PIECE = 1 << 16  # rows compared at a time


@dataclass
class Rows:
    """N steps, each with the frame in which its action was taken."""

    observations: dict[str, Array]  # leaf: [N, *observation]
    actions: Array  # [N, *action]
    rewards: Array  # [N]
    terminations: Array  # [N] bool
    truncations: Array  # [N] bool
    next_observations: dict[str, Array] | None = None  # leaf: [N, *observation]
    extra: dict[str, Array] | None = None  # more columns per step


@dataclass(frozen=True)
class Plan:
    """Which rows are steps, how many frames each row gives, and where episodes end."""

    steps: Array  # [N] bool: the row is a step
    frames: Array  # [N] 0, 1, or 2 where a final frame follows the row's own
    lengths: Array  # [M]
    terminations: Array  # [steps]
    truncations: Array  # [steps]
    notes: dict[str, int]


def plan(terminations: Array, truncations: Array, next_known: bool = False) -> Plan:
    """The episodes of rows that end where a flag is set; the last row ends one in any case."""
    if not len(terminations):
        raise UserError("expected at least one row, found none")
    notes: dict[str, int] = {}
    terminations, truncations = terminations.copy(), truncations.copy()
    if not (terminations[-1] or truncations[-1]):
        truncations[-1] = True
        notes[UNFINISHED] = 1
    ends = np.flatnonzero(terminations | truncations)  # [M]
    lengths = np.diff(ends, prepend=-1)  # [M]
    steps = np.ones(len(terminations), np.bool_)
    frames = np.ones(len(terminations), np.int64)
    if next_known:
        frames[ends] = 2
        return Plan(steps, frames, lengths, terminations, truncations, notes)
    cut = ~terminations[ends]  # [M] episodes whose last row lacks the frame after it
    steps[ends[cut]] = False
    truncations[ends[cut & (lengths > 1)] - 1] = True
    frames[ends[~cut]] = 2
    frames[ends[cut & (lengths == 1)]] = 0
    lengths = lengths - cut
    notes.update({LOST: int(cut.sum())} if cut.any() else {})
    notes.update({REPEATED: int((~cut).sum())} if not cut.all() else {})
    return Plan(steps, frames, lengths[lengths > 0], terminations[steps], truncations[steps], notes)


def episodes(rows: Rows) -> tuple[dict[str, Array], dict[str, int]]:
    """The columns of a log, and what had to be decided about how many rows."""
    count = len(rows.rewards)
    known = rows.next_observations
    columns = {leaf_name(path): array for path, array in rows.observations.items()}
    columns.update({"actions": rows.actions, "terminations": rows.terminations, "truncations": rows.truncations})
    columns.update(rows.extra or {})
    columns.update({f"next {leaf_name(path)}": array for path, array in (known or {}).items()})
    for name, array in columns.items():
        if array.ndim == 0 or len(array) != count:
            raise UserError(f"{name}: expected {count} rows as in rewards, found shape {array.shape}")
    truncations, broken = rows.truncations, 0
    if known is not None:
        breaks = discontinuities(rows.observations, known, rows.terminations | truncations)
        broken = int(breaks.sum())
        truncations = truncations | breaks
    found = plan(rows.terminations, truncations, known is not None)
    arrays: dict[str, Array] = {}
    for path, array in rows.observations.items():
        arrays[leaf_name(path)] = np.repeat(array, found.frames, axis=0)
        if known is not None:
            ends = np.flatnonzero(found.frames == 2)
            arrays[leaf_name(path)][ends + np.arange(len(ends)) + 1] = known[path][ends]
    whole = bool(found.steps.all())
    for name, array in {"actions": rows.actions, "rewards": rows.rewards, **(rows.extra or {})}.items():
        arrays[name] = array if whole else array[found.steps]
    arrays.update(terminations=found.terminations, truncations=found.truncations, lengths=found.lengths)
    return arrays, {**found.notes, **({BREAKS: broken} if broken else {})}


def discontinuities(observations: Mapping[str, Array], following: Mapping[str, Array], ends: Array) -> Array:
    """[N] rows within an episode whose next observation is not what the following row observed."""
    breaks = np.zeros(len(ends), np.bool_)
    for path, array in observations.items():
        after = following[path]
        if after.shape != array.shape or after.dtype != array.dtype:
            name = f"next {leaf_name(path)}"
            raise UserError(f"{name}: expected {array.dtype} {array.shape}, found {after.dtype} {after.shape}")
        for i in range(0, len(ends) - 1, _PIECE):
            now, then = after[i : min(i + _PIECE, len(ends) - 1)], array[i + 1 : i + 1 + _PIECE]
            differ = (now != then) & ~((now != now) & (then != then))
            breaks[i : i + len(now)] |= differ.reshape(len(now), -1).any(axis=1)
    return breaks & ~ends


def limited(ends: Array, limit: int | None) -> tuple[Array, Array, dict[str, int]]:
    """Merged ends told apart by a time limit: terminations, truncations, and what was decided."""
    if limit is None:
        count = int(ends.sum())
        return ends, np.zeros_like(ends), {MERGED: count} if count else {}
    where = np.flatnonzero(ends)
    lengths = np.diff(where, prepend=-1)
    longest = int(max(lengths.max(initial=0), len(ends) - 1 - (where[-1] if len(where) else -1)))
    if longest > limit:
        raise UserError(f"expected episodes of at most {limit} steps, the time limit, found one of {longest}")
    truncations = np.zeros_like(ends)
    truncations[where[lengths == limit]] = True
    count = int(truncations.sum())
    return ends & ~truncations, truncations, {LIMITED: count} if count else {}


def flags(array: Array, name: str) -> Array:
    """A vector of 0 and 1, whatever its type, as booleans."""
    array = vector(array, name)
    if array.dtype == np.bool_:
        return array
    bad = np.flatnonzero((array != 0) & (array != 1))
    if len(bad):
        raise UserError(f"{name}: row {bad[0]}: expected 0 or 1, found {array[bad[0]]}")
    return array.astype(np.bool_)


def vector(array: Array, name: str) -> Array:
    """[N] or [N, 1] as [N]."""
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise UserError(f"{name}: expected one number a row, found shape {array.shape}")
    return array


def rewards(array: Array, name: str = "rewards") -> Array:
    """One floating-point number a row."""
    array = vector(array, name)
    return array if array.dtype.kind == "f" else array.astype(np.float64)
