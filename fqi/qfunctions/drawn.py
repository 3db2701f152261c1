"""Rows that are drawn by weight instead of shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fqi.qfunctions.contract import Weights


@dataclass(frozen=True)
class Drawn:
    """Rows drawn with replacement, each head's in proportion to weights of its own."""

    upto: torch.Tensor  # [P, T] float64: the weights of a training row and of all before it
    slope: torch.Tensor | None  # [P, T] what the slope of a row drawn is multiplied by: 1 on average over the draws

    @classmethod
    def of(cls, weights: Weights, training: torch.Tensor) -> Drawn:
        draw = weights.draw[:, training].double()
        upto = draw.cumsum(1)
        if weights.slope is None:
            return cls(upto, None)
        slope = weights.slope[:, training]
        return cls(upto, slope / ((draw * slope).sum(1) / upto[:, -1])[:, None].to(slope.dtype))

    def rows(self, count: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """[P, count] training rows."""
        found = []
        for upto, generator in zip(self.upto, generators, strict=True):
            point = torch.rand(count, generator=generator, device=upto.device, dtype=upto.dtype) * upto[-1]
            found.append(torch.searchsorted(upto, point, right=True).clamp_max_(len(upto) - 1))
        return torch.stack(found)
