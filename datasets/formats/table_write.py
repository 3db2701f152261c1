"""Logs written as tables: one row a step, with the final frame of an episode beside its last step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fqi import spaces
from fqi.datasets.columns import leaf_name
from fqi.datasets.formats import mapping, parquet, separated
from fqi.datasets.formats.mapping import Mapping
from fqi.datasets.source import Outline, Take
from fqi.datasets.windows import Walk
from fqi.files import replacing, write_bytes
from fqi.nest import Array, leaf_spaces

_WIDEST = 256  # numbers of one observation that get a column each; longer ones are lists
_ROWS = 1 << 13  # written at once as text
_HEADING = (
    "Written by fqi beside the table, which is read back by it exactly as it was.",
    "A row is a step. Columns that begin with next_ hold the final frame of an episode, in its last row only:",
    "everywhere else the next observation is that of the following row.",
)


@contextmanager
def parquet_sink(outline: Outline, path: Path) -> Iterator[Take]:
    """Where a log becomes a Parquet file, whose groups of rows are the windows, and which carries its mapping."""
    plan = _Plan(outline)
    with replacing(path) as draft, parquet.Writer(draft, _text(plan)) as writer:

        def take(arrays: dict[str, Array]) -> None:
            rows = plan.rows(arrays)
            cells = [column.array(rows, slice(None)) for column in plan.columns]
            writer.rows(plan.names, [values for values, _ in cells], [there for _, there in cells])

        yield take


@contextmanager
def csv_sink(outline: Outline, path: Path, beside: Path) -> Iterator[Take]:
    """Where a log becomes text, and its mapping a file beside it."""
    plan = _Plan(outline)
    with replacing(path) as draft, separated.Writer(draft, path.name.lower().endswith(".gz"), plan.names) as csv:

        def take(arrays: dict[str, Array]) -> None:
            rows = plan.rows(arrays)
            for some in plan.slices(rows):
                csv.rows([column.texts(rows, some) for column in plan.columns])

        yield take
    write_bytes(beside, _text(plan).encode())


def _text(plan: _Plan) -> str:
    return mapping.to_toml(plan.mapping(), heading=_HEADING)


@dataclass(frozen=True)
class _Rows:
    """The steps of a window as rows of a table."""

    values: dict[str, Array]  # the log's columns, and what a table has beside them
    index: dict[str, Array]  # [n] by what a column is per: its row that belongs to each step
    last: Array  # [n] whether the step is the last of its episode

    def __len__(self) -> int:
        return len(self.last)


@dataclass(frozen=True)
class _Out:
    """A column to write: which column of the log, by what it is per, and which number of its rows."""

    name: str
    source: str
    per: str  # "step", "frame", or "next" for the frame after the last step, blank elsewhere
    part: int | None = None
    words: tuple[str, ...] | None = None

    def array(self, rows: _Rows, some: slice) -> tuple[Array | list[str], Array | None]:
        values = self._values(rows, rows.index[self.per][some])
        if self.words is not None:
            return [self.words[i] for i in values.tolist()], None
        return values, rows.last[some] if self.per == "next" else None

    def texts(self, rows: _Rows, some: slice) -> list[str]:
        index = rows.index[self.per][some]
        if self.per != "next":
            values = self._values(rows, index)
            return _texts(values) if self.words is None else [self.words[i] for i in values.tolist()]
        there = np.flatnonzero(rows.last[some])
        found = [""] * len(index)
        for row, text in zip(there.tolist(), _texts(self._values(rows, index[there])), strict=True):
            found[row] = text
        return found

    def _values(self, rows: _Rows, index: Array) -> Array:
        values = rows.values[self.source]
        return values[index] if self.part is None else values[index, self.part]


def _texts(values: Array) -> list[str]:
    """Numbers as text that is read back to the same bits."""
    if values.ndim > 1:
        if values.dtype == np.float32:  # as doubles, which hold it exactly
            values = values.astype(np.float64)
        return [json.dumps(row, separators=(",", ":")) for row in values.tolist()]
    if values.dtype == np.float32:
        return [f"{number:.9g}" for number in values.tolist()]
    return list(map(repr, values.tolist()))


class _Plan:
    """Which columns a log becomes."""

    def __init__(self, outline: Outline) -> None:
        self._outline, self._walk = outline, Walk(outline.lengths)
        self._shapes = {column.name: column.shape for column in outline.columns}
        self.columns: list[_Out] = []
        self._roles: dict[str, Any] = {}
        self._add("episode", "episode", "episode")
        self._add("step", "step", "step")
        for path in leaf_spaces(outline.head.observation_space):
            self._observation(path)
        self._vector("action", "action", "actions")
        if "label" in self._shapes:
            self._vector("label", "label", "label")
        self._add("reward", "reward", "rewards")
        self._add("termination", "terminated", "terminations")
        self._add("truncation", "truncated", "truncations")
        if "propensity" in self._shapes:
            self._add("propensity", "propensity", "propensity")
        if "behaviour" in self._shapes:
            self._add("behaviour", "behaviour", "behaviour", words=outline.head.behaviours)
        if "action_mask" in self._shapes:
            self._add("mask", "action_mask", "action_mask", "frame")
            self._add("next_mask", "next_action_mask", "action_mask", "next")
            self._roles["mask_means"] = "flags"
        if outline.seeds is not None:
            self._add("seed", "seed", "seeds")
        if outline.origin is not None:
            self._roles["origin"] = ["origin_0", "origin_1"]
            self.columns += [_Out(name, "origin", "step", i) for i, name in enumerate(self._roles["origin"])]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def rows(self, arrays: dict[str, Array]) -> _Rows:
        """The next window as rows."""
        steps = len(arrays["rewards"])
        frame, episode, step = (np.empty(steps, np.int64) for _ in range(3))
        last = np.zeros(steps, np.bool_)
        for part in self._walk.parts(steps):
            count = part.steps.stop - part.steps.start
            frame[part.steps] = part.frames.start + np.arange(count)
            episode[part.steps] = part.episode
            step[part.steps] = part.done + np.arange(count)
            last[part.steps.stop - 1] = part.ends
        values = {**arrays, "episode": episode, "step": step}
        if "action_mask" in arrays:
            values["action_mask"] = arrays["action_mask"].astype(np.int8)
        for name, per_episode in (("seeds", self._outline.seeds), ("origin", self._outline.origin)):
            if per_episode is not None:
                values[name] = per_episode[episode]
        index = {"step": np.arange(steps), "frame": frame, "next": np.where(last, frame + 1, frame)}
        return _Rows(values, index, last)

    def slices(self, rows: _Rows) -> Iterator[slice]:
        """Rows to write at once, few enough to be held as text."""
        widest = max(int(np.prod(shape)) for shape in self._shapes.values())
        many = max(1, _ROWS // max(1, widest // 16))
        for start in range(0, len(rows), many):
            yield slice(start, min(start + many, len(rows)))

    def _add(self, role: str, name: str, source: str, per: str = "step", words: Any = None) -> None:
        self.columns.append(_Out(name, source, per, None, words))
        self._roles[role] = name

    def _observation(self, path: str) -> None:
        name = "observation" + ("." + path.replace("/", ".") if path else "")
        for role, per in (("observation", "frame"), ("next_observation", "next")):
            full = name if role == "observation" else f"next_{name}"
            columns = self._vector("", full, leaf_name(path), per)
            if path:
                self._roles.setdefault(role, {})[path] = columns
            else:
                self._roles[role] = columns

    def _vector(self, role: str, name: str, source: str, per: str = "step") -> list[str]:
        """A column a number, where they are few; else one of lists."""
        while any(c.name == name or c.name.startswith(f"{name}_") for c in self.columns):
            name += "'"  # since parts may be called like one another
        shape = self._shapes[source]
        if len(shape) == 1 and 1 <= shape[0] <= _WIDEST:
            names = [f"{name}_{i}" for i in range(shape[0])] if shape[0] > 1 else [name]
            self.columns += [_Out(column, source, per, i) for i, column in enumerate(names)]
        else:
            names = [name]
            self.columns.append(_Out(name, source, per))
        if role:
            self._roles[role] = names
        return names

    def mapping(self) -> Mapping:
        head = self._outline.head
        rewards = self._outline.column("rewards")
        said = {
            "observation_space": json.dumps(_short(spaces.to_json(head.observation_space))),
            "action_space": json.dumps(_short(spaces.to_json(head.action_space))),
            "dtypes": json.dumps({"rewards": str(rewards.dtype if rewards else None)}),
            "provenance": json.dumps(head.provenance),
        }
        if head.behaviours:
            said["behaviours"] = json.dumps(list(head.behaviours))
        if head.environment is not None:
            said["record"] = json.dumps(head.environment)
        return mapping.build({**self._roles, **said}, self.names, "table", "table")


def _short(space: dict[str, Any]) -> dict[str, Any]:
    """The space, with one number for bounds that are alike everywhere."""
    if "subspaces" in space:
        parts = space["subspaces"]
        if isinstance(parts, dict):
            return {**space, "subspaces": {key: _short(part) for key, part in parts.items()}}
        return {**space, "subspaces": [_short(part) for part in parts]}
    found = dict(space)
    for side in ("low", "high"):
        bound = np.asarray(space[side]) if space.get("type") == "Box" else np.zeros(0)
        if bound.size and (bound == bound.reshape(-1)[0]).all():
            found[side] = bound.reshape(-1)[0].item()
    return found
