"""Tables, one row a step: CSV, Parquet and JSON lines, by a mapping that says which column is what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import Columns, to_log
from fqi.datasets.format import Format
from fqi.datasets.formats import jsonlines, mapping, parquet, separated, steps
from fqi.datasets.formats.mapping import Mapping
from fqi.errors import UserError
from fqi.files import replacing, write_bytes
from fqi.log import Log
from fqi.nest import Array, leaf_spaces, leaves

# By the end of the name: what reads the file.
_READERS: dict[str, ModuleType] = {
    ".csv": separated,
    ".csv.gz": separated,
    ".parquet": parquet,
    ".pq": parquet,
    ".jsonl": jsonlines,
    ".jsonl.gz": jsonlines,
    ".jsonl.bz2": jsonlines,
    ".ndjson": jsonlines,
}
SCHEMA = "schema.toml"
_WIDEST = 256  # numbers of one observation that get a column each; longer ones are lists
_ROWS = 1 << 13  # written at once


@dataclass(frozen=True)
class Named:
    """A table and, if its name says so, the mapping: `FILE.csv` or `FILE.csv@MAPPING.toml`."""

    path: Path
    schema: Path | None

    @staticmethod
    def of(reference: str) -> Named:
        head, at, tail = reference.rpartition("@")
        if at and tail.endswith(".toml") and suffix(head):
            return Named(Path(head), Path(tail))
        return Named(Path(reference), None)


def suffix(name: str) -> str:
    """The end of the name by which it is known as a table; empty if it is none."""
    return next((end for end in sorted(_READERS, key=len, reverse=True) if name.lower().endswith(end)), "")


def accepts(reference: str) -> bool:
    return bool(suffix(str(Named.of(reference).path)))


def read_table(reference: str | Path, said: dict[str, Any] | None = None) -> Log:
    """The table as a log; `said` is what the caller knows of its columns, before any mapping that lies beside it."""
    columns = _read(str(reference), said)
    if columns.head is None:
        raise UserError(f"{reference}: expected a table, found none")
    return to_log(columns.head, columns.arrays, reference)


def read_table_columns(reference: str | Path) -> Columns:
    """Whatever can be read of the table, unchecked."""
    try:
        return _read(str(reference), None)
    except UserError as error:
        return Columns(str(reference), problems={"file": str(error)})


def suggest(reference: str, said: dict[str, Any] | None = None) -> str:
    """The mapping that would be used, as TOML with comments; where nothing can be guessed, one to fill in."""
    named = Named.of(reference)
    reader = _reader(named.path)
    names, samples = reader.names(named.path)
    heading = [
        f"How {named.path.name} is read. Keep it as {beside(named.path).name} in the folder of the table, or name it:",
        f"  fqi data convert {named.path}@MAPPING.toml LOG.h5",
        "Columns, each with its first value:",
        *(f"  {name}: {samples.get(name, 'blank')[:60]!r}" for name in names[:200]),
    ]
    known = {**_known(named, reader, names)[0], **(said or {})}
    try:
        found = mapping.build(known, names, str(named.path), "the mapping")
    except UserError as error:
        heading += ["", "It is not complete yet:", f"  {str(error).partition('; `fqi')[0]}"]
        options = mapping.lenient(known, names)
        found = Mapping(options)
    return mapping.to_toml(found, samples, heading)


def beside(path: Path) -> Path:
    """The mapping of this table alone."""
    return path.with_name(path.name.removesuffix(suffix(path.name)) + "." + SCHEMA)


def _read(reference: str, said: dict[str, Any] | None) -> Columns:
    named = Named.of(reference)
    reader = _reader(named.path)
    names, _ = reader.names(named.path)
    known, where = _known(named, reader, names)
    found = mapping.build({**known, **(said or {})}, names, str(named.path), where)
    table = reader.read(named.path, steps.wanted(found))
    return steps.columns_of_table(table, found, reference)


def _reader(path: Path) -> ModuleType:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UserError(f"{path}: expected a table, found {found}")
    return _READERS[suffix(path.name)]


def _known(named: Named, reader: ModuleType, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What the mapping says: the one named, the one inside the file, or one that lies beside it."""
    if named.schema is not None:
        return mapping.from_toml(named.schema), str(named.schema)
    if reader is parquet and (text := parquet.mapping_text(named.path)) is not None:
        return mapping.from_text(text, str(named.path)), f"{named.path}: its own mapping"
    for path in (beside(named.path), named.path.with_name(SCHEMA)):
        if path.is_file():
            return mapping.from_toml(path), str(path)
    nests: dict[str, Any] = jsonlines.nests(names) if reader is jsonlines else {}
    return nests, "the command"


# Writing


def write_table(log: Log, reference: str | Path, listen: Callable[[int], None] | None = None) -> None:
    """Write the log as a table: one row a step, with the final frame of an episode beside its last step."""
    path = Path(reference)
    plan = _Plan(log)
    text = mapping.to_toml(plan.mapping(), heading=_HEADING)
    if _READERS[suffix(path.name)] is parquet:
        with replacing(path) as draft, parquet.Writer(draft, text) as writer:
            for rows in plan.slices(listen):
                cells = [column.array(rows) for column in plan.columns]
                writer.rows(plan.names, [c for c, _ in cells], [there for _, there in cells])
        return
    with replacing(path) as draft, separated.Writer(draft, path.name.lower().endswith(".gz"), plan.names) as csv:
        for rows in plan.slices(listen):
            csv.rows([column.texts(rows) for column in plan.columns])
    write_bytes(beside(path), text.encode())


_HEADING = (
    "Written by fqi beside the table, which is read back by it exactly as it was.",
    "A row is a step. Columns that begin with next_ hold the final frame of an episode, in its last row only:",
    "everywhere else the next observation is that of the following row.",
)


@dataclass(frozen=True)
class _Out:
    """A column to write: what its rows are, and where it is blank."""

    name: str
    values: Array  # [F or N or M, …] or numbers of words
    index: Array  # [N] the row of `values` that belongs to each step
    there: Array | None = None  # [N] bool
    words: tuple[str, ...] | None = None

    def array(self, rows: slice) -> tuple[Array | list[str], Array | None]:
        values = self.values[self.index[rows]]
        if self.words is not None:
            return [self.words[i] for i in values.tolist()], None
        return values, None if self.there is None else self.there[rows]

    def texts(self, rows: slice) -> list[str]:
        values, there = self.array(rows)
        found = values if isinstance(values, list) else _texts(values)
        return found if there is None else [text if t else "" for text, t in zip(found, there.tolist(), strict=True)]


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

    def __init__(self, log: Log) -> None:
        self.log = log
        self.columns: list[_Out] = []
        self._roles: dict[str, Any] = {}
        step = np.arange(log.steps)
        frame, episode = log.frame_of_step, log.episode_of_step
        self._last = np.zeros(log.steps, np.bool_)
        self._last[np.cumsum(log.lengths) - 1] = True
        self._add("episode", "episode", np.arange(log.episodes), episode)
        self._add("step", "step", step - log.starts[episode], step)
        for path, array in leaves(log.observations).items():
            self._observation(path, array, frame)
        self._vector("action", "action", log.actions, step, leaf_spaces(log.action_space)[""])
        if log.label is not None:
            self._vector("label", "label", log.label, step, leaf_spaces(log.action_space)[""])
        self._add("reward", "reward", log.rewards, step)
        self._add("termination", "terminated", log.terminations, step)
        self._add("truncation", "truncated", log.truncations, step)
        if log.propensity is not None:
            self._add("propensity", "propensity", log.propensity, step)
        if log.behaviour is not None:
            self._add("behaviour", "behaviour", log.behaviour, step, words=log.behaviours)
        if log.action_mask is not None:
            flags = log.action_mask.astype(np.int8)
            self._add("mask", "action_mask", flags, frame)
            self._add("next_mask", "next_action_mask", flags, frame + 1, self._last)
            self._roles["mask_means"] = "flags"
        if log.seeds is not None:
            self._add("seed", "seed", log.seeds, episode)
        if log.origin is not None:
            self._roles["origin"] = ["origin_0", "origin_1"]
            for i, name in enumerate(self._roles["origin"]):
                self._add("", name, log.origin[:, i], episode)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def _add(
        self, role: str, name: str, values: Array, index: Array, there: Array | None = None, words: Any = None
    ) -> None:
        self.columns.append(_Out(name, values, index, there, words))
        if role:
            self._roles[role] = name

    def _observation(self, path: str, array: Array, frame: Array) -> None:
        name = "observation" + ("." + path.replace("/", ".") if path else "")
        for role, index, there in (("observation", frame, None), ("next_observation", frame + 1, self._last)):
            full = name if role == "observation" else f"next_{name}"
            columns = self._vector("", full, array, index, None, there)
            if path:
                self._roles.setdefault(role, {})[path] = columns
            else:
                self._roles[role] = columns

    def _vector(
        self, role: str, name: str, array: Array, index: Array, space: gym.Space[Any] | None, there: Array | None = None
    ) -> list[str]:
        """A column a number, where they are few; else one of lists."""
        while any(c.name == name or c.name.startswith(f"{name}_") for c in self.columns):
            name += "'"  # since parts may be called like one another
        if array.ndim == 2 and 1 <= array.shape[1] <= _WIDEST:
            names = [f"{name}_{i}" for i in range(array.shape[1])] if array.shape[1] > 1 else [name]
            for i, column in enumerate(names):
                self.columns.append(_Out(column, array[:, i], index, there))
        else:
            names = [name]
            self.columns.append(_Out(name, array, index, there))
        if role:
            self._roles[role] = names
        return names

    def mapping(self) -> Mapping:
        log = self.log
        roles = self._roles
        said = {
            "observation_space": json.dumps(_short(spaces.to_json(log.observation_space))),
            "action_space": json.dumps(_short(spaces.to_json(log.action_space))),
            "dtypes": json.dumps({"rewards": str(log.rewards.dtype)}),
            "provenance": json.dumps(log.provenance),
        }
        if log.behaviours:
            said["behaviours"] = json.dumps(list(log.behaviours))
        if log.environment is not None:
            said["record"] = json.dumps(log.environment)
        return mapping.build({**roles, **said}, self.names, "table", "table")

    def slices(self, listen: Callable[[int], None] | None) -> Iterator[slice]:
        """Rows to write at once, few enough to be held as text."""
        widest = max(int(np.prod(column.values.shape[1:])) for column in self.columns)
        rows = max(1, _ROWS // max(1, widest // 16))
        for start in range(0, self.log.steps, rows):
            yield slice(start, min(start + rows, self.log.steps))
            if listen is not None:
                listen(min(start + rows, self.log.steps))


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


def _writes(reference: str) -> bool:
    return suffix(reference) in (".csv", ".csv.gz", ".parquet", ".pq")


FORMAT = Format("table", "FILE.csv, FILE.parquet", accepts, read_table, read_table_columns, write_table, _writes)
