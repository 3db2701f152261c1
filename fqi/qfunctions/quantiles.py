"""A return's distribution by N equally likely quantiles for each action (Dabney et al. 2018): a value is their mean."""

from __future__ import annotations

import torch


def middles(count: int, like: torch.Tensor) -> torch.Tensor:
    """[N] the middle of each of N equal shares of probability."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def slope(quantiles: torch.Tensor, wanted: torch.Tensor, width: float | torch.Tensor) -> torch.Tensor:
    """[..., N] the slope of the quantile regression loss of `quantiles` [..., N] against equally likely samples
    [..., J]: each pulls a quantile towards itself, by its share from above and the rest from below, in proportion
    within `width` and evenly beyond. Summed over the quantiles; the mean over samples."""
    pull = wanted.unsqueeze(-2) - quantiles.unsqueeze(-1)  # [..., N, J]
    share = middles(quantiles.shape[-1], quantiles).unsqueeze(-1)  # [N, 1]
    weight = torch.where(pull > 0, share, 1 - share)
    return -(weight * (pull / width).clamp_(-1, 1)).mean(-1)


def spread(quantiles: torch.Tensor, allowed: torch.Tensor | None) -> torch.Tensor:
    """[P, B, N] how the best action's quantiles lie around their mean, from `quantiles` [P, B, A, N]; the best of the
    allowed actions [B, A], and 0 where none is allowed."""
    means = quantiles.mean(-1)
    best = (means if allowed is None else means.masked_fill(~allowed, -torch.inf)).argmax(-1)  # [P, B]
    index = best[..., None, None].expand(*best.shape, 1, quantiles.shape[-1])
    chosen = quantiles.gather(2, index).squeeze(2)
    around = chosen - chosen.mean(-1, keepdim=True)
    return around if allowed is None else around * allowed.any(-1)[:, None]
