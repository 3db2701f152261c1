"""A log: episodes as columns, checked once at birth, then read-only."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.frames import Frames, frames_on_disk, pieces
from fqi.nest import Array, Nest, apply, leaf_spaces, leaves, take


@dataclass(frozen=True)
class Violation:
    """One broken invariant: where, what was expected, what was found."""

    column: str
    rows: Array  # the first rows (steps, frames or episodes) that break it, at most ten
    count: int  # how many break it in all
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"row {self.rows[0]}" if self.count == 1 else f"{self.count} rows (first: {self.rows[0]})"
        return f"{self.column}: {where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, eq=False)
class Log:
    """Episodes back to back. N steps in M episodes have F = N + M frames.

    The frame after step i of episode m is frame i + m + 1: always the next one.
    """

    observations: Nest  # [F, *observation], or a nest of such arrays; or `Frames` that lie on disk
    actions: Array  # [N, *action]
    rewards: Array  # [N] float
    terminations: Array  # [N] bool: the episode ended in a state of value 0
    truncations: Array  # [N] bool: the episode was cut there; its final frame still has a value
    lengths: Array  # [M] int64: steps of each episode
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    propensity: Array | None = None  # [N] float64: probability with which the behaviour took the logged action
    behaviour: Array | None = None  # [N] int32: which of `behaviours` acted
    behaviours: tuple[str, ...] = ()
    label: Array | None = None  # [N, *action] the action that an expert, asked for this step's frame, would have taken
    action_mask: Array | None = None  # [F, A] bool: which actions were legal in each frame
    seeds: Array | None = None  # [M] int64: reset seed of each episode, -1 where unknown
    origin: Array | None = None  # [M, 2] int64: slot and tick of each beginning, or source and episode there
    environment: dict[str, Any] | None = None  # {"id", "kwargs", "max_episode_steps"}: JSON values only
    provenance: dict[str, Any] = field(default_factory=dict)  # how it came to be: JSON values only

    def __post_init__(self) -> None:
        for violation in violations(self):
            raise UserError(str(violation))
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, np.ndarray | dict) and column.name not in ("environment", "provenance"):
                object.__setattr__(self, column.name, apply(_frozen, value))

    @property
    def steps(self) -> int:
        return len(self.rewards)

    @property
    def episodes(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> Array:
        """[M] index of each episode's first step."""
        return np.concatenate(([0], np.cumsum(self.lengths)[:-1])) if len(self.lengths) else self.lengths

    @property
    def episode_of_step(self) -> Array:
        """[N] the episode that each step belongs to."""
        return np.repeat(np.arange(self.episodes), self.lengths)

    @property
    def frame_of_step(self) -> Array:
        """[N] the frame in which each step's action was taken; the frame it led to is the next one."""
        return np.arange(self.steps) + self.episode_of_step

    @property
    def start_frames(self) -> Array:
        """[M] the first frame of each episode."""
        return self.starts + np.arange(self.episodes)

    @property
    def returns(self) -> Array:
        """[M] undiscounted return of each episode."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.starts) if self.episodes else np.zeros(0)

    def episode(self, index: int) -> slice:
        """The steps of one episode."""
        start = int(self.starts[index])
        return slice(start, start + int(self.lengths[index]))

    def select(self, episodes: Array) -> Log:
        """The log of these episodes alone, in the given order."""
        episodes = np.asarray(episodes, dtype=np.int64)
        steps = _ranges(self.starts[episodes], self.lengths[episodes])
        frames = _ranges(self.start_frames[episodes], self.lengths[episodes] + 1)

        def some(column: Array | None, index: Array) -> Array | None:
            return None if column is None else column[index]

        return Log(
            observations=take(self.observations, frames),
            actions=self.actions[steps],
            rewards=self.rewards[steps],
            terminations=self.terminations[steps],
            truncations=self.truncations[steps],
            lengths=self.lengths[episodes],
            observation_space=self.observation_space,
            action_space=self.action_space,
            propensity=some(self.propensity, steps),
            behaviour=some(self.behaviour, steps),
            behaviours=self.behaviours,
            label=some(self.label, steps),
            action_mask=some(self.action_mask, frames),
            seeds=some(self.seeds, episodes),
            origin=some(self.origin, episodes),
            environment=self.environment,
            provenance=self.provenance,
        )


def fingerprint(log: Log) -> str:
    """Eight hexadecimal digits that change when any value of any column does."""
    checksum = 0
    for column in fields(log):
        value = getattr(log, column.name)
        if isinstance(value, np.ndarray | dict | Frames) and column.name not in ("environment", "provenance"):
            for path, array in leaves(value).items():  # type: ignore[arg-type]
                checksum = zlib.crc32(f"{column.name}/{path} {array.dtype} {array.shape}".encode(), checksum)
                for _, piece in pieces(array):
                    checksum = zlib.crc32(np.ascontiguousarray(piece).data, checksum)
    return f"{checksum:08x}"


def _frozen(array: Array) -> Array:
    if frames_on_disk(array) is not None:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _ranges(starts: Array, lengths: Array) -> Array:
    """The concatenation of arange(start, start + length)."""
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    return np.asarray(np.arange(int(lengths.sum())) + offsets)


def violations(log: Log) -> Iterator[Violation]:
    """Every invariant that the columns break, the structural ones first: later checks trust the earlier ones."""
    broken = False
    for violation in _shape_violations(log):
        broken = True
        yield violation
    if broken:
        return
    yield from _flag_violations(log)
    yield from _value_violations(log)


def _violation(column: str, bad: Array, expected: str, values: Array) -> Iterator[Violation]:
    rows = np.flatnonzero(bad)
    if len(rows):
        yield Violation(column, rows[:10], len(rows), expected, str(values[rows[0]]))


def _shape_violations(log: Log) -> Iterator[Violation]:
    def wrong(column: str, expected: str, found: object) -> Violation:
        return Violation(column, np.zeros(1, np.int64), 1, expected, str(found))

    if log.lengths.ndim != 1 or log.lengths.dtype.kind != "i":
        yield wrong("lengths", "a vector of integers", f"{log.lengths.dtype} {log.lengths.shape}")
        return
    yield from _violation("lengths", log.lengths < 1, "at least one step in every episode", log.lengths)
    steps, episodes = int(log.lengths.sum()), len(log.lengths)
    frames = steps + episodes
    spaces = leaf_spaces(log.observation_space)
    arrays = leaves(log.observations)
    if list(spaces) != list(arrays):
        yield wrong("observations", f"the leaves {list(spaces)} of {log.observation_space}", list(arrays))
        return
    for path, space in spaces.items():
        name, array = f"observations/{path}".rstrip("/"), arrays[path]
        expected = (frames, *(space.shape or ()))
        if array.shape != expected:
            yield wrong(name, f"shape {expected} (one frame more than steps in every episode)", array.shape)
        elif array.dtype != space.dtype:
            yield wrong(name, f"dtype {space.dtype} of {space}", array.dtype)
    for name, chosen in _chosen(log).items():
        if chosen.shape != (steps, *(log.action_space.shape or ())):
            yield wrong(name, f"shape {(steps, *(log.action_space.shape or ()))}", chosen.shape)
    columns: list[tuple[str, str, int]] = [("rewards", "f", steps), ("terminations", "b", steps)]
    columns += [("truncations", "b", steps), ("propensity", "f", steps), ("behaviour", "i", steps)]
    columns += [("seeds", "i", episodes)]
    if log.origin is not None and (log.origin.shape != (episodes, 2) or log.origin.dtype.kind != "i"):
        yield wrong("origin", f"integers of shape {(episodes, 2)}", f"{log.origin.dtype} {log.origin.shape}")
    kinds = {"f": "floating-point", "b": "boolean", "i": "integer"}
    for name, kind, length in columns:
        column = getattr(log, name)
        if column is None:
            continue
        if column.shape != (length,):
            yield wrong(name, f"shape {(length,)}", column.shape)
        elif column.dtype.kind != kind:
            yield wrong(name, f"{kinds[kind]} values", column.dtype)
    if log.action_mask is not None:
        if not isinstance(log.action_space, gym.spaces.Discrete):
            yield wrong("action_mask", "a Discrete action space", log.action_space)
        elif log.action_mask.shape != (frames, int(log.action_space.n)) or log.action_mask.dtype != np.bool_:
            expected_mask = f"bool {(frames, int(log.action_space.n))}"
            yield wrong("action_mask", expected_mask, f"{log.action_mask.dtype} {log.action_mask.shape}")


def _flag_violations(log: Log) -> Iterator[Violation]:
    # The common case, nothing wrong, is found by counting; arrays of flags are made only to say where.
    last = np.cumsum(log.lengths) - 1  # [M]
    for name in ("terminations", "truncations"):
        flags = getattr(log, name)
        if np.count_nonzero(flags) != np.count_nonzero(flags[last]):
            inside = flags.copy()
            inside[last] = False
            yield from _violation(name, inside, "no end inside an episode", flags)
    ended = log.terminations[last] | log.truncations[last]
    if not ended.all():
        rows = last[~ended]
        expected = "every episode's last step to be terminated or truncated"
        yield Violation("truncations", rows[:10], len(rows), expected, "False")


def _value_violations(log: Log) -> Iterator[Violation]:
    for path, array in leaves(log.observations).items():
        if array.dtype.kind == "f":
            name = f"observations/{path}".rstrip("/")
            yield from _anywhere(array, partial(_nonfinite, name))
    for path, space in leaf_spaces(log.observation_space).items():
        bounds = _integer_bounds(space)
        if bounds is not None:
            name, array = f"observations/{path}".rstrip("/"), leaves(log.observations)[path]
            low, high = bounds
            expected = f"integers from {low} to {high}"
            yield from _anywhere(array, partial(_outside, name, low=low, high=high, expected=expected))
    yield from _nonfinite("rewards", log.rewards)
    for name, chosen in _chosen(log).items():
        yield from _action_violations(log, name, chosen)
    if log.propensity is not None:
        density = isinstance(log.action_space, gym.spaces.Box)  # which may exceed 1
        low, high = np.nextafter(0, 1, dtype=log.propensity.dtype), np.finfo(log.propensity.dtype).max
        yield from _outside("propensity", log.propensity, low, high if density else 1, "probabilities in (0, 1]")
    if log.behaviour is not None:
        expected = f"an index into {list(log.behaviours)}"
        yield from _outside("behaviour", log.behaviour, 0, len(log.behaviours) - 1, expected)


def _anywhere(array: Array, check: Callable[[Array], Iterator[Violation]]) -> Iterator[Violation]:
    """What the check finds in an array, or in frames on disk piece by piece."""
    found = [(first, violation) for first, piece in pieces(array) for violation in check(piece)]
    if found:
        rows = np.concatenate([first + violation.rows for first, violation in found])[:10]
        yield replace(found[0][1], rows=rows, count=sum(violation.count for _, violation in found))


def _nonfinite(name: str, array: Array) -> Iterator[Violation]:
    # One sum finds the common case, all finite, without an array of flags the size of the data.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float32 if array.dtype == np.float16 else None)):
            return
    bad = np.asarray(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    yield from _violation(name, bad, "finite numbers", array)


def _outside(name: str, values: Array, low: Any, high: Any, expected: str) -> Iterator[Violation]:
    # The extremes of pieces that fit the processor's cache find the common case; NaN is outside, it compares false.
    pieces = (values[i : i + (1 << 16)] for i in range(0, len(values), 1 << 16))
    if not all((piece.min(0) >= low).all() and (piece.max(0) <= high).all() for piece in pieces):
        inside = (values >= low) & (values <= high)
        yield from _violation(name, ~inside.reshape(len(values), -1).all(axis=1), expected, values)


def _integer_bounds(space: gym.Space[Any]) -> tuple[Any, Any] | None:
    """The least and the greatest value of a space of integers: each stands for something, others for nothing."""
    match space:
        case gym.spaces.Discrete():
            return space.start, space.start + space.n - 1
        case gym.spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
        case gym.spaces.MultiBinary():
            return 0, 1
    return None


def _chosen(log: Log) -> dict[str, Array]:
    """The columns that hold actions."""
    return {"actions": log.actions} | ({} if log.label is None else {"label": log.label})


def _action_violations(log: Log, name: str, actions: Array) -> Iterator[Violation]:
    space = log.action_space
    bounds = _integer_bounds(space)
    if bounds is not None:
        low, high = bounds
        if actions.dtype.kind not in "iu":
            yield Violation(name, np.zeros(1, np.int64), 1, f"integers of {space}", str(actions.dtype))
            return
        unknown = list(_outside(name, actions, low, high, f"integers from {low} to {high}"))
        yield from unknown
        if log.action_mask is not None and not unknown:
            legal = log.action_mask[log.frame_of_step, actions - low]
            yield from _violation(name, ~legal, "an action that the mask allows", actions)
    elif isinstance(space, gym.spaces.Box):
        flat = actions.reshape(len(actions), space.low.size)
        yield from _nonfinite(name, actions)
        outside = np.asarray(((flat < space.low.reshape(-1)) | (flat > space.high.reshape(-1))).any(axis=1))
        if outside.any():  # infinity was named above
            outside &= np.isfinite(flat).all(axis=1)
        yield from _violation(name, outside, f"values inside {space}", actions)
