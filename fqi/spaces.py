"""Gymnasium spaces as JSON, in the form that Minari gives them."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from fqi.errors import UserError
from fqi.nest import leaf_spaces

_LARGEST = 1 << 28  # elements of one observation or action: beyond any that could be logged, below what hurts


def to_json(space: gym.Space[Any]) -> dict[str, Any]:
    """The space as JSON values."""
    if isinstance(space, spaces.Box):
        low, high = space.low.tolist(), space.high.tolist()
        return {"type": "Box", "dtype": str(space.dtype), "shape": list(space.shape), "low": low, "high": high}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "dtype": str(space.dtype), "start": int(space.start), "n": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = space.nvec.tolist(), space.start.tolist()
        return {"type": "MultiDiscrete", "dtype": str(space.dtype), "nvec": nvec, "start": start}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else [int(n) for n in space.n]}
    if isinstance(space, spaces.Dict):
        for key in space.spaces:
            if not isinstance(key, str) or not key or "/" in key or key == ".":
                raise UserError(f"the Dict space has the key {key!r}; expected names without '/'")
        return {"type": "Dict", "subspaces": {key: to_json(sub) for key, sub in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "subspaces": [to_json(sub) for sub in space.spaces]}
    raise UserError(
        f"spaces of type {type(space).__name__} cannot be stored; expected Box, Discrete, Multi…, Dict or Tuple"
    )


def from_json(value: Any) -> gym.Space[Any]:
    """The space that `to_json`, or Minari, wrote."""
    try:
        return _from_json(value)
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, AssertionError, ArithmeticError, AttributeError, RecursionError) as error:
        raise UserError(
            f"expected a space as JSON, found {str(value)[:80]!r} ({type(error).__name__}: {error})"
        ) from error


def _from_json(value: Any) -> gym.Space[Any]:
    kind = value["type"]
    if kind == "Box":
        shape, dtype = _shape(value["shape"]), _dtype(value["dtype"])
        low, high = np.asarray(value["low"], dtype), np.asarray(value["high"], dtype)
        if low.shape not in ((), shape) or high.shape not in ((), shape):
            raise UserError(f"expected Box bounds of shape {shape}, found {low.shape} and {high.shape}")
        low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
        return spaces.Box(low=low.copy(), high=high.copy(), shape=shape, dtype=dtype.type)
    if kind == "Discrete":
        dtype = _dtype(value.get("dtype", "int64"))
        n, start = int(value["n"]), int(value.get("start", 0))
        if dtype == np.int64:  # older versions of Gymnasium know no other
            return spaces.Discrete(n, start=start)
        return spaces.Discrete(n, start=start, dtype=dtype.type)
    if kind == "MultiDiscrete":
        dtype = _dtype(value.get("dtype", "int64"))
        nvec = np.asarray(value["nvec"], dtype)
        return spaces.MultiDiscrete(
            nvec, dtype=dtype.type, start=np.asarray(value.get("start", np.zeros_like(nvec)), dtype)
        )
    if kind == "MultiBinary":
        return spaces.MultiBinary(int(value["n"]) if isinstance(value["n"], int) else _shape(value["n"]))
    if kind == "Dict":
        # From pairs, since a plain dict would be sorted by its keys and the order of the leaves is part of a log.
        return spaces.Dict([(str(key), _from_json(sub)) for key, sub in value["subspaces"].items()])
    if kind == "Tuple":
        return spaces.Tuple([_from_json(sub) for sub in value["subspaces"]])
    if kind == "Text":
        raise UserError(
            "Text observations cannot be learned from; expected Box, Discrete, Multi…, Dict or Tuple spaces"
        )
    raise UserError(f"expected a Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple space, found {kind!r}")


def alike(known: gym.Space[Any], offered: gym.Space[Any]) -> bool:
    """Whether values of one space can stand for values of the other: equal but for the bounds of boxes."""
    first, second = leaf_spaces(known), leaf_spaces(offered)
    if list(first) != list(second):
        return False
    return all(
        a == b or (isinstance(a, spaces.Box) and isinstance(b, spaces.Box) and a.shape == b.shape)
        for a, b in zip(first.values(), second.values(), strict=True)
    )


def stacked(space: gym.Space[Any], depth: int) -> gym.Space[Any]:
    """The space of the last `depth` frames shown at once, in a new axis before the others; of one frame, its own."""
    if depth == 1:
        return space
    if isinstance(space, spaces.Dict):
        return spaces.Dict([(key, stacked(sub, depth)) for key, sub in space.spaces.items()])
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([stacked(sub, depth) for sub in space.spaces])
    if isinstance(space, spaces.Box):
        low, high = (np.broadcast_to(bound, (depth, *space.shape)).copy() for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=space.dtype.type)
    if isinstance(space, spaces.Discrete):
        return spaces.MultiDiscrete([int(space.n)] * depth, start=[int(space.start)] * depth)
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = (np.broadcast_to(part, (depth, *part.shape)).copy() for part in (space.nvec, space.start))
        return spaces.MultiDiscrete(nvec, start=start)
    raise UserError(f"stack: frames of {space} cannot be shown several at once; give stack 1")


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(extent) for extent in value)
    if any(extent < 0 for extent in shape) or math.prod(shape) > _LARGEST:
        raise UserError(f"expected the shape of one observation or action, found {shape}")
    return shape


def _dtype(value: Any) -> np.dtype[Any]:
    dtype = np.dtype(str(value))
    if dtype.kind not in "biuf":
        raise UserError(f"expected a numeric dtype, found {value!r}")
    return dtype
