"""The regression table without its targets: which rows there are, where their inputs lie, and where they lead."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fqi.qfunctions.inputs import Inputs


@dataclass(frozen=True)
class Ahead:
    """Where the rows lead, for a loss that asks the frozen Q for more than its targets say."""

    frame: torch.Tensor  # [B]
    discount: torch.Tensor  # [B]
    allowed: torch.Tensor  # [F, A] bool: the actions among which the best is sought


@dataclass(frozen=True)
class Rows:
    """The regression table without its targets; frames are stored once and gathered by row."""

    inputs: Inputs  # [F, D]
    frame: torch.Tensor  # [B]
    action: torch.Tensor  # [B]
    training: torch.Tensor  # [T] rows that are regressed on
    held: torch.Tensor  # [B - T] rows that are not
    ahead: Ahead | None = None  # where a loss asks for it

    def packed(self) -> tuple[Inputs, torch.Tensor]:
        """Inputs [T, D] and actions [T] of the training rows, one behind the other."""
        return self.inputs.packed(self.frame[self.training]), self.action[self.training]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All memory behind them, to be shared with other processes."""
        ahead = () if self.ahead is None else vars(self.ahead).values()
        return *self.inputs.tensors(), self.frame, self.action, self.training, self.held, *ahead
