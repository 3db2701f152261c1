"""Targets: y = return + discount * V(next frame). V is the slot that a value rule fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

ValueRule: TypeAlias = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Values [M, H, B, A] of M members with H heads each, allowed actions [B, A] or None -> [M, H, B]."""


def bellman_targets(returns: torch.Tensor, discounts: torch.Tensor, next_values: torch.Tensor) -> torch.Tensor:
    """[P, B] what Q(frame, action) is regressed on."""
    return returns + discounts * next_values


def masked_max(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """[..., B] the maximum over the allowed actions; 0 where none is allowed, for then nothing is known."""
    if allowed is None:
        return values.amax(-1)
    best = values.masked_fill(~allowed, -torch.inf).amax(-1)
    return torch.where(allowed.any(-1), best, torch.zeros_like(best))


def maximum(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """Every head believes its own maximum: the textbook rule, and the one that overestimates."""
    return masked_max(values, allowed)


def mean(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """The maximum of the mean over a member's heads."""
    return masked_max(values.mean(1, keepdim=True), allowed).expand(values.shape[:-1])


def minimum(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """The maximum of the minimum over a member's heads: no action is worth more than its most doubtful head says."""
    return masked_max(values.amin(1, keepdim=True), allowed).expand(values.shape[:-1])


VALUE_RULES: dict[str, ValueRule] = {"max": maximum, "mean": mean, "min": minimum}
