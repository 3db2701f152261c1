"""Fitted Q-iteration: freeze Q, compute every target once, regress, repeat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from fqi.qfunctions.contract import Fitted
from fqi.returns import BOOTSTRAP, Returns
from fqi.scan import Bound, Scan, scanner
from fqi.transitions import Transitions
from fqi.values import Values
from fqi.weights import Weighting, uniform


def fitted_q_iteration(
    rows: Transitions,
    q: Fitted,
    value: Values,
    rounds: range,
    bound: Bound = (-math.inf, math.inf),
    past: Sequence[torch.Tensor] = (),
    returns: Returns = BOOTSTRAP,
    weights: Weighting = uniform,
) -> Iterator[Round]:
    """K rounds over rows that `q` is bound to; each yields what was regressed on and what came of it.

    `bound` holds the lowest and highest value that a next state may have; `past` what Q said of every frame in the
    rounds before the last one, the newest first, where `value` looks back that far (`scan.log_values`).
    """
    scan = scanner(rows, q, value, bound, past, returns.asks_greedy, returns.asks_chance)
    seen = scan(rounds.start - 1)
    targets = returns(scan.table, seen)
    for number in rounds:
        fit = q.fit(targets, weights(number, targets, seen))
        seen = scan(number)
        frozen, targets = targets, returns(scan.table, seen)
        yield Round(number, frozen, seen, targets, fit)


@dataclass(frozen=True)
class Round:
    """One frozen target, one regression."""

    number: int
    targets: torch.Tensor  # [P, B] from the Q of the round before
    seen: Scan  # what the new Q says of the log
    next_targets: torch.Tensor  # [P, B] from the new Q
    fit: dict[str, list[int] | list[float]]  # what the regressor says of its fit, a number for each head
