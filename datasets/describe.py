"""What is inside a log, as JSON values."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import columns_of, leaf_name
from fqi.frames import frames_on_disk, on_disk, pieces
from fqi.log import Log, fingerprint
from fqi.nest import Array, leaf_spaces, leaves

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_CELLS = 8  # of the coarse grid, along each of its dimensions
_GRID_DIMENSIONS = 6  # a grid over more would have a cell for every row
_SHOWN_DIMENSIONS = 32  # of vectors; the rest of a long one is summed up
_SHOWN_VALUES = 20  # distinct rewards that are listed one by one
_STATES = 1 << 20  # discrete observations that are counted one by one


def describe(log: Log) -> dict[str, Any]:
    """Sizes, lengths, returns, rewards, actions, behaviours and how much of the space of states was seen."""
    columns = columns_of(log)
    found: dict[str, Any] = {
        "steps": log.steps,
        "episodes": log.episodes,
        "observation_space": _space(log.observation_space),
        "action_space": _space(log.action_space),
        "environment": log.environment,
        "provenance": log.provenance,
        "length": _summary(log.lengths),
        "return": _summary(log.returns),
        "rewards": _rewards(log.rewards),
        "terminated": int(np.count_nonzero(log.terminations)),
        "truncated": int(np.count_nonzero(log.truncations)),
        "actions": _actions(log),
        "behaviours": _behaviours(log),
        "propensity": None if log.propensity is None else _summary(log.propensity),
        "action_mask": None if log.action_mask is None else {"legal_share": float(log.action_mask.mean())},
        "seeds": None if log.seeds is None else {"known": int(np.count_nonzero(log.seeds != -1))},
        "coverage": _coverage(log),
        "columns": {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in columns.items()},
        "bytes": sum(array.nbytes for array in columns.values()),
        "checksum": fingerprint(log),
    }
    return found


def _space(space: gym.Space[Any]) -> dict[str, Any]:
    """The space as JSON, without the bounds of large boxes."""
    value = spaces.to_json(space)
    if isinstance(space, gym.spaces.Box):
        for side, bound in (("low", space.low), ("high", space.high)):
            if bound.size > _SHOWN_DIMENSIONS:
                value[side] = {"min": _number(bound.min()), "max": _number(bound.max())}
            else:
                value[side] = _numbers(bound)
    elif isinstance(space, gym.spaces.Dict):
        value["subspaces"] = {key: _space(sub) for key, sub in space.spaces.items()}
    elif isinstance(space, gym.spaces.Tuple):
        value["subspaces"] = [_space(sub) for sub in space.spaces]
    return value


def _number(value: Any) -> float | None:
    """A float that JSON knows: infinity and NaN have no word there."""
    value = float(value)
    return value if math.isfinite(value) else None


def _numbers(array: Array) -> Any:
    return [_numbers(row) for row in array] if array.ndim else _number(array)


def _summary(values: Array) -> dict[str, Any]:
    """Mean, spread and quantiles."""
    if not values.size:
        return {"count": 0}
    values = values.astype(np.float64)
    quantiles = np.quantile(values, _QUANTILES)
    return {
        "count": int(values.size),
        "mean": _number(values.mean()),
        "std": _number(values.std()),
        "min": _number(values.min()),
        "max": _number(values.max()),
        "quantiles": {f"{q:g}": _number(v) for q, v in zip(_QUANTILES, quantiles, strict=True)},
    }


def _rewards(rewards: Array) -> dict[str, Any]:
    found = _summary(rewards)
    values, counts = np.unique(rewards, return_counts=True)
    found["distinct"] = len(values)
    if len(values) <= _SHOWN_VALUES:
        found["values"] = [{"reward": float(v), "count": int(c)} for v, c in zip(values, counts, strict=True)]
    return found


def _actions(log: Log) -> dict[str, Any]:
    space, actions = log.action_space, log.actions
    if isinstance(space, gym.spaces.Discrete):
        start = int(space.start)
        counts = np.bincount(actions.astype(np.int64) - start, minlength=int(space.n))
        rows = [{"action": start + i, "count": int(c), "share": c / max(1, log.steps)} for i, c in enumerate(counts)]
        return {"kind": "discrete", "counts": rows}
    return {"kind": "vector", "dimensions": _dimensions(actions)}


def _dimensions(array: Array) -> list[dict[str, Any]]:
    flat = array.reshape(len(array), -1)
    return [{"dimension": i, **_summary(flat[:, i])} for i in range(min(flat.shape[1], _SHOWN_DIMENSIONS))]


def _behaviours(log: Log) -> list[dict[str, Any]]:
    if log.behaviour is None:
        return []
    mine = log.behaviour
    first = mine[log.starts] if log.episodes else mine[:0]
    changes = np.flatnonzero(mine[1:] != mine[:-1]) + 1  # steps before which the behaviour changed
    mixed = np.zeros(log.episodes, np.bool_)
    inside = changes[np.isin(changes, log.starts, invert=True)]
    mixed[np.searchsorted(log.starts, inside, side="right") - 1] = True
    returns, episode = log.returns, log.episode_of_step
    rows = []
    for index, name in enumerate(log.behaviours):
        own = ~mixed & (first == index)
        steps = int(np.count_nonzero(mine == index))
        rows.append(
            {
                "behaviour": name,
                "steps": steps,
                "share": steps / max(1, log.steps),
                "episodes": len(np.unique(episode[mine == index])),
                "episodes_alone": int(np.count_nonzero(own)),
                "mean_return": _number(returns[own].mean()) if own.any() else None,
            }
        )
    return rows


def _coverage(log: Log) -> dict[str, Any]:
    """How much of the state space was visited, and with which actions."""
    space = log.observation_space
    states = state_count(space)
    actions = int(log.action_space.n) if isinstance(log.action_space, gym.spaces.Discrete) else None
    if states is not None and actions is not None and states * actions <= _STATES and not on_disk(log.observations):
        state = state_index(log.observations, space)[log.frame_of_step]
        pairs = np.bincount(state * actions + log.actions - int(log.action_space.start), minlength=states * actions)  # type: ignore[attr-defined]
        seen = pairs.reshape(states, actions)
        return {
            "kind": "discrete",
            "states": states,
            "states_seen": int(np.count_nonzero(seen.any(axis=1))),
            "pairs": states * actions,
            "pairs_seen": int(np.count_nonzero(seen)),
            "pairs_share": int(np.count_nonzero(seen)) / (states * actions),
            "fewest_visits_of_a_seen_pair": int(pairs[pairs > 0].min(initial=log.steps)),
        }
    arrays = leaves(log.observations)
    vectors = {
        path: a
        for path, a in arrays.items()
        if (a.ndim == 1 or (a.ndim == 2 and a.shape[1] <= _SHOWN_DIMENSIONS)) and frames_on_disk(a) is None
    }
    pixels = {path: a for path, a in arrays.items() if path not in vectors}
    return {
        "kind": "vector",
        "dimensions": {leaf_name(path): _dimensions(a) for path, a in vectors.items()},
        "ranges": {leaf_name(path): _range(a) for path, a in pixels.items() if len(a)},
        "grid": _grid(log, list(vectors.values()), actions),
    }


def _range(array: Array) -> dict[str, Any]:
    """The extremes of all values, also of frames that stay on disk."""
    ends = [(piece.min(), piece.max()) for _, piece in pieces(array)]
    return {"min": _number(min(low for low, _ in ends)), "max": _number(max(high for _, high in ends))}


def state_count(space: gym.Space[Any]) -> int | None:
    """How many observations there can be, if they can be counted."""
    counts = []
    for leaf in leaf_spaces(space).values():
        if isinstance(leaf, gym.spaces.Discrete):
            counts.append(int(leaf.n))
        elif isinstance(leaf, gym.spaces.MultiDiscrete):
            counts.append(math.prod(leaf.nvec.reshape(-1).tolist()))
        elif isinstance(leaf, gym.spaces.MultiBinary):
            counts.append(1 << math.prod(leaf.shape or ()))
        else:
            return None
    return math.prod(counts)


def state_index(observations: Any, space: gym.Space[Any]) -> Array:
    """[F] the number of each frame's observation among all that there can be."""
    index: Any = np.int64(0)
    for leaf, array in zip(leaf_spaces(space).values(), leaves(observations).values(), strict=True):
        digits = array.reshape(len(array), -1).astype(np.int64)  # [F, digits]
        if isinstance(leaf, gym.spaces.Discrete):
            bases, starts = np.array([int(leaf.n)]), np.array([int(leaf.start)])
        elif isinstance(leaf, gym.spaces.MultiDiscrete):
            bases, starts = leaf.nvec.reshape(-1), leaf.start.reshape(-1)
        else:
            bases, starts = np.full(digits.shape[1], 2), np.zeros(digits.shape[1], np.int64)
        for i, base in enumerate(bases):
            index = index * int(base) + np.clip(digits[:, i] - int(starts[i]), 0, int(base) - 1)
    return np.asarray(index)


def _grid(log: Log, vectors: list[Array], actions: int | None) -> dict[str, Any] | None:
    """Occupied cells of a coarse grid over the observed ranges, for each action."""
    if not vectors or not log.steps:
        return None
    flat = np.concatenate([a.reshape(len(a), -1)[:, :_SHOWN_DIMENSIONS] for a in vectors], axis=1)
    flat = flat[log.frame_of_step][:, :_GRID_DIMENSIONS].astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    digits = np.minimum((flat - low) / width * _CELLS, _CELLS - 1).astype(np.int64)
    cell = digits @ (_CELLS ** np.arange(flat.shape[1]))
    occupied = np.unique(cell)
    found: dict[str, Any] = {
        "cells_per_dimension": _CELLS,
        "dimensions": flat.shape[1],
        "cells": _CELLS ** int(np.count_nonzero(high > low)),
        "occupied": len(occupied),
    }
    if actions is not None:
        start = int(log.action_space.start)  # type: ignore[attr-defined]
        by_action = [len(np.unique(cell[log.actions == start + a])) for a in range(min(actions, _SHOWN_DIMENSIONS))]
        found["occupied_by_action"] = by_action
        found["pairs_share"] = sum(by_action) / max(1, len(occupied) * len(by_action))
    return found
