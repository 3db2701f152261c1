"""Spaces as far as a table shows them, and values as their space has them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import Head, leaf_name
from fqi.datasets.formats.extents import Extent
from fqi.datasets.formats.sheet import Sheet, few
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

MOST_CHOICES = 1 << 31  # whole numbers beyond it are no choices


def found_space(extents: dict[str, Extent]) -> gym.Space[Any]:
    """The space of the observations, of which these are the leaves by their paths."""
    found = {path: _observation_space(extent) for path, extent in extents.items()}
    return found[""] if list(found) == [""] else _nested(found)


def cast(sheet: Sheet, arrays: dict[str, Array], head: Head) -> None:
    """Values as their space has them, where none is changed by it."""
    parts = {leaf_name(path): space for path, space in leaf_spaces(head.observation_space).items()}
    parts |= {"actions": head.action_space, "label": head.action_space}
    for name, space in parts.items():
        if name not in arrays:
            continue
        array, dtype = arrays[name], np.dtype(space.dtype)
        if array.shape[1:] == (1,) and space.shape == ():
            array = array[:, 0]
        elif array.ndim == 1 and space.shape == (1,):
            array = array[:, None]
        if array.dtype != dtype:
            with np.errstate(all="ignore"):
                changed_type = array.astype(dtype)
            changed = (
                (changed_type != array) & ~(array != array)
                if dtype.kind != "f"
                else np.isinf(changed_type) & ~np.isinf(array)
            )
            if changed.any():
                bad = int(np.flatnonzero(changed.reshape(len(array), -1).any(axis=1))[0])
                raise UserError(f"{sheet.source}: {name} {bad}: expected {dtype} of {space}, found {few(array[bad])}")
            array = changed_type
        arrays[name] = array


def action_space(seen: Extent) -> gym.Space[Any]:
    """Whole numbers are choices, others are quantities."""
    if seen.dtype == np.bool_:
        return gym.spaces.Discrete(2) if not seen.row else gym.spaces.MultiBinary(seen.row)
    if seen.dtype.kind in "iu":
        if not seen.row:
            start = min(0, int(seen.low))
            return gym.spaces.Discrete(int(seen.high) - start + 1, start=start)
        if (seen.low >= 0).all():
            return gym.spaces.MultiDiscrete(seen.high.astype(np.int64) + 1)
    return _box(seen)


def _observation_space(seen: Extent) -> gym.Space[Any]:
    """A single whole number that is never negative is one of so many states; anything else is what it is."""
    if not seen.row and seen.dtype.kind in "iu" and seen.low >= 0 and seen.high < MOST_CHOICES:
        return gym.spaces.Discrete(int(seen.high) + 1)
    return _box(seen)


def _box(seen: Extent) -> gym.Space[Any]:
    dtype = seen.dtype if seen.dtype != np.bool_ else np.dtype(np.uint8)
    low: Any = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
    high: Any = np.inf if dtype.kind == "f" else np.iinfo(dtype).max
    if seen.dtype == np.bool_:
        high = 1
    return gym.spaces.Box(low, high, seen.row, dtype.type)


def _nested(found: dict[str, gym.Space[Any]]) -> gym.Space[Any]:
    """The Dict space of these leaves."""
    outer: dict[str, Any] = {}
    for path, space in found.items():
        *parents, last = path.split("/")
        here = outer
        for key in parents:
            here = here.setdefault(key, {})
        here[last] = space

    def built(inner: dict[str, Any]) -> gym.spaces.Dict:
        return gym.spaces.Dict([(key, built(sub) if isinstance(sub, dict) else sub) for key, sub in inner.items()])

    return built(outer)


def made(name: str, source: str) -> tuple[dict[str, Any], gym.Space[Any], gym.Space[Any]]:
    """The record of an environment and its spaces. The name may come from a file, so no module is imported for it."""
    from fqi.environments.make import environment_record, make_single

    try:
        record = environment_record(name)
        env = make_single(record)
    except UserError as error:
        raise UserError(f"{source}: environment: {error}") from error
    try:
        return record, env.observation_space, env.action_space
    finally:
        env.close()
