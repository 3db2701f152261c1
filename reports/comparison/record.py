"""A comparison on disk: a grid of tasks and learners, filled cell by cell.

comparison.json            what is compared on what, by which command and versions, and how it ended
cells/001.json             what one learner did on one task; written once, whole
artefacts/001/…            what it left behind there: networks, logs
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import fqi
from fqi.errors import UserError
from fqi.files import lock, new_folder, refuse_existing, write_json

FORMAT, VERSION = "fqi-comparison", 1

OFFLINE = ("fqi", "run", "bc", "offline-dqn")  # learn from the log alone
ONLINE = ("dagger", "dqn", "dqn-v1", "dqn-v2")  # take environment steps or ask an expert as well
REFERENCES = ("behaviour", "random", "expert")  # learn nothing; the lines that learners are held against
KINDS = (*OFFLINE, *ONLINE, *REFERENCES)

Cell = dict[str, Any]
Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Comparison:
    """A comparison that exists. Its files are read when asked for."""

    path: Path

    # ---- birth

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        command: Sequence[str],
        seeds: int,
        episodes: int,
        seed: int,
        base: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]],
        learners: Sequence[Mapping[str, Any]],
    ) -> Comparison:
        """A new comparison without cells; the folder must not hold anything yet. It appears at once.

        `base` holds the settings of fitted Q-iteration where a learner has none of its own.
        """
        refuse_existing(path)
        record = {
            "format": FORMAT,
            "version": VERSION,
            "status": "comparing",
            "message": "",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": list(command),
            "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "gymnasium")}
            | {"fqi": fqi.__version__, "python": platform.python_version()},
            "seeds": seeds,
            "episodes": episodes,
            "seed": seed,
            "base": dict(base or {}),
            "tasks": [_TASK_DEFAULTS | dict(task) for task in tasks],
            "learners": [_LEARNER_DEFAULTS | dict(learner) for learner in learners],
        }
        _check_record(record, f"{path}/comparison.json")
        with new_folder(path) as folder:
            (folder / "cells").mkdir()
            write_json(folder / "comparison.json", record)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Comparison:
        """A comparison that exists; everything in it is checked."""
        if not path.exists():
            raise UserError(f"{path}: no such comparison; `fqi compare` makes one")
        comparison = cls(path)
        _check_record(comparison.record, f"{path}/comparison.json")
        _ = comparison.cells
        return comparison

    # ---- what it says of itself

    @property
    def record(self) -> dict[str, Any]:
        """comparison.json."""
        if not (self.path / "comparison.json").exists():
            raise UserError(f"{self.path}: not a comparison: it has no comparison.json")
        return _read(self.path / "comparison.json")

    def grid(self) -> list[tuple[str, str]]:
        """Every (task, learner) that is asked for, in order; its place is the number of its cell."""
        record = self.record
        return [
            (task["name"], learner["name"])
            for task in record["tasks"]
            for learner in record["learners"]
            if learner.get("tasks") is None or task["name"] in learner["tasks"]
        ]

    @property
    def cells(self) -> dict[tuple[str, str], Cell]:
        """What is finished, by (task, learner)."""
        record, found = self.record, {}
        for number, key in enumerate(self.grid(), start=1):
            file = self._cell_file(number)
            if file.exists():
                cell = _read(file)
                _check_cell(cell, record, str(file))
                if (cell["task"], cell["learner"]) != key:
                    raise UserError(
                        f"{file}: expected the cell of learner {key[1]!r} on task {key[0]!r}, "
                        f"found {cell['learner']!r} on {cell['task']!r}"
                    )
                found[key] = cell
        return found

    def missing(self) -> list[tuple[str, str]]:
        """Every (task, learner) that is asked for and not finished, in order."""
        return [key for number, key in enumerate(self.grid(), start=1) if not self._cell_file(number).exists()]

    # ---- growth

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For this process alone, so that two never work on one comparison."""
        folder = os.open(self.path / "cells", os.O_RDONLY)
        try:
            lock(folder, f"{self.path}: another process is working on it; wait for it to end")
            yield
        finally:
            os.close(folder)

    def artefacts(self, task: str, learner: str) -> Path:
        """The folder for what this learner leaves behind on this task; a name in it is written into its cell."""
        return self.path / "artefacts" / f"{self._number(task, learner):03d}"

    def write_cell(self, cell: Mapping[str, Any]) -> None:
        """Keep what a learner did on a task; a finished cell is never written again."""
        whole = _CELL_DEFAULTS | dict(cell)
        number = self._number(whole.get("task"), whole.get("learner"))
        file = self._cell_file(number)
        if file.exists():
            raise UserError(f"{file}: {whole['learner']!r} on {whole['task']!r} is finished already; start a new --out")
        _check_cell(whole, self.record, str(file))
        write_json(file, whole)

    def set_status(self, status: str, message: str = "") -> None:
        write_json(self.path / "comparison.json", self.record | {"status": status, "message": message})

    def _number(self, task: Any, learner: Any) -> int:
        grid = self.grid()
        if (task, learner) not in grid:
            raise UserError(f"{self.path}: it does not compare a learner {learner!r} on a task {task!r}")
        return grid.index((task, learner)) + 1

    def _cell_file(self, number: int) -> Path:
        return self.path / "cells" / f"{number:03d}.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}: expected an object, found {_short(record)}")
    return record


# ---- what is valid


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != "" and value.isprintable() and len(value) <= 500


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _positive(value: Any) -> bool:
    return _whole(value) and value > 0


def _number(value: Any) -> bool:
    """A number, or None for one that is not finite, as it is written."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _finite(value: Any) -> bool:
    return value is not None and _number(value) and math.isfinite(value)


def _object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _list_of(check: Check, least: int = 0) -> Check:
    return lambda value: isinstance(value, list | tuple) and len(value) >= least and all(map(check, value))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _inside(value: Any) -> bool:
    """A path that stays within the comparison."""
    path = PurePosixPath(value) if _text(value) else None
    return path is not None and not path.is_absolute() and ".." not in path.parts and "\\" not in value


def _numbers_by_name(value: Any) -> bool:
    return _object(value) and all(_number(v) for v in value.values())


def _point(value: Any) -> bool:
    return _numbers_by_name(value) and "return" in value and _whole(value.get("seed"))


Fields = dict[str, tuple[Check, str]]

_RECORD: Fields = {
    "status": (_text, "a text"),
    "message": (lambda v: isinstance(v, str), "a text"),
    "created": (_text, "a text"),
    "command": (_list_of(lambda v: isinstance(v, str)), "a list of texts"),
    "versions": (_object, "an object"),
    "seeds": (_positive, "a whole number above 0"),
    "episodes": (_positive, "a whole number above 0"),
    "seed": (_whole, "a whole number from 0"),
    "base": (_object, "an object"),
    "tasks": (_list_of(_object, 1), "a list of objects, at least one"),
    "learners": (_list_of(_object, 1), "a list of objects, at least one"),
}
_TASK: Fields = {
    "name": (_text, "a printable text"),
    "environment": (_object, "an object"),
    "log": (_or_none(_object), "an object or null"),
    "expert": (_or_none(_text), "a text or null"),
    "limit": (_or_none(_positive), "a whole number above 0 or null"),
    "reference_scores": (_or_none(_object), "an object or null"),
}
_LOG: Fields = {
    "reference": (_text, "a text"),
    "fingerprint": (_text, "a text"),
    "steps": (_whole, "a whole number"),
    "episodes": (_whole, "a whole number"),
    "behaviours": (_list_of(lambda v: isinstance(v, str)), "a list of texts"),
}
_SCORES: Fields = {"low": (_finite, "a finite number"), "high": (_finite, "a finite number")}
_LEARNER: Fields = {
    "name": (_text, "a printable text"),
    "kind": (lambda v: v in KINDS, "one of " + ", ".join(KINDS)),
    "settings": (_object, "an object"),
    "tasks": (_or_none(_list_of(_text)), "a list of names of tasks, or null for all"),
}
_EPISODES = (_list_of(_list_of(_number, 1), 1), "a list of numbers for each seed, none empty")
_COUNT = (_or_none(_whole), "a whole number from 0 or null")
_CELL: Fields = {
    "task": (_text, "a text"),
    "learner": (_text, "a text"),
    "kind": (lambda v: v in KINDS, "one of " + ", ".join(KINDS)),
    "seeds": (_or_none(_list_of(_whole, 1)), "a list of whole numbers or null"),
    "returns": _EPISODES,
    "discounted": (_or_none(_EPISODES[0]), _EPISODES[1] + ", or null"),
    "lengths": (_or_none(_EPISODES[0]), _EPISODES[1] + ", or null"),
    "success": (_or_none(_list_of(_list_of(lambda v: isinstance(v, bool), 1), 1)), "true or false by seed, or null"),
    "predicted": (_or_none(_EPISODES[0]), _EPISODES[1] + ", or null"),
    "steps": _COUNT,
    "rows": _COUNT,
    "queries": _COUNT,
    "updates": _COUNT,
    "network": (_or_none(lambda v: isinstance(v, str)), "a text or null"),
    "seconds": (_or_none(lambda v: _finite(v) and v >= 0), "a number from 0 or null"),
    "facts": (_list_of(_numbers_by_name), "a list of objects of numbers"),
    "curve": (_list_of(_point), "a list of objects of numbers, each with a seed and a return"),
    "artefacts": (
        lambda v: _object(v) and all(map(_inside, v.values())),
        "an object of paths inside the comparison",
    ),
}

_TASK_DEFAULTS: dict[str, Any] = {"log": None, "expert": None, "limit": None, "reference_scores": None}
_LEARNER_DEFAULTS: dict[str, Any] = {"settings": {}, "tasks": None}
_CELL_DEFAULTS: dict[str, Any] = {
    "seeds": None, "discounted": None, "lengths": None, "success": None, "predicted": None, "steps": None, "rows": None,
    "queries": None, "updates": None, "network": None, "seconds": None, "facts": [], "curve": [], "artefacts": {},
}  # fmt: skip


def _check_record(record: Mapping[str, Any], where: str) -> None:
    if record.get("format") != FORMAT:
        raise UserError(f"{where}: not a comparison: it does not say format {FORMAT!r}")
    if record.get("version") != VERSION:
        raise UserError(f"{where}: expected comparison format version {VERSION}, found {record.get('version')!r}")
    _check(record, _RECORD, where)
    for i, task in enumerate(record["tasks"], start=1):
        _check(task, _TASK, f"{where}: task {i}")
        if task["log"] is not None:
            _check(task["log"], _LOG, f"{where}: task {i}: log")
        if task["reference_scores"] is not None:
            scores = task["reference_scores"]
            _check(scores, _SCORES, f"{where}: task {i}: reference_scores")
            if not scores["low"] < scores["high"]:
                raise UserError(
                    f"{where}: task {i}: reference_scores: expected low below high, "
                    f"found {scores['low']} and {scores['high']}"
                )
    for i, learner in enumerate(record["learners"], start=1):
        _check(learner, _LEARNER, f"{where}: learner {i}")
    for what in ("task", "learner"):
        names = [entry["name"] for entry in record[f"{what}s"]]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{where}: {what} {name!r} stands there twice; every name must be unique")
    known = {task["name"] for task in record["tasks"]}
    for learner in record["learners"]:
        for name in learner["tasks"] or []:
            if name not in known:
                raise UserError(f"{where}: learner {learner['name']!r}: there is no task {name!r}")


def _check_cell(cell: Mapping[str, Any], record: Mapping[str, Any], where: str) -> None:
    _check(cell, _CELL, where)
    kind = {learner["name"]: learner["kind"] for learner in record["learners"]}.get(cell["learner"])
    if cell["kind"] != kind:
        raise UserError(f"{where}: kind: expected {kind!r} as comparison.json says, found {cell['kind']!r}")
    if (cell["seeds"] is None) != (kind in REFERENCES):
        wanted = "null for a reference line" if kind in REFERENCES else "the seed of each row"
        raise UserError(f"{where}: seeds: expected {wanted}, found {_short(cell['seeds'])}")
    rows = 1 if cell["seeds"] is None else len(cell["seeds"])
    if cell["seeds"] is not None and len(set(cell["seeds"])) < rows:
        raise UserError(f"{where}: seeds: expected each once, found {_short(cell['seeds'])}")
    for name in ("returns", "discounted", "lengths", "success", "predicted"):
        if cell[name] is None:
            continue
        if len(cell[name]) != rows:
            raise UserError(f"{where}: {name}: expected {rows} rows, one for each seed, found {len(cell[name])}")
        for own, returns in zip(cell[name], cell["returns"], strict=True):
            if len(own) != len(returns):
                raise UserError(f"{where}: {name}: expected {len(returns)} episodes as in returns, found {len(own)}")
    if cell["facts"] and len(cell["facts"]) != rows:
        raise UserError(f"{where}: facts: expected {rows}, one for each seed, found {len(cell['facts'])}")
    for point in cell["curve"]:
        if point["seed"] not in (cell["seeds"] or []):
            raise UserError(f"{where}: curve: expected a seed of this cell, found {point['seed']}")


def _check(found: Mapping[str, Any], fields: Fields, where: str) -> None:
    for name, (valid, wanted) in fields.items():
        if name not in found:
            raise UserError(f"{where}: {name}: expected {wanted}, found nothing")
        if not valid(found[name]):
            raise UserError(f"{where}: {name}: expected {wanted}, found {_short(found[name])}")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
