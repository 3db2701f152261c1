"""Returns: how far a row looks along the log before its target bootstraps, and how much it believes what it sees.

What lies ahead of a row was played by the behaviour, not by the greedy policy that V speaks of. From the second action
on a trace coefficient c says how far to follow; the rest of the weight bootstraps at once:

    G(i) = reward(i) + discount(i) * ((1 - c(i + 1)) V(i + 1) + c(i + 1) G(i + 1)),   at most n steps deep

An episode's end ends every trace. With c = 1 this is the plain n-step return, with c = lambda the lambda-return. `cut`
has c = 1 where the logged action is greedy and 0 elsewhere; `importance` has c = pi / mu, at most the cap, where pi is
the greedy policy. Both aim at the greedy policy's value whatever the behaviour was, since what c leaves out bootstraps:
a low cap looks less far but is not biased, and at a cap of 1 the two are the same. Only `ignore` (c = 1 throughout)
aims at what the behaviour goes on to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fqi.errors import UserError
from fqi.log import Log
from fqi.scan import Scan, Table
from fqi.settings import TrainSettings
from fqi.targets import bellman_targets
from fqi.transitions import Transitions, transitions

TINY = 1e-12  # a pair that only held-out rows have may have been counted never


class Returns(Protocol):
    """From what a frozen Q says of the log to a target for every row."""

    @property
    def asks_greedy(self) -> bool:
        """Whether it must be told how likely the greedy policy is to take the logged actions."""

    @property
    def asks_chance(self) -> bool:
        """Whether it must be told how likely the behaviour was to take them, as a model of it has it."""

    def __call__(self, table: Table, seen: Scan) -> torch.Tensor:
        """[P, B] targets."""


@dataclass(frozen=True)
class Bootstrap:
    """Return and discount as the rows have them: one step, or n steps whatever was played on the way."""

    asks_greedy: bool = False
    asks_chance: bool = False

    def __call__(self, table: Table, seen: Scan) -> torch.Tensor:
        """[P, B] targets."""
        return bellman_targets(table.returns, table.discounts, seen.next_values)


BOOTSTRAP = Bootstrap()


@dataclass(frozen=True)
class Trace:
    """Returns that follow the log as far as the trace coefficients go; rows are single steps in the log's order."""

    goes_on: torch.Tensor  # [B] bool: the next row is the next step of the same episode
    n: int  # steps at most
    decay: float  # lambda
    chance: torch.Tensor | None = None  # [B] the behaviour's probability of the logged action, as the log tells it
    cap: float = 1.0  # the largest importance weight
    asks_greedy: bool = False  # whether actions that are not greedy end a trace
    asks_chance: bool = False  # whether importance weights take the probability from a model of the behaviour

    def __call__(self, table: Table, seen: Scan) -> torch.Tensor:
        """[P, B] targets."""
        V, discounts = seen.next_values, table.discounts
        follow = self._coefficients(seen)  # [P, B] c of the next row
        own = bellman_targets(table.returns, discounts * (1 - follow), V)
        weight = (discounts * follow)[:, :-1]
        found = bellman_targets(table.returns, discounts, V)
        for _ in range(self.n - 1):
            longer = own.clone()
            longer[:, :-1] += weight * found[:, 1:]
            found = longer
        return found

    def _coefficients(self, seen: Scan) -> torch.Tensor:
        """[P, B] the trace coefficient of the next row's action; 0 beyond an episode's end."""
        c = torch.full_like(seen.next_values, self.decay)
        if seen.greedy is not None:
            chance = seen.chance if self.asks_chance else self.chance
            weight = (seen.greedy > 0).to(c) if chance is None else seen.greedy / chance.to(c).clamp_min(TINY)
            c *= weight.clamp_max(self.cap)
        following = torch.zeros_like(c)
        following[:, :-1] = c[:, 1:]
        return following * self.goes_on.to(c)


def prepared(log: Log, train: TrainSettings) -> tuple[Transitions, Bootstrap | Trace]:
    """The rows to regress on, and what makes their targets."""
    rule, n = train.n_step_rule, train.n_step
    if rule == "ignore" and train.trace_decay == 1:
        return transitions(log, train.gamma, n, train.stack), BOOTSTRAP
    longest = int(log.lengths.max(initial=1))
    chance = None
    estimated = rule == "importance" and train.propensities == "estimated"
    if rule == "importance" and not estimated:
        if log.propensity is None:
            raise UserError(
                "n-step-rule importance weighs with the behaviour's propensities, and this log has none; give "
                "propensities estimated, or n-step-rule cut, which needs none"
            )
        chance = torch.from_numpy(log.propensity.astype(np.float64))
    goes_on = torch.ones(log.steps, dtype=torch.bool)
    goes_on[torch.from_numpy(np.cumsum(log.lengths) - 1)] = False
    cap = train.importance_cap if rule == "importance" else 1.0
    trace = Trace(goes_on, min(n, longest), train.trace_decay, chance, cap, rule != "ignore", estimated)
    return transitions(log, train.gamma, stack=train.stack), trace
