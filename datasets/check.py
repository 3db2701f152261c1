"""The doctor: every fault of a log, also of one that is too broken to be read as a log."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import OPTIONAL, Columns, arguments, columns_of, head_of, leaf_name
from fqi.datasets.load import load_columns
from fqi.errors import UserError
from fqi.log import Log, violations
from fqi.nest import Array, leaf_spaces, leaves

_FIRST = 10  # rows that a finding names
# Ordinary jumps are the smaller 90 %. In Gymnasium's classic control, under random and expert policies, no true step
# exceeds them more than 1.7-fold in most dimensions at once, or more than 8.2-fold in one; joined episodes do.
_ORDINARY = 0.9
_JOIN = 3.0
_SPIKE = 25.0
_JUMP_STEPS = 200  # below this many steps nobody can say what is ordinary
_MEANING = {
    "unreadable": "nothing of it can be used",
    "missing column": "a log cannot be made without it",
    "checksum": "the column was changed or damaged after it was written",
    "not finite": "one such number spoils every target and every weight it touches",
    "invariant": "targets computed from it would be wrong",
    "outside the observation space": "scaling by the declared bounds would mislead, and the environment may differ",
    "discontinuity": "such frames often come from episodes joined without an end between them, or from unit errors",
    "constant column": "it carries no information for a regression",
    "duplicate episodes": "they count twice in every average and leak from training to held-out rows",
    "never terminated": "values are then learned from bootstrapping alone: check that ends are recorded",
    "never truncated": "if the environment has a time limit, cut episodes may have been recorded as terminated",
    "propensity": "weights by importance sampling would be wrong or huge",
}


@dataclass(frozen=True)
class Finding:
    """One fault or oddity, in one place."""

    name: str
    severity: str  # "error": not a log; "warning": look at it
    column: str
    rows: tuple[int, ...]  # the first ten
    count: int
    expected: str
    found: str

    @property
    def why(self) -> str:
        """Why it matters."""
        return _MEANING[self.name]

    def __str__(self) -> str:
        where = "" if not self.rows else f" row {self.rows[0]}:" if self.count == 1 else f" {self.count} rows:"
        rows = f" (rows {', '.join(map(str, self.rows))}{', …' if self.count > len(self.rows) else ''})"
        return (
            f"{self.severity}: {self.name}: {self.column}:{where} expected {self.expected}, found {self.found}"
            f"{rows if self.count > 1 and self.rows else ''}; {self.why}"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rows": list(self.rows), "why": self.why}


def check(subject: str | Path | Columns | Log) -> list[Finding]:
    """Every finding, errors first. A name is loaded leniently; it is an error only if there is nothing of that name."""
    if isinstance(subject, Log):
        columns = Columns("log", head_of(subject), columns_of(subject))
    else:
        columns = subject if isinstance(subject, Columns) else load_columns(subject)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = [*_reading(columns), *_contents(columns)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _error(name: str, column: str, expected: str, found: object, rows: Array | None = None) -> Finding:
    return _finding("error", name, column, expected, found, rows)


def _finding(
    severity: str,
    name: str,
    column: str,
    expected: str,
    found: object,
    rows: Array | None = None,
    count: int | None = None,
) -> Finding:
    first = () if rows is None else tuple(int(row) for row in rows[:_FIRST])
    return Finding(name, severity, column, first, count or (1 if rows is None else len(rows)), expected, str(found))


def _reading(columns: Columns) -> Iterator[Finding]:
    for name, problem in columns.problems.items():
        yield _error("unreadable", name, "something that can be read", problem.removeprefix(f"{columns.source}: "))
    for name, (recorded, found) in columns.checksums.items():
        if recorded == -1:
            yield _error("checksum", name, "a recorded checksum", "none")
        elif recorded != found:
            yield _error("checksum", name, f"{recorded & 0xFFFFFFFF:08x}", f"{found:08x}")


def _contents(columns: Columns) -> Iterator[Finding]:
    log = None
    if columns.head is not None:
        try:
            log = _unchecked(columns)
        except UserError as error:
            if "file" not in columns.problems:
                yield _error("missing column", "log", "every column of a log", error)
    if log is None:
        yield from _nonfinite(columns)
        return
    if log.lengths.size == 0:
        yield _error("invariant", "lengths", "at least one episode", "none")
        return
    for violation in violations(log):
        name = "not finite" if violation.expected == "finite numbers" else "invariant"
        rows, count = violation.rows, violation.count
        yield _finding("error", name, violation.column, violation.expected, violation.found, rows, count)
    if _structure_holds(log):
        yield from _oddities(log)
    else:
        yield from _nonfinite(columns)


def _unchecked(columns: Columns) -> Log:
    """A log whose birth was not checked."""
    assert columns.head is not None
    log = object.__new__(Log)
    for name, value in {**dict.fromkeys(OPTIONAL), **arguments(columns.head, columns.arrays)}.items():
        object.__setattr__(log, name, value)
    return log


def _structure_holds(log: Log) -> bool:
    """Whether rows can be told apart into episodes, so that the oddities can be looked for."""
    if log.lengths.ndim != 1 or log.lengths.dtype.kind != "i" or not len(log.lengths) or log.lengths.min() < 1:
        return False
    steps = int(log.lengths.sum())
    frames = steps + len(log.lengths)
    per_step = (log.actions, log.rewards, log.terminations, log.truncations)
    return all(a.ndim and len(a) == steps for a in per_step) and all(
        array.shape == (frames, *(space.shape or ()))
        for array, space in zip(
            leaves(log.observations).values(), leaf_spaces(log.observation_space).values(), strict=True
        )
    )


def _flat(array: Array) -> Array:
    """[rows, everything else], also where there are no rows."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _nonfinite(columns: Columns) -> Iterator[Finding]:
    for name, array in columns.arrays.items():
        if array.dtype.kind == "f" and array.ndim:
            bad = ~_flat(np.isfinite(array)).all(axis=1)
            if bad.any():
                rows = np.flatnonzero(bad)
                yield _error("not finite", name, "finite numbers", array[rows[0]], rows)


def _oddities(log: Log) -> Iterator[Finding]:
    for path, space in leaf_spaces(log.observation_space).items():
        yield from _outside(leaf_name(path), leaves(log.observations)[path], space)
    yield from _outside_actions(log)
    yield from _discontinuities(log)
    yield from _constants(log)
    yield from _duplicates(log)
    yield from _ends(log)
    yield from _propensities(log)


def _outside(name: str, array: Array, space: gym.Space[Any]) -> Iterator[Finding]:
    low, high = _bounds(space)
    if low is None or not array.size:
        return
    if bool((array.min(axis=0) >= low).all() and (array.max(axis=0) <= high).all()):
        return
    bad = _flat((array < low) | (array > high)).any(axis=1)
    if bad.any():
        rows = np.flatnonzero(bad)
        yield _finding("warning", "outside the observation space", name, f"values inside {space}", array[rows[0]], rows)


def _bounds(space: gym.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, gym.spaces.Box):
        return space.low, space.high
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, gym.spaces.MultiBinary):
        return 0, 1
    return None, None


def _outside_actions(log: Log) -> Iterator[Finding]:
    """Actions of the spaces that the birth of a log does not look into."""
    space, actions = log.action_space, log.actions
    if isinstance(space, gym.spaces.MultiDiscrete | gym.spaces.MultiBinary) and actions.shape[1:] == space.shape:
        low, high = _bounds(space)
        rows = np.flatnonzero(_flat((actions < low) | (actions > high)).any(axis=1))
        if len(rows):
            yield _error("invariant", "actions", f"values inside {space}", actions[rows[0]], rows)


def _discontinuities(log: Log) -> Iterator[Finding]:
    """Frames that lie much further from the one before than the ordinary steps of the same column ever do."""
    if log.steps < _JUMP_STEPS:
        return
    frame = log.frame_of_step
    for path, array in leaves(log.observations).items():
        if array.dtype.kind != "f" or array.ndim > 2 or not array.size:
            continue  # discrete states and pixels jump by nature
        flat = _flat(array).astype(np.float64)
        jump = np.abs(flat[frame + 1] - flat[frame])  # [N, D]
        ordinary = np.quantile(jump, _ORDINARY, axis=0)  # [D]
        ratio = np.divide(jump, ordinary, out=np.zeros_like(jump), where=ordinary > 0)
        ratio = np.nan_to_num(ratio, nan=0.0)
        most = -np.sort(-ratio, axis=1)[:, ratio.shape[1] // 2]  # [N] exceeded in more than half of the dimensions
        bad = ratio.max(axis=1) > _SPIKE
        if ratio.shape[1] > 1:
            bad |= most > _JOIN
        if bad.any():
            rows = frame[bad] + 1
            worst = int(np.argmax(ratio[bad][0]))
            found = f"a jump of {jump[bad][0][worst]:.4g} in dimension {worst} to frame {rows[0]}"
            expected = f"jumps of ordinary size ({_ORDINARY:.0%} are below {ordinary[worst]:.4g})"
            yield _finding("warning", "discontinuity", leaf_name(path), expected, found, rows)


def _constants(log: Log) -> Iterator[Finding]:
    if log.steps < 2:
        return
    for path, array in leaves(log.observations).items():
        flat = _flat(array)
        if flat.shape[1] == 0 or flat.shape[1] > 1024:  # borders of images are constant by nature
            continue
        constant = np.flatnonzero((flat == flat[0]).all(axis=0))
        if len(constant):
            dimensions = ", ".join(map(str, constant[:_FIRST]))
            found = (
                f"always {flat[0][constant[0]]} in dimension {dimensions}" if array.ndim > 1 else f"always {flat[0][0]}"
            )
            yield _finding("warning", "constant column", leaf_name(path), "values that vary", found)
    flat = _flat(log.actions)
    if flat.shape[1] and (flat == flat[0]).all():
        yield _finding("warning", "constant column", "actions", "more than one action", f"always {log.actions[0]}")


def _duplicates(log: Log) -> Iterator[Finding]:
    """Episodes that equal an earlier one in every frame, action and reward."""
    seen: dict[tuple[Any, ...], int] = {}
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
            seen[key] = episode
    # Short episodes of small discrete problems repeat by nature; only a log of numbers should not.
    discrete = all(array.dtype.kind in "iub" for array in leaves(log.observations).values())
    if repeated and not discrete:
        rows = np.array(repeated)
        yield _finding(
            "warning", "duplicate episodes", "episodes", "episodes that differ", f"{len(rows)} repeats", rows
        )


def _ends(log: Log) -> Iterator[Finding]:
    if log.episodes < 2:
        return
    if not log.terminations.any():
        expected = "some terminated episode"
        yield _finding(
            "warning", "never terminated", "terminations", expected, f"{log.episodes} episodes, all truncated"
        )
    limit = (log.environment or {}).get("max_episode_steps")
    if not log.truncations.any() and isinstance(limit, int) and int(log.lengths.max()) >= limit:
        found = f"none, though episodes reach the limit of {limit} steps"
        yield _finding("warning", "never truncated", "truncations", "some truncated episode", found)


def _propensities(log: Log) -> Iterator[Finding]:
    if log.propensity is None or log.propensity.shape != (log.steps,) or isinstance(log.action_space, gym.spaces.Box):
        return
    tiny = np.flatnonzero((log.propensity > 0) & (log.propensity < 1e-6))
    if len(tiny):
        yield _finding(
            "warning", "propensity", "propensity", "probabilities of at least 1e-6", log.propensity[tiny[0]], tiny
        )
