"""Weights: which rows count how much in a round's regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array
from fqi.qfunctions.contract import Weights
from fqi.scan import Scan
from fqi.settings import TrainSettings

Weighting = Callable[[int, torch.Tensor, Scan], Weights | None]
"""The round to come, its targets [P, B], and what the Q that they are from says -> weights; None: all rows alike."""

LEAST = 1e-9  # of the weight of a row that is a head's own, or begins an episode
FLOOR = 0.01  # of the mean residual, added to each: a row without error must be drawn again some day


def uniform(number: int, targets: torch.Tensor, seen: Scan) -> None:
    """All rows alike."""


@dataclass(frozen=True)
class Fixed:
    """Rows count the same in every round, by who acted in them or how late in their episode they are."""

    each: torch.Tensor  # [B] or [P, B]

    def __call__(self, number: int, targets: torch.Tensor, seen: Scan) -> Weights:
        return Weights(self.each.to(targets).expand_as(targets))


@dataclass(frozen=True)
class Split:
    """Each head of a member sees a share of the episodes that no other of its heads sees, so that what one head takes
    noise for, the others do not. Elsewhere its rows weigh next to nothing, for regressors that must have some."""

    each: torch.Tensor  # [P, B]

    def __call__(self, number: int, targets: torch.Tensor, seen: Scan) -> Weights:
        return Weights(self.each.to(targets))

    @classmethod
    def of(cls, log: Log, train: TrainSettings, each: torch.Tensor | None) -> Split:
        """Shares of episodes drawn from each member's seed."""
        H = train.ensemble or 1
        if log.episodes < H:
            raise UserError(
                f"weights split gives each of {H} heads episodes of its own, but the log holds only {log.episodes}"
            )
        drawn = [np.random.default_rng((train.seed + m, 3)).permutation(log.episodes) % H for m in range(train.seeds)]
        own = np.stack([share[log.episode_of_step] == h for share in drawn for h in range(H)])  # [P, B]
        shares = torch.from_numpy(np.where(own, 1.0, LEAST))
        return cls(shares if each is None else shares * each)


@dataclass(frozen=True)
class Prioritised:
    """Rows are drawn in proportion to |residual|^alpha, by what the last round left open, and weighted by
    (B * probability)^-beta, which undoes the bias of that wholly at beta 1 (Schaul et al. 2016)."""

    alpha: float
    beta: float  # in the first round
    rounds: int  # over which beta rises to 1
    each: torch.Tensor | None = None  # [B] other weights of the rows, which are not undone

    def __call__(self, number: int, targets: torch.Tensor, seen: Scan) -> Weights:
        residual = (targets - seen.logged).abs()  # [P, B]
        floor = FLOOR * residual.mean(1, keepdim=True)
        priority = torch.where(floor > 0, residual + floor, torch.ones_like(residual)).pow(self.alpha)
        chance = priority / priority.sum(1, keepdim=True)
        beta = min(1.0, self.beta + (1 - self.beta) * (number - 1) / self.rounds)
        slope = (chance * chance.shape[1]).pow(-beta)
        return Weights(chance if self.each is None else chance * self.each.to(chance), slope)


def weighting(log: Log, train: TrainSettings) -> Weighting:
    """How the rows of this log, a step each, are weighted."""
    each = None
    if train.behaviour_weights is not None:
        each = torch.from_numpy(_of_rows(log, parsed(train.behaviour_weights)))
    if train.occupancy == "discounted":
        late = torch.from_numpy(_discounted(log, train.gamma))
        each = late if each is None else each * late
    if train.subset < 1:
        own = torch.from_numpy(_subset(log, train))
        each = own if each is None else each * own
    if train.weights == "prioritised":
        return Prioritised(train.priority_alpha, train.priority_beta, train.priority_rounds, each)
    if train.weights == "split":
        return Split.of(log, train, each)
    return uniform if each is None else Fixed(each)


def _discounted(log: Log, gamma: float) -> Array:
    """[B] gamma^t of the step t of each row's episode, but at least LEAST."""
    steps = np.arange(log.steps) - np.repeat(log.starts, log.lengths)
    return np.asarray(np.maximum(gamma**steps, LEAST))


def _subset(log: Log, train: TrainSettings) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[P, B] 1 for rows of the episodes that a member draws from its own seed, next to nothing for all others."""
    count = max(1, round(train.subset * log.episodes))
    drawn = [np.random.default_rng((train.seed + m, 5)).permutation(log.episodes) < count for m in range(train.seeds)]
    shares = np.stack([np.where(own[log.episode_of_step], 1.0, LEAST) for own in drawn])
    return np.repeat(shares, train.ensemble or 1, axis=0)


def parsed(text: str) -> dict[str, float]:
    """`random=1,scripted=3` as numbers by name."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        name = name.strip()
        try:
            weight = float(number)
        except ValueError:
            weight = np.nan
        if not name or not 0 < weight < np.inf:
            raise UserError(
                f"behaviour-weights must be NAME=WEIGHT, weights above 0, with commas between; found {part!r} in "
                f"{text!r}"
            )
        if name in found:
            raise UserError(f"behaviour-weights: {name} is given twice")
        found[name] = weight
    return found


def _of_rows(log: Log, weights: dict[str, float]) -> Array:
    """[B] the weight of who acted; behaviours that are not named have 1. A name stands for itself, or for every
    behaviour of which it is the part before the first comma."""
    if log.behaviour is None:
        raise UserError("behaviour-weights: this log does not say who acted in its steps")
    of_behaviour = np.ones(len(log.behaviours))
    for name, weight in weights.items():
        meant = [i for i, known in enumerate(log.behaviours) if name in (known, known.split(",")[0])]
        if not meant:
            raise UserError(f"behaviour-weights: nobody called {name!r} acted in this log: {', '.join(log.behaviours)}")
        of_behaviour[meant] = weight
    return of_behaviour[log.behaviour]
