"""A log taken apart: its head (what is not an array) and its columns, flat and by name. All formats speak in these."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, leaf_spaces, leaves, unflatten

Per = Literal["frame", "step", "episode"]

REQUIRED = ("actions", "rewards", "terminations", "truncations", "lengths")
OPTIONAL = ("propensity", "behaviour", "label", "action_mask", "seeds", "origin")
_PER: dict[str, Per] = {"action_mask": "frame", "lengths": "episode", "seeds": "episode", "origin": "episode"}


@dataclass(frozen=True)
class Head:
    """What a log says about itself beside its columns."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    behaviours: tuple[str, ...] = ()
    environment: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "observation_space": spaces.to_json(self.observation_space),
            "action_space": spaces.to_json(self.action_space),
            "behaviours": list(self.behaviours),
            "environment": self.environment,
            "provenance": self.provenance,
        }

    @staticmethod
    def from_json(value: Any) -> Head:
        if not isinstance(value, dict) or not {"observation_space", "action_space"} <= set(value):
            raise UserError(f"expected a header with observation_space and action_space, found {str(value)[:80]!r}")
        environment, provenance = value.get("environment"), value.get("provenance", {})
        behaviours = value.get("behaviours", [])
        if not (environment is None or isinstance(environment, dict)) or not isinstance(provenance, dict):
            raise UserError("expected environment and provenance to be JSON objects in the header")
        if not isinstance(behaviours, list) or not all(isinstance(name, str) for name in behaviours):
            raise UserError(f"expected behaviours to be a list of names in the header, found {str(behaviours)[:80]!r}")
        return Head(
            observation_space=spaces.from_json(value["observation_space"]),
            action_space=spaces.from_json(value["action_space"]),
            behaviours=tuple(behaviours),
            environment=environment,
            provenance=provenance,
        )

    def noting(self, **notes: Any) -> Head:
        """The same head with more said in its provenance."""
        return replace(self, provenance={**self.provenance, **notes})


@dataclass(frozen=True)
class Column:
    """One column: its name in the file, and what one row of it is."""

    name: str  # `observations`, `observations/camera/left`, `rewards`, …
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of one row
    per: Per

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, steps: int, episodes: int) -> int:
        """Rows of the whole column."""
        return {"frame": steps + episodes, "step": steps, "episode": episodes}[self.per]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype.str, "shape": list(self.shape), "per": self.per}

    @staticmethod
    def from_json(value: Any) -> Column:
        per, dtype = value["per"], np.dtype(str(value["dtype"]))
        shape = tuple(int(extent) for extent in value["shape"])
        if per not in ("frame", "step", "episode") or dtype.kind not in "biuf" or any(extent < 0 for extent in shape):
            raise UserError(f"expected a column of numbers per frame, step or episode, found {value}")
        return Column(str(value["name"]), dtype, shape, per)


def step_columns(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    *,
    propensity: bool = False,
    behaviour: bool = False,
    action_mask: bool = False,
    rewards: str = "float64",
) -> tuple[Column, ...]:
    """The columns, per frame and per step, that logs of these spaces have."""
    columns = [
        Column(leaf_name(path), np.dtype(space.dtype), tuple(space.shape or ()), "frame")
        for path, space in leaf_spaces(observation_space).items()
    ]
    columns += [Column("actions", np.dtype(action_space.dtype), tuple(action_space.shape or ()), "step")]
    columns += [Column("rewards", np.dtype(rewards), (), "step")]
    columns += [Column(name, np.dtype(np.bool_), (), "step") for name in ("terminations", "truncations")]
    columns += [Column("propensity", np.dtype(np.float64), (), "step")] if propensity else []
    columns += [Column("behaviour", np.dtype(np.int32), (), "step")] if behaviour else []
    if action_mask:
        actions = int(action_space.n) if isinstance(action_space, gym.spaces.Discrete) else 0
        columns += [Column("action_mask", np.dtype(np.bool_), (actions,), "frame")]
    return tuple(columns)


def leaf_name(path: str) -> str:
    """The column that holds one leaf of the observations."""
    return f"observations/{path}" if path else "observations"


def per(name: str) -> Per:
    """What a row of the column belongs to."""
    return "frame" if name.split("/")[0] == "observations" else _PER.get(name, "step")


def head_of(log: Log) -> Head:
    return Head(log.observation_space, log.action_space, log.behaviours, log.environment, log.provenance)


def columns_of(log: Log) -> dict[str, Array]:
    """Every column of the log by its name."""
    found = {leaf_name(path): array for path, array in leaves(log.observations).items()}
    found.update({name: getattr(log, name) for name in (*REQUIRED, *OPTIONAL) if getattr(log, name) is not None})
    return found


def arguments(head: Head, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """What a Log is made of; a column that is missing is a UserError."""
    paths = leaf_spaces(head.observation_space)
    missing = [name for name in [*map(leaf_name, paths), *REQUIRED] if name not in arrays]
    if missing:
        raise UserError(f"expected the column {missing[0]}, found only {sorted(arrays)}")
    return {
        "observations": unflatten({path: arrays[leaf_name(path)] for path in paths}),
        **{name: arrays[name] for name in REQUIRED},
        **{name: arrays[name] for name in OPTIONAL if name in arrays},
        "observation_space": head.observation_space,
        "action_space": head.action_space,
        "behaviours": head.behaviours,
        "environment": head.environment,
        "provenance": head.provenance,
    }


def to_log(head: Head, arrays: Mapping[str, Array], source: object) -> Log:
    """The log of these columns, with the source's name before anything that its birth finds wrong."""
    if "lengths" in arrays and not arrays["lengths"].size:
        raise UserError(f"{source}: expected at least one episode, found no episode")
    try:
        return Log(**arguments(head, arrays))
    except UserError as error:
        raise UserError(f"{source}: {error}; `fqi data check {source}` lists every fault") from error


@dataclass
class Columns:
    """What could be read of a log that may be broken: for the doctor, who must not be refused."""

    source: str
    head: Head | None = None
    arrays: dict[str, Array] = field(default_factory=dict)
    checksums: dict[str, tuple[int, int]] = field(default_factory=dict)  # column: recorded, found
    problems: dict[str, str] = field(default_factory=dict)  # column, or "file": what could not be read


def dump_json(value: Any) -> bytes:
    """JSON text of a header."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        raise UserError(f"environment and provenance must hold JSON values only, found {error}") from error
