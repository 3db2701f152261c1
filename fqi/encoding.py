"""Frames as feature rows: vectors as they are, categories as one-hot columns, a nest side by side."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.nest import Array, Nest, leaf_spaces, leaves


def width(space: gym.Space[Any]) -> int:
    """D, the number of columns that `encode` makes."""
    return sum(_width(s, path) for path, s in leaf_spaces(space).items())


def encode(frames: Nest, space: gym.Space[Any], dtype: Any = np.float32) -> Array:
    """[B, D] features of frames of this space."""
    arrays = leaves(frames)
    columns = [_encode(arrays[path], s, dtype) for path, s in leaf_spaces(space).items()]
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def scaled_columns(space: gym.Space[Any]) -> Array:
    """[D] bool: columns that measure something, and so may be centred and scaled; categories may not."""
    parts = leaf_spaces(space).items()
    return np.concatenate([np.full(_width(s, path), isinstance(s, gym.spaces.Box)) for path, s in parts])


def images(space: gym.Space[Any]) -> list[slice]:
    """The columns of each leaf that is an image: bytes in two dimensions or more."""
    found, at = list[slice](), 0
    for path, leaf in leaf_spaces(space).items():
        over = at + _width(leaf, path)
        if isinstance(leaf, gym.spaces.Box) and leaf.dtype == np.uint8 and len(leaf.shape) > 1:
            found.append(slice(at, over))
        at = over
    return found


def _width(space: gym.Space[Any], path: str) -> int:
    match space:
        case gym.spaces.Box() | gym.spaces.MultiBinary():
            return int(np.prod(space.shape))
        case gym.spaces.Discrete():
            return int(space.n)
        case gym.spaces.MultiDiscrete():
            return int(space.nvec.sum())
    raise UserError(f"observations{'/' + path if path else ''}: {space} has no encoding as features")


def _encode(array: Array, space: gym.Space[Any], dtype: Any) -> Array:
    match space:
        case gym.spaces.Discrete():
            return _one_hot(array - space.start, int(space.n), dtype)
        case gym.spaces.MultiDiscrete():
            flat = (array - space.start).reshape(len(array), -1)
            return np.concatenate([_one_hot(flat[:, i], int(n), dtype) for i, n in enumerate(space.nvec.flat)], axis=1)
    return array.reshape(len(array), -1).astype(dtype)


def _one_hot(index: Array, n: int, dtype: Any) -> Array:
    columns = np.zeros((len(index), n), dtype)
    columns[np.arange(len(index)), index] = 1
    return columns
