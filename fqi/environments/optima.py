"""Exact optima of our environments, found by search in their true dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtr

from fqi.environments import left_right as walk
from fqi.environments import nfq_control
from fqi.environments.car_on_the_hill import advance, literature_states, outcome
from fqi.errors import UserError
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
    goal_at, crash_at, survives = _searched(states, advance, outcome, _HORIZON)
    reaches = goal_at > 0
    steps = np.where(reaches, goal_at, np.where(survives, 0, crash_at))
    rewards = np.where(reaches, 1.0, np.where(survives, 0.0, -1.0))
    return Optimum(rewards * gamma ** (np.maximum(steps, 1) - 1.0), steps, reaches)


def nfq_mountain_car(states: Array) -> Optimum:
    """The optimal undiscounted return of NFQ's mountain car from these states [B, 2], by the same search over 50 steps.

    Every length is that of a real sequence; that none is shorter was not proved here. Mean over the positions -1, -.9 …
    .7 at rest: -.26556.
    """
    goal_at, _, survives = _searched(states, nfq_control.drive, nfq_control.arrived, 50)
    if not (survives | (goal_at > 0)).all():
        raise UserError("from some of these states no action keeps NFQ's mountain car on its hill")
    steps = np.where(goal_at > 0, goal_at, 0)
    return Optimum(-nfq_control.COST * np.where(goal_at > 0, goal_at - 1.0, 50.0), steps, goal_at > 0)


def _searched(
    states: Array,
    advance: Callable[[Array, Array], Array],
    outcome: Callable[[Array], tuple[Array, Array]],
    horizon: int,
) -> tuple[Array, Array, Array]:
    """From each of B states the first step at which the goal can be reached (0: never), the last at which the crash can
    be put off to, and whether it can be put off beyond the horizon."""
    count = len(states)
    goal_at, crash_at = np.zeros(count, np.int64), np.zeros(count, np.int64)
    starts, living = np.arange(count), np.asarray(states, np.float64)
    for step in range(1, horizon + 1):
        actions = np.repeat([0, 1], len(living))  # [2B]
        starts, living = np.tile(starts, 2), advance(np.tile(living, (2, 1)), actions)
        goal, crashed = outcome(living)
        crash_at[starts] = step  # overwritten as long as any sequence survives
        goal_at[starts[goal & (goal_at[starts] == 0)]] = step
        going = ~crashed & (goal_at[starts] == 0)
        starts, living = _one_of_each_cell(starts[going], living[going])
        if not len(starts):
            break
    return goal_at, crash_at, np.isin(np.arange(count), starts)


def _one_of_each_cell(starts: Array, states: Array) -> tuple[Array, Array]:
    cells = np.floor(states / _CELL).astype(np.int64)
    keys = (starts * 1000 + cells[:, 0] + 500) * 1000 + cells[:, 1] + 500
    _, kept = np.unique(keys, return_index=True)
    return starts[kept], states[kept]


@cache
def car_on_the_hill_literature(gamma: float = 0.95) -> Optimum:
    """The optimum from the literature's 289 states: .35276 on average at gamma .95. The search takes some 3 s."""
    return car_on_the_hill(literature_states(), gamma)


def left_right(gamma: float = 0.75, cells: int = 400) -> tuple[Array, Array]:
    """Left or right: places [N] on a grid, and the optimal Q [2, N] there (left, right).

    Value iteration to a fixed point; the integral over the noise by the trapezoid rule, leaving by the normal
    distribution itself. From 5, 400 cells and 2,000 differ by .0002.
    """
    places = np.linspace(0, walk.LENGTH, cells + 1)
    weights = np.full(cells + 1, walk.LENGTH / cells)
    weights[[0, -1]] /= 2
    means = places + walk.MOVES[:, None]  # [2, N]
    density = np.exp(-0.5 * np.square(places - means[:, :, None])) / np.sqrt(2 * np.pi) * weights  # [2, N, N]
    leaving = walk.LEFT * ndtr(-means) + walk.RIGHT * ndtr(means - walk.LENGTH)
    found = leaving
    for _ in range(10_000):
        before, found = found, leaving + gamma * density @ found.max(0)
        if np.abs(found - before).max() < 1e-12:
            break
    return places, found
