"""Measures of a log that say how much can be learned from it, as JSON values.

Trajectory quality TQ and state-action coverage SACo are those of Schweighofer et al., "A Dataset Perspective on Offline
Reinforcement Learning" (CoLLAs 2022, arXiv:2111.04714). With g(D) the mean discounted return of the trajectories,
TQ(D) = (g(D) - g(worst)) / (g(best) - g(worst)), where theirs are a random policy and an expert. With u(D) the number
of unique pairs of state and action, SACo(D) = u(D) / u(reference), where theirs is all that a learner saw in training.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.describe import state_count, state_index
from fqi.datasets.doctor.settings import MeasureSettings
from fqi.datasets.doctor.structure import flat
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, leaf_spaces, leaves
from fqi.spaces import alike

_PIXELS = 1024  # numbers of a frame above which it is taken as it is, without cells
_COUNTED = 200_000  # frames of that kind that are looked at
_ROWS = 1 << 14


def measure(log: Log, settings: MeasureSettings, reference: Log | None = None) -> dict[str, Any]:
    """Trajectory quality, state-action coverage, behaviour entropy and support of each action."""
    if (settings.worst_return is None) != (settings.best_return is None):
        raise UserError("--worst-return and --best-return are used together; give both, or neither")
    if reference is not None and not (
        alike(reference.observation_space, log.observation_space) and reference.action_space == log.action_space
    ):
        raise UserError("the reference has other observations or actions than the log: coverage cannot be compared")
    cells = Cells(log, reference, settings.cells)
    states, pairs = cells.keys(log)
    return {
        "trajectory_quality": _quality(log, settings),
        "state_action_coverage": _coverage(cells, pairs, reference),
        "behaviour_entropy": _entropy(log, states, pairs, cells),
        "support": _support(log, states),
        "cells": cells.said,
    }


def discounted(log: Log, gamma: float) -> Array:
    """[M] discounted return of each episode."""
    position = np.arange(log.steps) - log.starts[log.episode_of_step]
    with np.errstate(under="ignore"):
        return np.asarray(np.add.reduceat(log.rewards.astype(np.float64) * gamma**position, log.starts))


def _quality(log: Log, settings: MeasureSettings) -> dict[str, Any]:
    returns = discounted(log, settings.gamma)
    worst, best, source = settings.worst_return, settings.best_return, "as given"
    if worst is None:
        worst, best, source = *_own(log, returns), "the log's own random and scripted behaviours"
    mean = float(returns.mean())
    found: dict[str, Any] = {"mean_return": mean, "gamma": settings.gamma, "worst": worst, "best": best, "value": None}
    if worst is None or best is None:
        return found | {"why_none": "name what is worst and best by --worst-return and --best-return"}
    if not best > worst:
        return found | {"why_none": f"the best return, {best:g}, is not above the worst, {worst:g}"}
    return found | {"value": (mean - worst) / (best - worst), "worst_and_best": source}


def _own(log: Log, returns: Array) -> tuple[float | None, float | None]:
    """Mean return of the episodes that the log's random and scripted behaviours played alone."""
    if log.behaviour is None:
        return None, None
    first = log.behaviour[log.starts]
    changed = np.add.reduceat(log.behaviour != np.repeat(first, log.lengths), log.starts) > 0

    def mean(names: list[int]) -> float | None:
        own = np.isin(first, names) & ~changed
        return float(returns[own].mean()) if own.any() else None

    worst = [i for i, name in enumerate(log.behaviours) if name.partition(",")[0] == "random"]
    best = [i for i, name in enumerate(log.behaviours) if name.startswith("scripted") and "epsilon" not in name]
    return mean(worst), mean(best)


def _coverage(cells: Cells, pairs: Array, reference: Log | None) -> dict[str, Any]:
    unique = len(np.unique(pairs))
    found: dict[str, Any] = {"unique_pairs": unique, "rows": len(pairs), "value": None}
    if cells.possible is not None:
        found |= {"possible_pairs": cells.possible, "share_of_possible": unique / cells.possible}
    if reference is None:
        return found | {"why_none": "name a log to compare with by --reference"}
    theirs = len(np.unique(cells.keys(reference)[1]))
    return found | {"value": unique / theirs, "reference_pairs": theirs}


def _entropy(log: Log, states: Array, pairs: Array, cells: Cells) -> dict[str, Any]:
    """In nats: of the actions, of the actions given the state, and as the propensities tell it."""
    actions = cells.action_keys(log, cells.steps(log))
    marginal = _shannon(actions)
    found: dict[str, Any] = {
        "actions": marginal,
        "actions_given_state": max(0.0, _shannon(pairs) - _shannon(states)),  # by counts: too small where they are few
        "by_propensity": None,
    }
    if isinstance(log.action_space, gym.spaces.Discrete):
        found["most"] = math.log(int(log.action_space.n))
        if log.propensity is not None:
            found["by_propensity"] = float(-np.log(log.propensity).mean())
    return found


def _shannon(keys: Array) -> float:
    counts = np.unique(keys, return_counts=True)[1]
    share = counts / max(1, counts.sum())
    return float(-(share * np.log(share)).sum()) + 0.0


def _support(log: Log, states: Array) -> dict[str, Any] | None:
    """How often, and in how many states, each action was taken; None where actions cannot be counted."""
    space = log.action_space
    if not isinstance(space, gym.spaces.Discrete):
        return None
    rows = Cells.sampled(log)
    index = log.actions[rows].astype(np.int64) - int(space.start)
    counts = np.bincount(log.actions.astype(np.int64) - int(space.start), minlength=int(space.n))
    _, state = np.unique(states, return_inverse=True)
    seen = int(state.max(initial=-1)) + 1
    number, pair_counts = np.unique(state * int(space.n) + index, return_counts=True)
    in_states = np.bincount(number % int(space.n), minlength=int(space.n))
    visits = np.bincount(state, minlength=seen)
    often = visits >= 10
    known = np.zeros(seen, np.int64)
    np.add.at(known, number // int(space.n), 1)
    rows_of = [
        {
            "action": int(space.start) + a,
            "steps": int(counts[a]),
            "share": float(counts[a] / max(1, log.steps)),
            "states": int(in_states[a]),
            "share_of_states": float(in_states[a] / max(1, seen)),
        }
        for a in range(int(space.n))
    ]
    return {
        "actions": rows_of,
        "states": seen,
        "never_taken": [row["action"] for row in rows_of if not row["steps"]],
        "states_with_every_action": float(np.mean(known == int(space.n))) if seen else None,
        "often_visited_states_with_every_action": float(np.mean(known[often] == int(space.n))) if often.any() else None,
        "fewest_visits_of_a_pair": int(pair_counts.min(initial=log.steps)),
    }


class Cells:
    """Tells states and actions apart: exactly where they can be counted, else by a grid over what was seen."""

    def __init__(self, log: Log, reference: Log | None, cells: int) -> None:
        self.cells = cells
        space, actions = log.observation_space, log.action_space
        self.states = state_count(space)
        if self.states is not None and self.states >= 1 << 62:
            self.states = None
        self.pixels = max((int(np.prod(s.shape or ())) for s in leaf_spaces(space).values()), default=0) > _PIXELS
        self.exact_actions = not isinstance(actions, gym.spaces.Box)
        self.possible = None
        if self.states is not None and isinstance(actions, gym.spaces.Discrete):
            self.possible = self.states * int(actions.n)
        both = [log] if reference is None else [log, reference]
        self.frame_bounds = [] if self.states is not None or self.pixels else _bounds([_vectors(one) for one in both])
        self.action_bounds = [] if self.exact_actions else _bounds([[flat(one.actions)] for one in both])

    @property
    def used(self) -> bool:
        """Whether anything lies in cells."""
        return bool(self.frame_bounds or self.action_bounds)

    @property
    def said(self) -> str:
        """How states and actions are told apart, in words."""
        if self.states is not None:
            states = f"{self.states:,} states are told apart exactly"
        elif self.pixels:
            states = "frames are told apart exactly, by a checksum of 64 bits"
            states += f", in {_COUNTED:,} steps evenly spread where there are more"
        else:
            states = f"states are told apart by {self.cells} cells along each dimension, over the range that was seen"
        actions = "actions exactly" if self.exact_actions else f"actions by {self.cells} cells along each dimension"
        return f"{states}; {actions}"

    @staticmethod
    def sampled(log: Log) -> Array:
        """The steps that are looked at."""
        large = max((math.prod(a.shape[1:]) for a in leaves(log.observations).values()), default=0) > _PIXELS
        return np.arange(0, log.steps, max(1, -(-log.steps // _COUNTED)) if large else 1)

    def steps(self, log: Log) -> Array:
        return self.sampled(log)

    def keys(self, log: Log) -> tuple[Array, Array]:
        """[R] a key of each step's state, and of its pair of state and action."""
        rows = self.steps(log)
        frame = log.frame_of_step[rows]
        if self.states is not None:
            states = state_index(log.observations, log.observation_space)[frame].astype(np.uint64)
        elif self.pixels:
            states = _mixed([flat(array) for array in leaves(log.observations).values()], frame, None)
        else:
            states = _mixed(_vectors(log), frame, self.frame_bounds, self.cells)
        with np.errstate(over="ignore"):
            return states, _scramble(np.uint64(3) * _scramble(states) + self.action_keys(log, rows))

    def action_keys(self, log: Log, rows: Array) -> Array:
        """[R] a key of each step's action."""
        bounds = self.action_bounds if not self.exact_actions else None
        return _mixed([flat(log.actions)], rows, bounds, self.cells)


def _vectors(log: Log) -> list[Array]:
    return [flat(array) for array in leaves(log.observations).values()]


def _bounds(logs: list[list[Array]]) -> list[tuple[Array, Array]]:
    """The lowest and highest value of each column in any of the logs."""
    return [
        (np.min([a.min(axis=0) for a in arrays], axis=0), np.max([a.max(axis=0) for a in arrays], axis=0))
        for arrays in zip(*logs, strict=True)
    ]


def _mixed(arrays: list[Array], rows: Array, bounds: list[tuple[Array, Array]] | None, cells: int = 0) -> Array:
    """[R] 64 bits for each row's values, or for the cells that they lie in."""
    keys = np.zeros(len(rows), np.uint64)
    with np.errstate(over="ignore"):
        for i, array in enumerate(arrays):
            for start in range(0, len(rows), _ROWS):
                some = slice(start, start + _ROWS)
                values = array[rows[some]]
                if bounds is not None:
                    values = _digits(values, *bounds[i], cells)
                elif values.dtype.kind == "f":
                    values = np.ascontiguousarray(values, np.float64).view(np.uint64)
                for column in range(values.shape[1]):
                    keys[some] = _scramble(keys[some] + values[:, column].astype(np.uint64))
    return keys


def _digits(values: Array, low: Array, high: Array, cells: int) -> Array:
    low, high = low.astype(np.float64), high.astype(np.float64)
    width = np.where(high > low, high - low, 1.0)
    return np.asarray(np.clip((values - low) / width * cells, 0, cells - 1).astype(np.uint64))


def _scramble(x: Array) -> Array:
    """SplitMix64: neighbouring numbers become unrelated ones, and no two the same."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
