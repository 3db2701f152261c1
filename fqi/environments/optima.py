"""Exact optima of our environments, found by search in their true dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from fqi.environments.car_on_the_hill import advance, literature_states, outcome
from fqi.nest import Array

_CELL = np.array([0.02, 0.06])  # position, speed
_HORIZON = 60  # steps; no state is farther from the goal than half of that


@dataclass(frozen=True)
class Optimum:
    """The best that any policy can do from each of B states."""

    values: Array  # [B] discounted return
    steps: Array  # [B] int64: steps to the end of the episode, 0 where it need never end
    reaches_goal: Array  # [B] bool


def car_on_the_hill(states: Array, gamma: float = 0.95) -> Optimum:
    """The optimum from these states [B, 2]: the goal as soon as possible, else the crash as late as possible.

    A breadth-first search over action sequences that keeps one state of every start, step and cell. Every length it
    finds is that of a real sequence. That no shorter one exists was proved for the 289 states of the literature by
    going through all sequences without cells; cells of half the size change nothing either.
    """
    count = len(states)
    goal_at, crash_at = np.zeros(count, np.int64), np.zeros(count, np.int64)
    starts, living = np.arange(count), np.asarray(states, np.float64)
    for step in range(1, _HORIZON + 1):
        actions = np.repeat([0, 1], len(living))  # [2B]
        starts, living = np.tile(starts, 2), advance(np.tile(living, (2, 1)), actions)
        goal, crashed = outcome(living)
        crash_at[starts] = step  # overwritten as long as any sequence survives
        goal_at[starts[goal & (goal_at[starts] == 0)]] = step
        going = ~crashed & (goal_at[starts] == 0)
        starts, living = _one_of_each_cell(starts[going], living[going])
        if not len(starts):
            break
    survives = np.isin(np.arange(count), starts)
    reaches = goal_at > 0
    steps = np.where(reaches, goal_at, np.where(survives, 0, crash_at))
    rewards = np.where(reaches, 1.0, np.where(survives, 0.0, -1.0))
    return Optimum(rewards * gamma ** (np.maximum(steps, 1) - 1.0), steps, reaches)


def _one_of_each_cell(starts: Array, states: Array) -> tuple[Array, Array]:
    cells = np.floor(states / _CELL).astype(np.int64)
    keys = (starts * 1000 + cells[:, 0] + 500) * 1000 + cells[:, 1] + 500
    _, kept = np.unique(keys, return_index=True)
    return starts[kept], states[kept]


@cache
def car_on_the_hill_literature(gamma: float = 0.95) -> Optimum:
    """The optimum from the literature's 289 states: .35276 on average at gamma .95. The search takes some 3 s."""
    return car_on_the_hill(literature_states(), gamma)
