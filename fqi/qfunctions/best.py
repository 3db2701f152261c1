"""Patience: a round's regression ends where held-out rows are no longer fitted better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fqi.qfunctions.heads import Heads


class Best:
    """Each head's best weights by held-out loss within a round."""

    def __init__(self, heads: Heads, targets: torch.Tensor) -> None:
        self.heads, self.targets = heads, targets
        self.loss = heads.held_out_loss(targets)
        self.flat = heads.state.flat.clone()
        self.since = torch.zeros_like(self.loss)

    def look(self) -> bool:
        """True when no head has become better for `patience` looks."""
        loss = self.heads.held_out_loss(self.targets)
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.flat = torch.where(better[:, None], self.heads.state.flat, self.flat)
        self.since = torch.where(better, 0, self.since + 1)
        return bool((self.since >= self.heads.settings.patience).all())

    def take_back(self) -> None:
        self.heads.state.flat.copy_(self.flat)
