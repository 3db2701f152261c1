"""Inputs on a common scale: the centre and spread of each column that measures something."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from fqi.encoding import scaled_columns


def standards(raw: torch.Tensor, space: gym.Space[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre and spread [..., 1, D] of features [..., B, D]; categories and constant columns are left as they are."""
    centre, spread = raw.double().mean(-2, keepdim=True), raw.double().std(-2, correction=0, keepdim=True)
    scaled = torch.from_numpy(scaled_columns(space)).to(raw.device) & (spread > 1e-6 * centre.abs().clamp_min(1e-6))
    return (
        torch.where(scaled, centre, 0.0).to(raw.dtype),
        torch.where(scaled, spread, 1.0).to(raw.dtype),
    )
