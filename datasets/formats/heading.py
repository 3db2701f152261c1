"""Spaces for files that do not state them: those of the named environment, or careful guesses from the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import Head, leaf_name
from fqi.datasets.formats.reference import Reference
from fqi.datasets.strips import Strip
from fqi.environments.make import environment_record, make_single
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

_MOST_ACTIONS = 1 << 16  # a greater number is no action but something else


def environment(reference: Reference) -> dict[str, Any] | None:
    """The record of the environment that the name states."""
    if reference.environment is None:
        return None
    record = environment_record(reference.environment, trusted=True)
    limit = reference.max_episode_steps
    return record if limit is None else {**record, "max_episode_steps": limit}


def limit(reference: Reference, record: dict[str, Any] | None) -> int | None:
    """The time limit of an episode, as far as it is known."""
    found = reference.max_episode_steps
    return found if found is not None else (record or {}).get("max_episode_steps")


def with_head(
    strips: Mapping[str, Strip],
    record: dict[str, Any] | None,
    provenance: dict[str, Any],
    notes: dict[str, int],
    observation_from_data: bool = False,
) -> tuple[Head, dict[str, Strip]]:
    """The head of a log of these columns, and the columns as its spaces want them.

    `observation_from_data` is for files that hold other frames than the environment gives.
    """
    strips, notes = dict(strips), dict(notes)
    observation_space, action_space = _of_environment(record)
    guessed = {}
    if observation_space is None or observation_from_data:
        observation_space = _guess_observations(strips)
        guessed["observation_space"] = str(observation_space)
    else:
        observation_space = _fitted(observation_space, strips, "observations", notes)
    if action_space is None:
        action_space = _guess_actions(strips)
        guessed["action_space"] = str(action_space)
    else:
        action_space = _fitted(action_space, strips, "actions", notes)
    said = {**provenance, **({"guessed": guessed} if guessed else {}), **({"notes": notes} if notes else {})}
    return Head(observation_space, action_space, (), record, said), strips


def _of_environment(record: dict[str, Any] | None) -> tuple[gym.Space[Any] | None, gym.Space[Any] | None]:
    if record is None:
        return None, None
    env = make_single(record, trusted=True)
    found = env.observation_space, env.action_space
    env.close()
    return found


def _guess_observations(strips: dict[str, Strip]) -> gym.Space[Any]:
    names = [name for name in strips if name.split("/")[0] == "observations"]
    if names == ["observations"]:
        return _guess(strips, "observations")
    return gym.spaces.Dict([(name.removeprefix("observations/"), _guess(strips, name)) for name in names])


def _guess(strips: dict[str, Strip], name: str) -> gym.Space[Any]:
    """A space that the values of one column lie in."""
    strip, shape = strips[name], strips[name].row
    dtype: Any = strip.dtype.type
    if strip.dtype.kind == "f":
        return gym.spaces.Box(-np.inf, np.inf, shape, dtype)
    if strip.dtype.kind == "b":
        strips[name] = strip.cast(np.int8)
        return gym.spaces.Box(0, 1, shape, np.int8)
    if not shape:
        strips[name] = strip.cast(np.int64)
        found = _discrete(*_bounds(strips[name], name))
        return found if found is not None else gym.spaces.Box(-(2**63), 2**63 - 1, (), np.int64)
    bounds = np.iinfo(strip.dtype)
    return gym.spaces.Box(bounds.min, bounds.max, shape, dtype)


def _guess_actions(strips: dict[str, Strip]) -> gym.Space[Any]:
    strip = strips["actions"]
    if strip.dtype.kind == "f":
        return gym.spaces.Box(-np.inf, np.inf, strip.row, strip.dtype.type)
    if strip.dtype.kind == "b" and strip.row not in ((), (1,)):
        strips["actions"] = strip.cast(np.int8)
        return gym.spaces.MultiBinary(strip.row if len(strip.row) > 1 else strip.row[0])
    if strip.row in ((), (1,)):
        strips["actions"] = strip = strip.shaped().cast(np.int64)
        least, most = _bounds(strip, "actions")
        found = _discrete(least, most)
        if found is None:
            raise UserError(
                f"actions: expected numbers of actions below {_MOST_ACTIONS}, found {least} to {most}; name the "
                "environment by ?env=ID"
            )
        return found
    low, high = _bounds(strip, "actions")
    if (low < 0).any() or (high >= _MOST_ACTIONS).any():
        raise UserError("actions: expected numbers of actions from 0, found others; name the environment by ?env=ID")
    strips["actions"] = strip.cast(np.int64)
    return gym.spaces.MultiDiscrete(high.astype(np.int64) + 1)


def _bounds(strip: Strip, name: str) -> tuple[Array, Array]:
    if not len(strip):
        raise UserError(f"{name}: expected at least one row, found none")
    return strip.bounds()


def _discrete(low: Array, high: Array) -> gym.spaces.Discrete | None:
    """The smallest Discrete space, from 0 on, that holds the values; None where they are no numbering."""
    least, most = min(0, int(low)), int(high)
    return gym.spaces.Discrete(most - least + 1, start=least) if most - least < _MOST_ACTIONS else None


def _fitted(space: gym.Space[Any], strips: dict[str, Strip], kind: str, notes: dict[str, int]) -> gym.Space[Any]:
    """The environment's space with the precision of the data; the columns are changed only where nothing is lost."""
    parts = leaf_spaces(space)
    leaves = {leaf_name(path) if kind == "observations" else kind: part for path, part in parts.items()}
    found = [name for name in strips if name.split("/")[0] == kind]
    if set(found) != set(leaves):
        raise UserError(f"expected the columns {list(leaves)} of the environment's {space}, found {found}")
    fitted = [_leaf(part, strips, name, notes) for name, part in leaves.items()]
    if list(parts) == [""]:
        return fitted[0]
    return spaces.from_json(_replaced(spaces.to_json(space), iter(fitted)))


def _replaced(space: Any, parts: Any) -> Any:
    """The JSON of a nest of spaces with other leaves."""
    if space["type"] == "Dict":
        return {**space, "subspaces": {key: _replaced(sub, parts) for key, sub in space["subspaces"].items()}}
    if space["type"] == "Tuple":
        return {**space, "subspaces": [_replaced(sub, parts) for sub in space["subspaces"]]}
    return spaces.to_json(next(parts))


def _leaf(space: gym.Space[Any], strips: dict[str, Strip], name: str, notes: dict[str, int]) -> gym.Space[Any]:
    strip, shape = strips[name], tuple(space.shape or ())
    if strip.row != shape:
        if strip.row not in ((), (1,)) or shape not in ((), (1,)):
            raise UserError(f"{name}: expected rows of shape {shape} of {space}, found {strip.row}")
        strips[name] = strip = strip.shaped(*shape)
    if strip.dtype == space.dtype:
        return space
    if isinstance(space, gym.spaces.Box) and strip.dtype.kind == "f" and np.dtype(space.dtype).kind == "f":
        with np.errstate(over="ignore"):  # bounds that the smaller type does not know are none
            dtype: Any = strip.dtype.type
            return gym.spaces.Box(space.low.astype(dtype), space.high.astype(dtype), shape, dtype)
    for _, piece in strip.pieces():
        with np.errstate(invalid="ignore", over="ignore"):
            converted = piece.astype(space.dtype)
        if not np.array_equal(converted, piece):
            raise UserError(f"{name}: expected {space.dtype} of {space}, found {strip.dtype} of other values")
    strips[name] = strip.cast(space.dtype)
    notes[f"{name}: {strip.dtype} in the file, {space.dtype} in the log, the same values"] = len(strip)
    return space
