"""Observations as an array or as a nest of named arrays, handled alike.

A plain array is a nest with one leaf whose path is the empty string; the leaves of a Dict or Tuple observation
have paths such as `camera/left` or `0/1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Nest: TypeAlias = "Array | dict[str, Nest]"


def leaves(nest: Nest, path: str = "") -> dict[str, Array]:
    """Every array of the nest by its path, in order."""
    if isinstance(nest, dict):
        found: dict[str, Array] = {}
        for key, value in nest.items():
            found.update(leaves(value, f"{path}/{key}" if path else key))
        return found
    return {path: nest}


def unflatten(flat: Mapping[str, Array]) -> Nest:
    """The nest whose leaves these are."""
    if set(flat) == {""}:
        return flat[""]
    nest: dict[str, Nest] = {}
    for path, array in flat.items():
        here = nest
        *parents, last = path.split("/")
        for key in parents:
            here = here.setdefault(key, {})  # type: ignore[assignment]
        here[last] = array
    return nest


def apply(function: Callable[[Array], Array], nest: Nest) -> Nest:
    """The nest with the function applied to every leaf."""
    if isinstance(nest, dict):
        return {key: apply(function, value) for key, value in nest.items()}
    return function(nest)


def take(nest: Nest, index: Array | slice) -> Nest:
    """Rows of every leaf."""
    return apply(lambda array: array[index], nest)


def rows(nest: Nest) -> int:
    """Length of the leading axis."""
    return len(next(iter(leaves(nest).values())))


def stack(observations: list[Any], space: gym.Space[Any]) -> Nest:
    """Single observations of one space, stacked along a new leading axis."""
    if isinstance(space, gym.spaces.Dict):
        return {k: stack([o[k] for o in observations], s) for k, s in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return {str(i): stack([o[i] for o in observations], s) for i, s in enumerate(space.spaces)}
    return np.asarray(observations, dtype=space.dtype)


def leaf_spaces(space: gym.Space[Any], path: str = "") -> dict[str, gym.Space[Any]]:
    """The space of every leaf by its path, in the order of `leaves`."""
    if isinstance(space, gym.spaces.Dict):
        pairs = list(space.spaces.items())
    elif isinstance(space, gym.spaces.Tuple):
        pairs = [(str(i), s) for i, s in enumerate(space.spaces)]
    else:
        return {path: space}
    found: dict[str, gym.Space[Any]] = {}
    for key, sub in pairs:
        found.update(leaf_spaces(sub, f"{path}/{key}" if path else key))
    return found
