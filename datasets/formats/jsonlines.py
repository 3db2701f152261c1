"""JSON lines: a step a line, or an episode a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fqi.datasets.formats.cells import Column
from fqi.datasets.formats.texts import lines
from fqi.errors import UserError

EPISODE, STEP = "episode", "step"  # the columns that an episode a line is given, if it has none
_BLOCK = 1 << 12  # rows that are converted at once
_CELLS = 8 << 20  # characters of them at most
_DEEPEST = 16  # lists and maps within one another
_OBSERVATIONS = ("observation", "observations", "obs", "state", "states")
_REWARDS = ("reward", "rewards")
_FLAGS = (
    "termination", "terminations", "terminated", "terminal", "terminals", "is_terminal", "truncation", "truncations",
    "truncated", "timeout", "timeouts", "done", "dones",
)  # fmt: skip


def names(path: Path) -> tuple[list[str], dict[str, str]]:
    """The columns, and of each a sample."""
    for block in _blocks(path):
        first = block[0]
        return list(first), {name: json.dumps(value)[:40] for name, value in first.items() if value is not None}
    raise UserError(f"{path}: expected a JSON object a line, found an empty file")


def feed(path: Path, columns: Mapping[str, Column], most: int | None = None) -> Iterator[tuple[str, ...]]:
    """Hand the wanted columns their cells, some rows at a time, and name all columns that were seen."""
    known: dict[str, None] = {}
    for block in _blocks(path, most):
        for name, column in columns.items():
            column.values([row.get(name) for row in block])
        for row in block:
            known.update(dict.fromkeys(row))
        yield tuple(sorted(known))


def _blocks(path: Path, most: int | None = None) -> Iterator[list[dict[str, Any]]]:
    block: list[dict[str, Any]] = []
    size = 0
    for number, (value, length) in enumerate(_objects(path, most)):
        block += _steps(value, number, path)
        size += length
        if len(block) >= _BLOCK or size >= _CELLS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _objects(path: Path, most: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    """The object of every line, and how long the line is."""
    for number, line in enumerate(lines(path, most), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = str(error) if isinstance(error, ValueError) else "nested too deeply"
            raise UserError(f"{path}: line {number}: expected JSON, found {line[:40]!r} ({said})") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: line {number}: expected a JSON object, found {line[:40]!r}")
        yield value, len(line)


def _steps(value: dict[str, Any], number: int, path: Path) -> list[dict[str, Any]]:
    """The steps of one line, with parts of nests as columns of their own."""
    rewards = next((value[name] for name in _REWARDS if isinstance(value.get(name), list)), None)
    if rewards is None:
        return [_flat(value)]
    return _unrolled(value, len(rewards), number, path)


def _unrolled(value: dict[str, Any], steps: int, number: int, path: Path) -> list[dict[str, Any]]:
    """An episode as rows: lists by step, a flag for the whole in its last row, anything else in every row."""
    flat = _flat(value)
    rows: list[dict[str, Any]] = [{} for _ in range(steps)]
    for name, column in flat.items():
        observed = name.split("/")[0] in _OBSERVATIONS
        if isinstance(column, list) and (len(column) == steps or (observed and len(column) == steps + 1)):
            for row, cell in zip(rows, column, strict=False):
                row[name] = cell
            if observed:
                final = column[steps] if len(column) > steps else None
                for row in rows:
                    row[f"next_{name}"] = None
                if rows:
                    rows[-1][f"next_{name}"] = final
        elif isinstance(column, list):
            expected = f"{steps} or {steps + 1}" if observed else str(steps)
            what = f"{expected} entries for {steps} rewards"
            raise UserError(f"{path}: line {number + 1}: {name}: expected {what}, found {len(column)}")
        else:
            for i, row in enumerate(rows):
                row[name] = bool(column) and i == steps - 1 if name in _FLAGS else column
    for i, row in enumerate(rows):
        row.setdefault(EPISODE, number)
        row.setdefault(STEP, i)
    return rows


def _flat(value: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """Maps of lists or maps become columns `outer/inner`; a map of numbers stays one cell."""
    if depth > _DEEPEST:
        raise UserError(f"{before[:60]}…: maps lie more than {_DEEPEST} deep in one another")
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{before}/{key}" if before else str(key)
        if isinstance(inner, dict) and any(isinstance(part, dict | list) for part in inner.values()):
            found.update(_flat(inner, name, depth + 1))
        else:
            found[name] = inner
    return found


def nests(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The parts of nested observations among these columns, by the role that they play."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        outer, slash, inner = name.partition("/")
        if not slash:
            continue
        role = "observation" if outer in _OBSERVATIONS else ""
        role = (
            "next_observation" if outer.removeprefix("next_") in _OBSERVATIONS and outer not in _OBSERVATIONS else role
        )
        if role:
            found.setdefault(role, {})[inner] = [name]
    return found
