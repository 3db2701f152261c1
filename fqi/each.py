"""The slots of the fold where settings differ: every setting's own, over the heads of its members.

A setting's heads lie side by side, and its slots see nothing but them: what they make is bit for bit what they would
make if the setting were trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fqi.bounds import earnable
from fqi.log import Log
from fqi.qfunctions.contract import Weights
from fqi.returns import Returns, prepared
from fqi.scan import Bound, Scan, Table
from fqi.settings import Config
from fqi.transitions import Transitions
from fqi.values import Value, Values
from fqi.weights import Weighting, weighting


def parts(config: Config) -> list[slice]:
    """The heads of each setting."""
    size = config.train.seeds * config.heads
    return [slice(i * size, (i + 1) * size) for i in range(len(config.settings))]


@dataclass(frozen=True)
class EachValue:
    """V of frames by each setting's own rule."""

    values: tuple[Value, ...]
    heads: tuple[slice, ...]

    @property
    def members(self) -> int:
        return sum(value.members for value in self.values)

    @property
    def rounds(self) -> int:
        return max(value.rounds for value in self.values)

    @property
    def asks_chances(self) -> bool:
        return any(value.asks_chances for value in self.values)

    def __call__(
        self,
        recent: Sequence[torch.Tensor],
        allowed: torch.Tensor | None,
        number: int,
        chances: torch.Tensor | None = None,
    ) -> torch.Tensor:
        pairs = zip(self.values, self.heads, strict=True)
        return torch.cat([value([q[own] for q in recent], allowed, number, chances) for value, own in pairs])


def value_of(config: Config) -> Values:
    """V as the settings have it."""
    if len(config.settings) == 1:
        return Value.of(config)
    return EachValue(tuple(Value.of(setting) for setting in config.settings), tuple(parts(config)))


@dataclass(frozen=True)
class EachReturns:
    """Targets from each setting's own rewards and discounts."""

    rows: tuple[Transitions, ...]
    returns: tuple[Returns, ...]
    heads: tuple[slice, ...]

    @property
    def asks_greedy(self) -> bool:
        return any(returns.asks_greedy for returns in self.returns)

    @property
    def asks_chance(self) -> bool:
        return any(returns.asks_chance for returns in self.returns)

    def __call__(self, table: Table, seen: Scan) -> torch.Tensor:
        made = []
        for rows, returns, own in zip(self.rows, self.returns, self.heads, strict=True):
            part = seen.part(own)
            rewards, discounts = (torch.as_tensor(a).to(part.logged) for a in (rows.returns, rows.discount))
            made.append(returns(replace(table, returns=rewards, discounts=discounts), part))
        return torch.cat(made)


@dataclass(frozen=True)
class EachWeighting:
    """Each setting's own weights."""

    weightings: tuple[Weighting, ...]
    heads: tuple[slice, ...]

    def __call__(self, number: int, targets: torch.Tensor, seen: Scan) -> Weights | None:
        pairs = list(zip(self.weightings, self.heads, strict=True))
        found = [(weighting(number, targets[own], seen.part(own)), own) for weighting, own in pairs]
        weighted = [(weights, own) for weights, own in found if weights is not None]
        if not weighted:
            return None
        draw, alike = torch.ones_like(targets), torch.ones(len(targets), dtype=torch.bool)
        slope = torch.ones_like(targets) if any(weights.slope is not None for weights, _ in weighted) else None
        for weights, own in weighted:
            draw[own], alike[own] = weights.draw, False
            if slope is not None and weights.slope is not None:
                slope[own] = weights.slope
        return Weights(draw, slope, alike)


@dataclass(frozen=True)
class Slots:
    """What one training has in the slots of the fold."""

    rows: Transitions
    value: Values
    returns: Returns
    weights: Weighting
    earnable: list[tuple[float, float]]  # by each member
    bound: Bound  # of the values of next states, by each head


def slots(log: Log, config: Config) -> Slots:
    """The slots of every setting; where there is but one, its own."""
    made = [_of_one(log, setting) for setting in config.settings]
    if len(made) == 1:
        return made[0]
    heads = tuple(parts(config))
    returns = EachReturns(tuple(m.rows for m in made), tuple(m.returns for m in made), heads)
    limits = torch.tensor([m.bound for m in made]).repeat_interleave(config.train.seeds * config.heads, 0)  # [P, 2]
    return Slots(
        made[0].rows,
        value_of(config),
        returns,
        EachWeighting(tuple(m.weights for m in made), heads),
        [pair for m in made for pair in m.earnable],
        (limits[:, :1], limits[:, 1:]),
    )


def _of_one(log: Log, config: Config) -> Slots:
    rows, returns = prepared(log, config.train)
    low, high = earnable(log, config.train.gamma)
    bound = (-torch.inf, torch.inf)
    if config.train.bound == "earnable":
        bound = (min(low, 0.0), max(high, 0.0))  # before the first round every value is 0
    weights = weighting(log, config.train)
    return Slots(rows, Value.of(config), returns, weights, [(low, high)] * config.train.seeds, bound)
