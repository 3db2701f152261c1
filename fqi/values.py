"""Values of the next state: what a frozen Q, or the last few of them, makes of a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fqi.errors import UserError
from fqi.imports import trusted
from fqi.maximise import Aim, Score
from fqi.settings import Config
from fqi.targets import masked_choice, masked_max, worth


@dataclass(frozen=True)
class Look:
    """What a value rule sees of B frames: M members with H heads each."""

    values: torch.Tensor  # [M, H, B, A] of the newest Q, or their mean over the last rounds
    before: torch.Tensor  # [M, H, B, A] of the Q of the round before; the newest again where there is none
    allowed: torch.Tensor | None  # [B, A] bool
    shares: torch.Tensor  # [M, H] random convex weights, drawn for each round and member
    temperature: float
    chances: torch.Tensor | None = None  # [B, A] how likely the behaviour is to take each action, where a rule asks
    expectile: float = 0.5


@dataclass(frozen=True)
class ValueRule:
    """V of a frame."""

    of: Callable[[Look], torch.Tensor]  # -> [M, H, B]
    aim: Callable[[Look], torch.Tensor] | None = None
    # -> [M, C, B, S] what is climbed where actions are continuous: by each head (C = H) or by all as one (C = 1); the
    # rule is then given the values of the best actions found. None: it has no meaning there.
    heads: int = 1  # heads of a member below which it is nothing but the maximum
    rounds: int = 1  # newest rounds that it looks at
    asks_chances: bool = False  # whether it must be told what the behaviour does


def maximum(look: Look) -> torch.Tensor:
    """Every head believes its own maximum: the textbook rule, and the one that overestimates."""
    return masked_max(look.values, look.allowed)


def mean(look: Look) -> torch.Tensor:
    """The maximum of the mean over a member's heads."""
    return _shared(together(look), look)


def minimum(look: Look) -> torch.Tensor:
    """The maximum of the minimum over a member's heads (Maxmin of Lan et al. 2020 over all of them): no action is worth
    more than its most doubtful head says."""
    return _shared(doubtful(look), look)


def clipped(look: Look) -> torch.Tensor:
    """Every head chooses, and the most doubtful head of its member values the choice (clipped double Q): never above
    `minimum`, which chooses by the minimum itself."""
    choice = masked_choice(look.values, look.allowed)
    return worth(look.values.amin(1, keepdim=True).expand_as(look.values), choice, look.allowed)


def double(look: Look) -> torch.Tensor:
    """Every head chooses, and the next head of its member (the first after the last) values the choice."""
    return worth(look.values.roll(-1, 1), masked_choice(look.values, look.allowed), look.allowed)


def double_previous(look: Look) -> torch.Tensor:
    """The newest Q chooses and the one of the round before values: double Q without a second head. Rewards spread at
    half the pace, since values are always a round older."""
    return worth(look.before, masked_choice(look.values, look.allowed), look.allowed)


def mixture(look: Look) -> torch.Tensor:
    """The maximum of a random convex mixture of a member's heads, drawn anew for each round."""
    return _shared(mixed(look), look)


def softmax(look: Look) -> torch.Tensor:
    """The value expected when actions are drawn with probabilities proportional to exp(Q / temperature)."""
    values, allowed = look.values, look.allowed
    if allowed is None:
        return ((values / look.temperature).softmax(-1) * values).sum(-1)
    chances = (values / look.temperature).masked_fill(~allowed, -torch.inf).softmax(-1)
    found = (chances * values.masked_fill(~allowed, 0)).sum(-1)
    return torch.where(allowed.any(-1), found, torch.zeros_like(found))


def mellowmax(look: Look) -> torch.Tensor:
    """temperature * log of the mean over actions of exp(Q / temperature): between their mean and their maximum."""
    best, values = masked_max(look.values, look.allowed), look.values
    below = ((values - best.unsqueeze(-1)) / look.temperature).expm1()  # in this form it stays exact when nearly a mean
    if look.allowed is None:
        return best + look.temperature * below.mean(-1).log1p()
    mean = below.masked_fill(~look.allowed, 0).sum(-1) / look.allowed.sum(-1).clamp_min(1)
    return best + look.temperature * mean.log1p()


def expectile(look: Look) -> torch.Tensor:
    """The expectile of a head's values over the actions that the behaviour takes (Kostrikov et al. 2022): what is never
    taken counts for nothing. The expectile is the largest of all means in which the best k actions weigh `expectile`
    and the others what is left of 1."""
    assert look.chances is not None
    chances, values = look.chances.to(look.values), look.values
    if look.allowed is not None:
        chances, values = chances * look.allowed, values.masked_fill(~look.allowed, 0)
    values, order = values.sort(-1, descending=True)  # [M, H, B, A]
    chances = chances.expand_as(values).gather(-1, order)
    slope = 2 * look.expectile - 1
    mass = (1 - look.expectile) * chances.sum(-1, keepdim=True) + slope * chances.cumsum(-1)
    sums = (1 - look.expectile) * (chances * values).sum(-1, keepdim=True) + slope * (chances * values).cumsum(-1)
    best = (sums / mass).masked_fill(mass <= 0, -torch.inf).amax(-1)
    return torch.where(chances.sum(-1) > 0, best, torch.zeros_like(best))


# What is climbed where actions are continuous


def each(look: Look) -> torch.Tensor:
    """Every head looks for the best action by itself."""
    return look.values


def together(look: Look) -> torch.Tensor:
    """The heads of a member look for the action that is best by their mean."""
    return look.values.mean(1, keepdim=True)


def doubtful(look: Look) -> torch.Tensor:
    """They look for the one that is best by their minimum."""
    return look.values.amin(1, keepdim=True)


def mixed(look: Look) -> torch.Tensor:
    """They look for the one that is best by their random mixture."""
    return (look.values * look.shares.to(look.values)[:, :, None, None]).sum(1, keepdim=True)


def _shared(values: torch.Tensor, look: Look) -> torch.Tensor:
    """The maximum of values [M, 1, B, A] that all heads of a member share."""
    return masked_max(values, look.allowed).expand(look.values.shape[:-1])


VALUE_RULES: dict[str, ValueRule] = {
    "max": ValueRule(maximum, each),
    "mean": ValueRule(mean, together, heads=2),
    "min": ValueRule(minimum, doubtful, heads=2),
    "clipped": ValueRule(clipped, each, heads=2),
    "double": ValueRule(double, each, heads=2),
    "double-previous": ValueRule(double_previous, rounds=2),
    "mixture": ValueRule(mixture, mixed, heads=2),
    "softmax": ValueRule(softmax),
    "mellowmax": ValueRule(mellowmax),
    "expectile": ValueRule(expectile, asks_chances=True),
}


def named_rule(name: str) -> ValueRule:
    """The rule of this name; of `py:MODULE:CALLABLE` one that calls it, once the user has allowed it to run."""
    return VALUE_RULES[name] if name in VALUE_RULES else ValueRule(lambda look: _called(name, look))


def _called(name: str, look: Look) -> torch.Tensor:
    """What a function of the user's makes of a look."""
    found, wanted = trusted(name, "target")(look), look.values.shape[:-1]
    if not isinstance(found, torch.Tensor) or found.shape != wanted or not found.dtype.is_floating_point:
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise UserError(f"target {name} must make a tensor of numbers of shape {list(wanted)} (M, H, B), found {what}")
    if not bool(torch.isfinite(found).all()):
        raise UserError(f"target {name} must make finite numbers, found NaN or infinity")
    return found.to(look.values)


class Values(Protocol):
    """V of frames for every member: by one rule, or by each setting's own."""

    @property
    def members(self) -> int:
        """M."""

    @property
    def rounds(self) -> int:
        """R, the newest rounds that are looked at."""

    @property
    def asks_chances(self) -> bool:
        """Whether they must be told what the behaviour does."""

    def __call__(
        self,
        recent: Sequence[torch.Tensor],
        allowed: torch.Tensor | None,
        number: int,
        chances: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[P, B] from the values [P, B, A] of the last rounds, the newest first; `number` is its round, `chances`
        [B, A] what the behaviour does, where they ask."""


@dataclass(frozen=True)
class Value:
    """V of frames as the settings have it: a rule, and what it is given to look at."""

    rule: ValueRule = VALUE_RULES["max"]
    seeds: tuple[int, ...] = (0,)  # [M] of the members, for what is drawn at random
    average: int = 1  # newest rounds whose mean the rule is given
    temperature: float = 1.0
    expectile: float = 0.5

    @classmethod
    def of(cls, config: Config) -> Value:
        train = config.train
        seeds = tuple(range(train.seed, train.seed + train.seeds))
        if train.target.startswith("py:"):
            trusted(train.target, "target")  # refused here, before anything is made
        return cls(named_rule(train.target), seeds, train.average, train.temperature, train.expectile)

    @property
    def members(self) -> int:
        """M."""
        return len(self.seeds)

    @property
    def rounds(self) -> int:
        """R, the newest rounds that are looked at."""
        return max(self.average, self.rule.rounds)

    @property
    def asks_chances(self) -> bool:
        return self.rule.asks_chances

    def of_members(self, members: slice) -> Value:
        """The same for some members alone."""
        return dataclasses.replace(self, seeds=self.seeds[members])

    def choosers(self, heads: int) -> int:
        """C, how many of a member's heads look for a best action of their own where actions are continuous."""
        return heads if self.rule.aim is each else 1

    def aim(self, number: int) -> Aim:
        """What a search for the best action climbs, of values [M, H, B, S] of this round."""
        rule = self.rule.aim
        if rule is None:
            raise ValueError("this rule has no meaning for continuous actions")

        def climbed(values: torch.Tensor) -> torch.Tensor:
            return rule(Look(values, values, None, self._shares(number, values.shape[1]), self.temperature))

        return climbed

    def __call__(
        self,
        recent: Sequence[torch.Tensor],
        allowed: torch.Tensor | None,
        number: int,
        chances: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[P, B] from the values [P, B, A] of the last rounds, the newest first; `number` is its round, `chances`
        [B, A] what the behaviour does, for rules that ask."""
        P, B, A = recent[0].shape
        grouped = [values.reshape(self.members, -1, B, A) for values in recent[: self.rounds]]
        values = grouped[0] if self.average == 1 else torch.stack(grouped).mean(0)
        shares = self._shares(number, values.shape[1])
        look = Look(values, grouped[-1], allowed, shares, self.temperature, chances, self.expectile)
        return self.rule.of(look).reshape(P, B)

    def _shares(self, number: int, heads: int) -> torch.Tensor:
        """[M, H] a pure function of the member's seed and the round, so that nothing has to be kept."""
        drawn = np.stack([np.random.default_rng((seed, 2, number)).random(heads) for seed in self.seeds])
        return torch.from_numpy(drawn / drawn.sum(1, keepdims=True))


def worth_of_best(best: torch.Tensor, score: Score, value: Value, number: int) -> torch.Tensor:
    """[P, B] what a value rule makes of the best actions [M, C, B, K] that were found."""
    found = score(best.transpose(1, 2).unsqueeze(1)).flatten(0, 1)  # [P, B, C]
    return value([found], None, number)
