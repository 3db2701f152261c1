"""The run directory: everything needed to rebuild, judge and go on with a training run.

run.json               what was trained on what, by which versions, and how it ended
config.toml            every setting, resolved
metrics.jsonl          a row for each round and member
rounds/00001.safetensors   the Q-function after each round
resume.safetensors     optimiser and generators after the last whole round
evaluations.jsonl      a row for each evaluated round and member
states.jsonl, exact.jsonl, audit.jsonl, policy_values.jsonl, films.jsonl
                       what else `fqi evaluate` measured: a row for each such round and member
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import safetensors
import safetensors.torch
import torch

import fqi
from fqi import spaces
from fqi.errors import UserError
from fqi.files import json_line, lock, new_folder, read_json_lines, write_bytes, write_json
from fqi.frames import all_on_disk
from fqi.log import Log, fingerprint
from fqi.qfunctions.contract import Fitted, QFunction
from fqi.settings import Config, read_toml, resolve

FORMAT, VERSION = "fqi-run", 1

# What others rely on in the files that are read back
_JSON_NAMES = {str: "a text", int: "a whole number", dict: "an object", list: "a list", type(None): "null"}
_RECORD: dict[str, tuple[type, ...]] = {
    "status": (str,),
    "command": (list,),
    "versions": (dict,),
    "log": (dict,),
    "environment": (dict, type(None)),
    "observation_space": (str,),
    "action_space": (str,),
}
_LOG_RECORD: dict[str, tuple[type, ...]] = {
    "reference": (str,),
    "fingerprint": (str,),
    "steps": (int,),
    "episodes": (int,),
    "provenance": (dict,),
}
_ROW = ("round", "member")  # in every row of metrics and evaluations


@dataclass(frozen=True)
class Run:
    """A run directory that exists. Its files are read when asked for."""

    path: Path

    # ---- birth

    @classmethod
    def create(cls, path: Path, config: Config, log: Log, log_reference: str, command: list[str]) -> Run:
        """A new, empty run; the folder must not hold anything yet. It appears at once, with all that it starts with."""
        with new_folder(path) as folder:
            (folder / "rounds").mkdir()
            cls(folder)._describe(config, log, log_reference, command)
        return cls(path)

    def _describe(self, config: Config, log: Log, log_reference: str, command: list[str]) -> None:
        write_bytes(self.path / "config.toml", config.toml().encode())
        write_json(self.path / "run.json", {
            "format": FORMAT,
            "version": VERSION,
            "status": "training",
            "message": "",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "versions": {name: version(name) for name in ("torch", "numpy", "gymnasium", "scikit-learn")}
            | {"fqi": fqi.__version__, "python": platform.python_version()},
            "log": {
                "reference": log_reference,
                "fingerprint": fingerprint(log),
                "memory": max((frames.memory for frames in all_on_disk(log.observations)), default=None),
                "steps": log.steps,
                "episodes": log.episodes,
                "behaviours": list(log.behaviours),
                "provenance": log.provenance,
            },
            "environment": log.environment,
            "observation_space": json.dumps(spaces.to_json(log.observation_space)),  # text: bounds may be infinite
            "action_space": json.dumps(spaces.to_json(log.action_space)),
            "masked": log.action_mask is not None,
        })  # fmt: skip

    @classmethod
    def open(cls, path: Path) -> Run:
        """A run that exists and is whole."""
        if not path.exists():
            raise UserError(f"{path}: no such run; `fqi train` makes one")
        run = cls(path)
        record = run.record
        if record.get("format") != FORMAT:
            raise UserError(f"{path}: not a run directory: run.json does not say format {FORMAT!r}")
        if record.get("version") != VERSION:
            raise UserError(f"{path}: expected run format version {VERSION}, found {record.get('version')!r}")
        run._check_record()
        return run

    # ---- what it says of itself

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        file = self.path / "run.json"
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"{self.path}: not a run directory: it has no run.json") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise UserError(f"{file}: expected an object, found {type(record).__name__}")
        return record

    def _check_record(self) -> None:
        """Every part of run.json is of the kind that others rely on."""
        record = self.record
        log = record.get("log")
        parts = [(name, record.get(name), kinds) for name, kinds in _RECORD.items()]
        if isinstance(log, dict):
            parts += [(f"log: {name}", log.get(name), kinds) for name, kinds in _LOG_RECORD.items()]
        if isinstance(record.get("environment"), dict):
            parts.append(("environment: id", record["environment"].get("id"), (str,)))
        for name, value, kinds in parts:
            if not isinstance(value, kinds):
                wanted = " or ".join(_JSON_NAMES[kind] for kind in kinds)
                raise UserError(f"{self.path}/run.json: {name}: expected {wanted}, found {_short(value)}")
        _ = self.observation_space, self.action_space

    @property
    def config(self) -> Config:
        """The resolved settings."""
        file = self.path / "config.toml"
        return resolve(read_toml(file), discrete_observations=False, where=str(file))

    @property
    def observation_space(self) -> gym.Space[Any]:
        return self._space("observation_space")

    @property
    def action_space(self) -> gym.Space[Any]:
        return self._space("action_space")

    def _space(self, name: str) -> gym.Space[Any]:
        try:
            return spaces.from_json(json.loads(self.record[name]))
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{self.path}/run.json: {name}: {error}") from None

    @property
    def rounds(self) -> list[int]:
        """The rounds that are whole, in order."""
        return sorted(int(f.stem) for f in (self.path / "rounds").glob("*.safetensors") if f.stem.isdecimal())

    def pick_round(self, number: int | None) -> int:
        """This round if it exists, or the last one."""
        rounds = self.rounds
        if not rounds:
            raise UserError(f"{self.path} has no finished round yet")
        if number is not None and number not in rounds:
            raise UserError(f"{self.path} has no round {number}; it has {rounds[0]} to {rounds[-1]}")
        return rounds[-1] if number is None else number

    def pick_member(self, number: int | None) -> int:
        """This member if it exists, or the first; of a sweep, whose members are not alike, one must be named."""
        config, members = self.config, self.config.members
        if number is None and config.sweep:
            settings = "; ".join(f"{i * config.train.seeds}: {label}" for i, label in enumerate(config.labels))
            raise UserError(
                f"{self.path} is a sweep of {len(config.labels)} settings; name a member of the one that is meant "
                f"(first member of each: {settings})"
            )
        if number is not None and number >= members:
            raise UserError(f"{self.path} has no member {number}; it has 0 to {members - 1}")
        return number or 0

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A row for each round and member."""
        return self._rows("metrics.jsonl")

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """A row for each evaluated round and member."""
        return self.measured("evaluations")

    def measured(self, name: str) -> list[dict[str, Any]]:
        """A row for each round and member of which NAME.jsonl says something."""
        return self._rows(f"{name}.jsonl")

    def _rows(self, name: str) -> list[dict[str, Any]]:
        rows = read_json_lines(self.path / name)
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or not all(isinstance(row.get(key), int) for key in _ROW):
                raise UserError(
                    f"{self.path / name}: line {number}: expected an object that names its round and member, "
                    f"found {_short(row)}"
                )
        return rows

    # ---- growth

    def lengthen(self, iterations: int) -> Config:
        """Ask for more rounds; returns the settings with them."""
        config = self.config.changed(iterations=iterations)
        write_bytes(self.path / "config.toml", config.toml().encode())
        return config

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For this process alone, so that a run is never trained twice at once."""
        folder = os.open(self.path / "rounds", os.O_RDONLY)
        try:
            lock(folder, f"{self.path}: another process is training it; wait for it to end")
            yield
        finally:
            os.close(folder)

    def set_status(self, status: str, message: str = "") -> None:
        write_json(self.path / "run.json", self.record | {"status": status, "message": message})

    def write_round(self, number: int, q: Fitted, rows: Iterable[dict[str, Any]]) -> None:
        """Keep a round. It counts once the resume file, written last, names it."""
        _write_tensors(self._round_file(number), q.checkpoint())
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        _write_tensors(self.path / "resume.safetensors", q.resume_state() | {"round": torch.tensor(number)})

    def go_back_to_last_whole_round(self, q: Fitted) -> int:
        """Give `q` the state it had after the last whole round, and drop what came later; 0: none is whole."""
        file = self.path / "resume.safetensors"
        last = 0
        if file.exists():
            tensors = _read_tensors(file)
            last = int(tensors.pop("round", torch.tensor(0)))
            self.load(q, last)
            q.restore_resume_state(tensors)
        for number in self.rounds:
            if number > last:
                self._round_file(number).unlink()
        kept = [row for row in self.metrics if row["round"] <= last]
        write_bytes(self.path / "metrics.jsonl", "".join(json_line(row) for row in kept).encode())
        for half_written in self.path.rglob(".*.part"):
            half_written.unlink()
        return last

    def add_evaluations(self, rows: list[dict[str, Any]]) -> None:
        """Keep these evaluations, in place of earlier ones of the same round and member."""
        self.keep("evaluations", rows)

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Keep these rows in NAME.jsonl, in place of earlier ones of the same round and member."""
        new = {(row["round"], row["member"]) for row in rows}
        kept = [row for row in self.measured(name) if (row["round"], row["member"]) not in new]
        merged = sorted(kept + rows, key=lambda row: (row["round"], row["member"]))
        write_bytes(self.path / f"{name}.jsonl", "".join(json_line(row) for row in merged).encode())

    # ---- the Q-function

    def build(self, device: str = "cpu", workers: int = 1) -> Fitted:
        """An untrained Q-function of this run's kind."""
        return build(self.config, self.observation_space, self.action_space, device, workers)

    def load(self, q: Fitted, number: int) -> None:
        """Give `q` the values of this round."""
        file = self._round_file(number)
        tensors = _read_tensors(file)
        try:
            q.restore(tensors)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None

    def _round_file(self, number: int) -> Path:
        return self.path / "rounds" / f"{number:05d}.safetensors"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def build(
    config: Config, observation_space: gym.Space[Any], action_space: gym.Space[Any], device: str, workers: int
) -> Fitted:
    """An untrained Q-function of this configuration."""
    extra: dict[str, Any] = {"workers": workers} if config.kind.workers else {}
    if config.sweep and config.kind.sweeps:
        heads = config.train.seeds * config.heads
        extra["each"] = [setting.regressor for setting in config.settings for _ in range(heads)]
    shown = spaces.stacked(observation_space, config.train.stack)
    if config.train.maximise == "cem":
        from fqi.maximise import Cem

        searched: Fitted = config.kind.build_continuous(
            config.regressor, shown, action_space, config.head_seeds(), torch.device(device),
            cem=Cem.of(config.train), **extra,
        )  # fmt: skip
        searched.stack = config.train.stack
        return searched
    q: QFunction = config.kind.build(
        config.regressor, shown, action_space, config.head_seeds(), torch.device(device), **extra
    )
    q.stack = config.train.stack
    if not config.asks_behaviour:
        return q
    from fqi.qfunctions.constrained import Cloned, Constrained, Counted
    from fqi.qfunctions.table import TableQ

    behaviour = Counted(q) if isinstance(q, TableQ) else Cloned(shown, action_space, config.train.seed)
    return Constrained(q, behaviour, config.train.constraint or 0.0, torch.device(device))


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    # as bytes, for the library's own writer leaves a file of a random name behind when it is killed
    write_bytes(path, safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a readable checkpoint: {error}") from None
    return tensors
