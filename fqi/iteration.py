"""Fitted Q-iteration: freeze Q, compute every target once, regress, repeat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from fqi.qfunctions.contract import QFunction
from fqi.targets import ValueRule, bellman_targets
from fqi.transitions import Transitions

SCAN = 65536  # frames valued at once


def fitted_q_iteration(
    rows: Transitions,
    q: QFunction,
    rule: ValueRule,
    members: int,
    rounds: range,
    bound: tuple[float, float] = (-math.inf, math.inf),
) -> Iterator[Round]:
    """K rounds over rows that `q` is bound to; each yields what was regressed on and what came of it.

    `bound` holds the lowest and highest value that a next state may have.
    """
    table = Table.of(rows, like=q.log_values(0, 1))
    seen = scan(table, q, rule, members, bound)
    for number in rounds:
        targets = bellman_targets(table.returns, table.discounts, seen.next_values)
        fit = q.fit(targets)
        seen = scan(table, q, rule, members, bound)
        yield Round(number, targets, seen, bellman_targets(table.returns, table.discounts, seen.next_values), fit)


@dataclass(frozen=True)
class Round:
    """One frozen target, one regression."""

    number: int
    targets: torch.Tensor  # [P, B] from the Q of the round before
    seen: Scan  # what the new Q says of the log
    next_targets: torch.Tensor  # [P, B] from the new Q
    fit: dict[str, list[int] | list[float]]  # what the regressor says of its fit, a number for each head


@dataclass(frozen=True)
class Table:
    """The rows as tensors on the device and in the precision of the regressor."""

    frame: torch.Tensor  # [B], ascending
    action: torch.Tensor  # [B]
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
            action=tensor(rows.action, torch.int64),
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


def scan(table: Table, q: QFunction, rule: ValueRule, members: int, bound: tuple[float, float]) -> Scan:
    """Value every frame of the log once, in large slices, and gather what the rows need."""
    like = q.log_values(0, 1)
    logged = like.new_empty(q.heads, len(table.frame))  # [P, B]
    values = like.new_empty(q.heads, table.frames)  # [P, F]
    for start in range(0, table.frames, SCAN):
        stop = min(start + SCAN, table.frames)
        part = q.log_values(start, stop)  # [P, b, A]
        lo, hi = (int(i) for i in torch.searchsorted(table.frame, torch.tensor([start, stop], device=like.device)))
        logged[:, lo:hi] = part[:, table.frame[lo:hi] - start, table.action[lo:hi]]
        allowed = _both(q.log_support(start, stop), None if table.mask is None else table.mask[start:stop])
        grouped = part.reshape(members, q.heads // members, stop - start, q.actions)  # [M, H, b, A]
        values[:, start:stop] = rule(grouped, allowed).reshape(q.heads, stop - start)
    return Scan(logged, values.clamp_(*bound)[:, table.next_frame])


def _both(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second
