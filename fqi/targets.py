"""Targets: y = return + discount * V(next frame). V is the slot that a value rule fills (`fqi/values.py`)."""

from __future__ import annotations

import torch


def bellman_targets(returns: torch.Tensor, discounts: torch.Tensor, next_values: torch.Tensor) -> torch.Tensor:
    """[P, B] what Q(frame, action) is regressed on."""
    return returns + discounts * next_values


def masked_max(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """[..., B] the maximum over the allowed actions; 0 where none is allowed, for then nothing is known."""
    if allowed is None:
        return values.amax(-1)
    best = values.masked_fill(~allowed, -torch.inf).amax(-1)
    return torch.where(allowed.any(-1), best, torch.zeros_like(best))


def masked_choice(values: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """[..., B] the best of the allowed actions."""
    return (values if allowed is None else values.masked_fill(~allowed, -torch.inf)).argmax(-1)


def worth(values: torch.Tensor, choice: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """[..., B] what these values say of the actions chosen; 0 where none is allowed."""
    found = values.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
    return found if allowed is None else torch.where(allowed.any(-1), found, torch.zeros_like(found))
