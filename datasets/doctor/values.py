"""Values that are outside their spaces, constant, of odd sizes, or no probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.datasets.doctor.finding import FIRST, Finding, error, warning
from fqi.datasets.doctor.structure import bounds, flat, valid_actions
from fqi.log import Log
from fqi.nest import Array, leaf_spaces, leaves

_WIDE = 1024  # columns of an image: its borders are constant by nature
_UNSCALED = 1e5  # between the largest and the smallest range
_MEASURED = 200_000  # rows that ranges and sizes are taken from
_OUTLIER = 50.0  # robust z beyond which a reward is far out
_ORDINARY = 0.99  # of the rewards are no further from the median than one unit of that z
_RARE = 0.001  # share of the steps above which far rewards are no outliers but a kind of their own
_TINY = 1e-6  # propensities below which importance weights are huge
_SUM_SLACK = 1e-5
_GROUPED = 200_000  # rows whose propensities are added up


def outside(log: Log) -> Iterator[Finding]:
    """Frames and actions outside their spaces, where the birth of a log does not look."""
    for path, space in leaf_spaces(log.observation_space).items():
        if isinstance(space, gym.spaces.Box):
            yield from _outside_box(leaf_name(path), leaves(log.observations)[path], space)


def _outside_box(name: str, array: Array, space: gym.spaces.Box) -> Iterator[Finding]:
    low, high = bounds(space)
    if not array.size or bool((array.min(axis=0) >= low).all() and (array.max(axis=0) <= high).all()):
        return
    rows = np.flatnonzero(flat((array < low) | (array > high)).any(axis=1))
    if len(rows):
        inside = f"values inside {space}"
        yield warning("outside the observation space", name, inside, array[rows[0]], rows)


def constants(log: Log) -> Iterator[Finding]:
    """Columns that never change, and columns whose ranges differ by many orders of magnitude."""
    if log.steps < 2:
        return
    for path, array in leaves(log.observations).items():
        values = flat(array)
        if values.shape[1] == 0 or values.shape[1] > _WIDE:
            continue
        constant = np.flatnonzero((values == values[0]).all(axis=0))
        if len(constant):
            dimensions = ", ".join(map(str, constant[:FIRST]))
            value = values[0][constant[0]]
            found = f"always {value} in dimension {dimensions}" if array.ndim > 1 else f"always {value}"
            yield warning("constant column", leaf_name(path), "values that vary", found)
    actions = flat(log.actions)
    if actions.shape[1] and (actions == actions[0]).all():
        yield warning("constant column", "actions", "more than one action", f"always {log.actions[0]}")
    yield from _unscaled(log)


def _unscaled(log: Log) -> Iterator[Finding]:
    names, ranges = [], []
    for path, array in leaves(log.observations).items():
        values = flat(array)
        if array.dtype.kind != "f" or not 0 < values.shape[1] <= _WIDE or not len(values):
            continue
        some = values[:: max(1, len(values) // _MEASURED)].astype(np.float64)
        spread = np.quantile(some, 0.99, axis=0) - np.quantile(some, 0.01, axis=0)
        names += [f"{leaf_name(path)} dimension {i}" for i in range(len(spread))]
        ranges += spread.tolist()
    spreads = np.array(ranges)
    known = np.flatnonzero(np.isfinite(spreads) & (spreads > 0))
    if len(known) < 2:
        return
    small, large = known[np.argmin(spreads[known])], known[np.argmax(spreads[known])]
    if spreads[large] > _UNSCALED * spreads[small]:
        found = f"{spreads[large]:.3g} in {names[large]} and {spreads[small]:.3g} in {names[small]}"
        yield warning("unscaled columns", "observations", f"ranges within a factor of {_UNSCALED:,.0f}", found)


def outliers(log: Log) -> Iterator[Finding]:
    """Rewards far from all others, by a robust z: their distance from the median in units of the 99 % quantile of such
    distances. The last reward of an episode that terminated may be of its own kind and is left out."""
    if log.steps < 200:
        return
    going = np.flatnonzero(~log.terminations)
    rewards = log.rewards[going].astype(np.float64)
    if len(rewards) < 200:
        return
    middle = float(np.median(rewards))
    distance = np.abs(rewards - middle)
    unit = float(np.quantile(distance, _ORDINARY))
    rows = going[distance > _OUTLIER * unit] if unit > 0 else going[:0]
    if 0 < len(rows) <= max(1, _RARE * log.steps):
        z = abs(float(log.rewards[rows[0]]) - middle) / unit
        expected = f"rewards about {middle:.4g}, 99 % of them within {unit:.4g}"
        found = f"{float(log.rewards[rows[0]]):.6g}, {z:,.0f} times as far"
        yield warning("reward outlier", "rewards", expected, found, rows)


def propensities(log: Log) -> Iterator[Finding]:
    """Probabilities that are next to nothing, and those of one state that do not add up to 1."""
    p = log.propensity
    if p is None or p.shape != (log.steps,) or not isinstance(log.action_space, gym.spaces.Discrete):
        return
    tiny = np.flatnonzero((p > 0) & (p < _TINY))
    if len(tiny):
        yield warning("propensity", "propensity", f"probabilities of at least {_TINY:g}", p[tiny[0]], tiny)
    if valid_actions(log).all() and np.isfinite(p).all():
        yield from _sums(log, log.action_space, p)


def _sums(log: Log, space: gym.spaces.Discrete, p: Array) -> Iterator[Finding]:
    """Where each action of a state was taken twice or more, always with one propensity, their sum is at most 1, and 1
    if all that are allowed were taken. A behaviour that remembers has several propensities there, and is not judged."""
    rows = np.arange(min(log.steps, _GROUPED))
    frame = log.frame_of_step[rows]
    count = int(space.n)
    action = log.actions[rows].astype(np.int64) - int(space.start)
    state = _numbered(log, frame)
    states = int(state.max()) + 1
    pairs, pair = np.unique(state * count + action, return_inverse=True)
    low, high = np.full(len(pairs), np.inf), np.zeros(len(pairs))
    np.minimum.at(low, pair, p[rows])
    np.maximum.at(high, pair, p[rows])
    owner = pairs // count
    vague = ((high - low) > _SUM_SLACK) | (np.bincount(pair, minlength=len(pairs)) < 2)
    several = np.bincount(owner, vague, states) > 0  # [S]
    total = np.bincount(owner, high, states)
    taken = np.bincount(owner, minlength=states)
    allowed = np.full(states, count)
    if log.action_mask is not None:
        allowed[state] = log.action_mask[frame].sum(axis=1)
    wrong = ~several & ((total > 1 + _SUM_SLACK) | ((taken >= allowed) & (total < 1 - _SUM_SLACK)))
    bad = rows[wrong[state]]
    if len(bad):
        found = f"{total[state[bad[0]]]:.6g} in the state of row {bad[0]}"
        expected = "propensities of a state's actions that add up to 1"
        yield error("propensities that do not add up", "propensity", expected, found, bad)


def _numbered(log: Log, frame: Array) -> Array:
    """[R] a number for each row's frame, the same for frames that are bit by bit the same."""
    number = np.zeros(len(frame), np.int64)
    parts: list[Any] = list(leaves(log.observations).values())
    if log.action_mask is not None:
        parts.append(log.action_mask)
    for array in parts:
        some = np.ascontiguousarray(flat(array[frame]))
        keys = some.view(np.dtype((np.void, some.itemsize * some.shape[1]))).reshape(-1)
        _, inner = np.unique(keys, return_inverse=True)
        _, number = np.unique(number * (int(inner.max(initial=0)) + 1) + inner, return_inverse=True)
    return number
