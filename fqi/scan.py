"""What a frozen Q says of a whole log, gathered for the rows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from fqi.qfunctions.contract import ContinuousQ, Fitted, QFunction
from fqi.targets import masked_choice, masked_max
from fqi.transitions import Transitions
from fqi.values import Value, Values

SCAN = 65536  # frames valued at once
NUMBERS = 2**24  # values of a head at once, about

Bound = tuple[float, float] | tuple[torch.Tensor, torch.Tensor]
"""Lowest and highest that the value of a next state may be: of all heads, or of each [P, 1]."""


@dataclass(frozen=True)
class Table:
    """The rows as tensors on the device and in the precision of the regressor."""

    frame: torch.Tensor  # [B], ascending
    action: torch.Tensor  # [B]; empty where actions are continuous
    returns: torch.Tensor  # [B]
    discounts: torch.Tensor  # [B]
    next_frame: torch.Tensor  # [B]
    mask: torch.Tensor | None  # [F, A] legal actions
    frames: int  # F

    @classmethod
    def of(cls, rows: Transitions, like: torch.Tensor) -> Table:
        def tensor(array: Any, dtype: torch.dtype) -> torch.Tensor:
            return torch.as_tensor(array).to(device=like.device, dtype=dtype)

        log = rows.log
        return cls(
            frame=tensor(rows.frame, torch.int64),
            action=tensor(rows.action if rows.action.dtype.kind in "iu" else np.zeros(0), torch.int64),
            returns=tensor(rows.returns, like.dtype),
            discounts=tensor(rows.discount, like.dtype),
            next_frame=tensor(rows.next_frame, torch.int64),
            mask=None if log.action_mask is None else tensor(log.action_mask.copy(), torch.bool),
            frames=log.steps + log.episodes,
        )


@dataclass(frozen=True)
class Scan:
    """What a frozen Q says of the whole log."""

    logged: torch.Tensor  # [P, B] Q(frame, action) of every row
    next_values: torch.Tensor  # [P, B] V(next frame) of every row
    greedy: torch.Tensor | None  # [P, B] the greedy policy's probability of the logged action, where asked for
    chosen: torch.Tensor | None = None  # [M, A] how many frames each member's greedy policy takes each action in
    chance: torch.Tensor | None = None  # [B] the behaviour's probability of it, as its model has it, where asked for

    def part(self, heads: slice) -> Scan:
        """What some of the heads say."""
        greedy = None if self.greedy is None else self.greedy[heads]
        return replace(self, logged=self.logged[heads], next_values=self.next_values[heads], greedy=greedy)


class Scanning(Protocol):
    """Says once a round what the Q of that round makes of the whole log."""

    table: Table

    def __call__(self, number: int) -> Scan: ...


def scanner(
    rows: Transitions,
    q: Fitted,
    value: Values,
    bound: Bound = (-math.inf, math.inf),
    past: Sequence[torch.Tensor] = (),
    asks_greedy: bool = False,
    asks_chance: bool = False,
) -> Scanning:
    """All actions are valued where they are Discrete; where they are continuous, the best one is searched."""
    match q:
        case QFunction():
            table = Table.of(rows, like=q.log_values(0, 1))
            return Scanner(table, q, value, bound, past, asks_greedy, asks_chance)
        case ContinuousQ():
            assert isinstance(value, Value)  # a search has no settings side by side
            return Searcher(Table.of(rows, like=q.like()), q, value, bound)
    raise TypeError(f"expected a QFunction or a ContinuousQ, found {type(q).__name__}")


class Searcher:
    """Values the logged actions, and searches for the best one in every frame that rows bootstrap from."""

    def __init__(self, table: Table, q: ContinuousQ, value: Value, bound: Bound) -> None:
        self.table, self.q, self.value, self.bound = table, q, value, bound

    def __call__(self, number: int) -> Scan:
        values = self.q.log_search(self.value, number)  # [P, F]
        return Scan(self.q.logged(), _within(values, self.bound)[:, self.table.next_frame], None)


class Scanner:
    """Values every frame of the log once a round, in large slices, and gathers what the rows need."""

    def __init__(
        self,
        table: Table,
        q: QFunction,
        value: Values,
        bound: Bound = (-math.inf, math.inf),
        past: Sequence[torch.Tensor] = (),
        asks_greedy: bool = False,
        asks_chance: bool = False,
    ) -> None:
        self.table, self.q, self.value, self.bound = table, q, value, bound
        self.asks_greedy, self.asks_chance = asks_greedy, asks_chance
        self.parts = list(slices(table.frames, q.actions))
        ends = torch.tensor([0, *(stop for _, stop in self.parts)], device=table.frame.device)
        self.edges = torch.searchsorted(table.frame, ends).tolist()  # once, so that no round waits for the device
        self.past = deque(
            past[: value.rounds - 1], maxlen=value.rounds - 1
        )  # [P, F, A] of earlier rounds, the newest first

    def __call__(self, number: int) -> Scan:
        """What the Q of this round says."""
        table, q = self.table, self.q
        like = q.log_values(0, 1)
        logged = like.new_empty(q.heads, len(table.frame))  # [P, B]
        values = like.new_empty(q.heads, table.frames)  # [P, F]
        keep = self.past.maxlen and number > 0  # before the first round there is nothing worth looking back at
        whole = like.new_empty(q.heads, table.frames, q.actions) if keep else None
        greedy = torch.empty_like(logged) if self.asks_greedy else None
        chosen = torch.zeros(self.value.members, q.actions, dtype=torch.int64, device=like.device)
        chance = torch.empty_like(logged[0]) if self.asks_chance else None
        for (start, stop), lo, hi in zip(self.parts, self.edges, self.edges[1:], strict=False):
            part = q.log_values(start, stop)  # [P, b, A]
            if whole is not None:
                whole[:, start:stop] = part
            logged[:, lo:hi] = part[:, table.frame[lo:hi] - start, table.action[lo:hi]]  # [P, hi - lo]
            allowed = both(q.log_support(start, stop), None if table.mask is None else table.mask[start:stop])
            recent = [part, *(earlier[:, start:stop] for earlier in self.past)]
            chances = self._chances(start, stop)
            values[:, start:stop] = self.value(recent, allowed, number, chances)
            mean = part.view(self.value.members, -1, *part.shape[1:]).mean(1)  # [M, b, A]
            choice = masked_choice(mean, allowed)
            chosen.scatter_add_(1, choice, torch.ones_like(choice))
            if greedy is not None:
                best = greedy_chances(part, allowed, self.value.members)
                greedy[:, lo:hi] = best[:, table.frame[lo:hi] - start, table.action[lo:hi]]
            if chance is not None and chances is not None:
                chance[lo:hi] = chances[table.frame[lo:hi] - start, table.action[lo:hi]]
        if whole is not None:
            self.past.appendleft(whole)
        return Scan(logged, _within(values, self.bound)[:, table.next_frame], greedy, chosen, chance)

    def _chances(self, start: int, stop: int) -> torch.Tensor | None:
        """[stop - start, A] what the behaviour does, where it is asked for."""
        if not self.asks_chance and not self.value.asks_chances:
            return None
        found = self.q.log_chances(start, stop)
        if found is None:
            raise RuntimeError("a model of the behaviour is asked for, and this Q-function has none")
        return found


def _within(values: torch.Tensor, bound: Bound) -> torch.Tensor:
    """The values [P, F], those beyond the bound at it."""
    low, high = (values.new_tensor(b) if isinstance(b, float) else b.to(values) for b in bound)
    return values.clamp_(low, high)


def greedy_chances(values: torch.Tensor, allowed: torch.Tensor | None, members: int) -> torch.Tensor:
    """[P, B, A] how likely the greedy policy of a head's member is to take each action: the best by the mean over its
    heads, or any of those that are equally good."""
    P, B, A = values.shape
    mean = values.reshape(members, -1, B, A).mean(1)  # [M, B, A]
    best = mean == masked_max(mean, allowed).unsqueeze(-1)
    best = best if allowed is None else best & allowed
    chances = best.to(values.dtype) / best.sum(-1, keepdim=True).clamp_min(1)
    return chances.repeat_interleave(P // members, 0)


def slices(frames: int, actions: int = 1) -> Iterator[tuple[int, int]]:
    """Where each part of the log begins and ends that is valued at once: shorter ones where there are many actions."""
    step = min(SCAN, max(SCAN // 64, NUMBERS // max(actions, 1)))
    for start in range(0, frames, step):
        yield start, min(start + step, frames)


def log_values(q: QFunction, frames: int) -> torch.Tensor:
    """[P, F, A] what Q says of every frame of the log, bit for bit as a scan sees it."""
    return torch.cat([q.log_values(start, stop) for start, stop in slices(frames, q.actions)], 1)


def both(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    """[B, A] the actions that both allow; None allows every one."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
