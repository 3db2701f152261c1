"""Files with one frame a step: rows made into episodes, which have one frame more than steps.

Where the frame after the last step of an episode is not in the file, two things can be right. A termination needs no
next frame, since nothing of its value enters a target: its last frame is repeated, and that is said. A step that was
cut by a time limit needs it: the step is lost, its frame becomes the final one of a shorter episode, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.datasets.strips import Strip
from fqi.datasets.windows import rows_at_once
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


@dataclass(frozen=True)
class Ends:
    """The rows in which episodes end."""

    count: int  # of all rows
    rows: Array  # [E], rising
    terminated: Array  # [E]
    truncated: Array  # [E]

    def cut_at(self, rows: Array) -> Ends:
        """The same ends and others, in rows where an episode was cut."""
        every = np.concatenate((self.rows, rows))
        order = np.argsort(every, kind="stable")
        new = np.ones(len(rows), np.bool_)
        terminated = np.concatenate((self.terminated, ~new))[order]
        return Ends(self.count, every[order], terminated, np.concatenate((self.truncated, new))[order])


@dataclass
class Rows:
    """N steps, each with the frame in which its action was taken."""

    observations: Mapping[str, Strip]  # leaf: [N, *observation]
    actions: Strip  # [N, *action]
    rewards: Strip  # [N]
    ends: Ends
    next_observations: Mapping[str, Strip] | None = None  # leaf: [N, *observation]
    extra: Mapping[str, Strip] | None = None  # more columns per step


@dataclass(frozen=True)
class _Plan:
    """Which rows the episodes are made of: step i of an episode is in row `first + i`."""

    first: Array  # [M]
    lengths: Array  # [M]
    terminated: Array  # [M]
    truncated: Array  # [M]
    own: Array  # [M] whether the row after the last step is the final frame, and no step

    @property
    def steps(self) -> Array:
        """[M] the number of each episode's first step."""
        return np.cumsum(self.lengths) - self.lengths


def find_ends(terminations: Strip, truncations: Strip | None) -> Ends:
    """Where flags are set."""
    count, step = len(terminations), rows_at_once(2)
    if truncations is not None and len(truncations) != count:
        raise UserError(f"truncations: expected {count} rows as in terminations, found {len(truncations)}")
    parts: list[tuple[Array, Array, Array]] = []
    for first in range(0, count, step):
        over = terminations.read(first, min(first + step, count))
        cut = np.zeros_like(over) if truncations is None else truncations.read(first, first + len(over))
        at = np.flatnonzero(over | cut)
        parts.append((at + first, over[at], cut[at]))
    none = np.zeros(0, np.bool_)
    parts = parts or [(np.zeros(0, np.int64), none, none)]
    rows, terminated, truncated = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Ends(count, rows, terminated, truncated)


def limited(ends: Ends, limit: int | None) -> tuple[Ends, dict[str, int]]:
    """Merged ends, taken for terminations so far, told apart by a time limit, and what was decided."""
    if limit is None:
        return ends, {MERGED: len(ends.rows)} if len(ends.rows) else {}
    lengths = np.diff(ends.rows, prepend=-1)
    longest = int(max(lengths.max(initial=0), ends.count - 1 - (ends.rows[-1] if len(ends.rows) else -1)))
    if longest > limit:
        raise UserError(f"expected episodes of at most {limit} steps, the time limit, found one of {longest}")
    cut = lengths == limit
    found = replace(ends, terminated=~cut, truncated=cut)
    return found, {LIMITED: int(cut.sum())} if cut.any() else {}


def cut_every(ends: Ends, limit: int) -> tuple[Ends, int]:
    """Cuts wherever an episode reached the time limit and did not terminate there, and how many they are."""
    bounds = np.concatenate((ends.rows, [ends.count])).astype(
        np.int64
    )  # the row by which it is over, or after the last
    begins = np.concatenate(([0], ends.rows + 1)).astype(np.int64)
    counts = np.maximum(bounds - begins, 0) // limit  # a termination is no cut, though it be at the limit
    offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(begins, counts) + (offset + 1) * limit - 1
    return ends.cut_at(rows), len(rows)


def episodes(rows: Rows) -> tuple[dict[str, Strip], Array, dict[str, int]]:
    """The columns of a log, how long its episodes are, and what had to be decided about how many rows."""
    count, known = len(rows.rewards), rows.next_observations
    columns = {leaf_name(path): strip.shape for path, strip in rows.observations.items()}
    columns.update({"actions": rows.actions.shape, "terminations": (rows.ends.count,)})
    columns.update({name: strip.shape for name, strip in (rows.extra or {}).items()})
    columns.update({f"next {leaf_name(path)}": strip.shape for path, strip in (known or {}).items()})
    for name, shape in columns.items():
        if not shape or shape[0] != count:
            raise UserError(f"{name}: expected {count} rows as in rewards, found shape {shape}")
    if not count:
        raise UserError("expected at least one row, found none")
    ends, broken = rows.ends, 0
    if known is not None:
        breaks = np.setdiff1d(_discontinuities(rows.observations, known), ends.rows)
        broken, ends = len(breaks), ends.cut_at(breaks)
    plan, notes = _plan(ends, known is not None)
    strips: dict[str, Strip] = {}
    for path, strip in rows.observations.items():
        strips[leaf_name(path)] = _frames(plan, strip, None if known is None else known[path])
    for name, strip in {"actions": rows.actions, "rewards": rows.rewards, **(rows.extra or {})}.items():
        strips[name] = _steps(plan, strip)
    strips["terminations"] = _flags(plan, plan.terminated)
    strips["truncations"] = _flags(plan, plan.truncated)
    return strips, plan.lengths, {**notes, **({BREAKS: broken} if broken else {})}


def _plan(ends: Ends, next_known: bool) -> tuple[_Plan, dict[str, int]]:
    """The episodes of rows that end where a flag is set; the last row ends one in any case."""
    notes: dict[str, int] = {}
    if not len(ends.rows) or ends.rows[-1] != ends.count - 1:
        ends = ends.cut_at(np.array([ends.count - 1]))
        notes[UNFINISHED] = 1
    first = np.concatenate(([0], ends.rows[:-1] + 1)).astype(np.int64)
    lengths = ends.rows - first + 1
    own = np.zeros(len(first), np.bool_) if next_known else ~ends.terminated
    if not next_known:
        notes.update({LOST: int(own.sum())} if own.any() else {})
        notes.update({REPEATED: int((~own).sum())} if not own.all() else {})
    lengths = lengths - own
    some = lengths > 0
    found = _Plan(first[some], lengths[some], ends.terminated[some], ends.truncated[some], own[some])
    return found, notes


def _steps(plan: _Plan, strip: Strip) -> Strip:
    """A column per step without the rows that are none."""
    starts, total = plan.steps, int(plan.lengths.sum())

    def read(first: int, last: int) -> Array:
        if first == last:
            return np.empty((0, *strip.row), strip.dtype)
        a, b = np.searchsorted(starts, [first, last - 1], "right") - 1
        begin, over = (
            np.maximum(starts[a : b + 1], first),
            np.minimum(starts[a : b + 1] + plan.lengths[a : b + 1], last),
        )
        index = np.arange(first, last) + np.repeat(plan.first[a : b + 1] - starts[a : b + 1], over - begin)
        return strip.at(index)

    return Strip((total, *strip.row), strip.dtype, read)


def _frames(plan: _Plan, strip: Strip, following: Strip | None) -> Strip:
    """The frames of all episodes, each with a final one: that of a row of its own, of the next frames, or repeated."""
    starts = plan.steps + np.arange(len(plan.lengths))  # [M] frames
    total = int(plan.lengths.sum()) + len(plan.lengths)

    def read(first: int, last: int) -> Array:
        if first == last:
            return np.empty((0, *strip.row), strip.dtype)
        a, b = np.searchsorted(starts, [first, last - 1], "right") - 1
        some = slice(a, b + 1)
        begin, over = np.maximum(starts[some], first), np.minimum(starts[some] + plan.lengths[some] + 1, last)
        index = np.arange(first, last) + np.repeat(plan.first[some] - starts[some], over - begin)
        final = starts[some] + plan.lengths[some]
        here = (final < last) & ~plan.own[some]
        at = final[here] - first  # where a final frame stands for which there is no row
        index[at] -= 1
        frames = strip.at(index)
        if following is not None and len(at):
            frames = np.array(frames)  # what was read may be somebody's own
            frames[at] = following.at(index[at])
        return frames

    return Strip((total, *strip.row), strip.dtype, read)


def _flags(plan: _Plan, at_ends: Array) -> Strip:
    last = plan.steps + plan.lengths - 1

    def read(first: int, last_row: int) -> Array:
        flags = np.zeros(last_row - first, np.bool_)
        a, b = np.searchsorted(last, [first, last_row])
        flags[last[a:b] - first] = at_ends[a:b]
        return flags

    return Strip((int(plan.lengths.sum()),), np.dtype(np.bool_), read)


def _discontinuities(observations: Mapping[str, Strip], following: Mapping[str, Strip]) -> Array:
    """The rows whose next observation is not what the following row observed."""
    found = np.zeros(0, np.int64)
    for path, strip in observations.items():
        after = following[path]
        if after.shape != strip.shape or after.dtype != strip.dtype:
            name = f"next {leaf_name(path)}"
            raise UserError(f"{name}: expected {strip.dtype} {strip.shape}, found {after.dtype} {after.shape}")
        breaks = [found]
        for first, piece in after.pieces():
            over = min(first + len(piece) + 1, len(strip))
            then = strip.read(first + 1, over)
            now = piece[: len(then)]
            differ = (now != then) & ~((now != now) & (then != then))
            breaks.append(np.flatnonzero(differ.any(axis=tuple(range(1, differ.ndim)))) + first)
        found = np.union1d(np.concatenate(breaks), found).astype(np.int64)
    return found


def flags(strip: Strip, name: str) -> Strip:
    """A vector of 0 and 1, whatever its type, as booleans."""
    strip = vector(strip, name)
    if strip.dtype == np.bool_:
        return strip

    def change(first: int, rows: Array) -> Array:
        bad = np.flatnonzero((rows != 0) & (rows != 1))
        if len(bad):
            raise UserError(f"{name}: row {first + bad[0]}: expected 0 or 1, found {rows[bad[0]]}")
        return rows.astype(np.bool_)

    return strip.changed(change, np.bool_)


def vector(strip: Strip, name: str) -> Strip:
    """[N] or [N, 1] as [N]."""
    if len(strip.shape) == 2 and strip.row == (1,):
        return strip.shaped()
    if len(strip.shape) != 1:
        raise UserError(f"{name}: expected one number a row, found shape {strip.shape}")
    return strip


def rewards(strip: Strip, name: str = "rewards") -> Strip:
    """One floating-point number a row."""
    strip = vector(strip, name)
    return strip if strip.dtype.kind == "f" else strip.cast(np.float64)
