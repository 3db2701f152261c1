"""All that changes while a population of heads trains, as tensors with a leading axis P of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fqi.networks.contract import Architecture


@dataclass(frozen=True)
class State:
    """All that changes while P heads train; a slice of it is the state of those heads, in the same memory."""

    flat: torch.Tensor  # [P, n] parameters
    first: torch.Tensor  # [P, n] Adam's first moment
    second: torch.Tensor  # [P, n] Adam's second moment
    count: torch.Tensor  # [P] Adam's steps
    mean: torch.Tensor  # [P] of the targets
    scale: torch.Tensor  # [P] of the targets
    draws: torch.Tensor  # [P, bytes] state of each head's generator
    slope: torch.Tensor  # [P] norm of the gradient in the last step of a round, for those who watch

    @classmethod
    def new(
        cls, architecture: Architecture | Sequence[Architecture], seeds: Sequence[int], device: torch.device
    ) -> State:
        """New heads of one architecture; of several, each has memory for the largest."""
        every = architecture if isinstance(architecture, Sequence) else [architecture]
        P, n = len(seeds), max(one.parameters for one in every)
        flat, first, second = (torch.zeros(P, n, device=device) for _ in range(3))
        count, mean, scale, slope = (torch.zeros(P, device=device) for _ in range(4))
        draws = torch.stack([torch.Generator(device).manual_seed(seed).get_state() for seed in seeds])
        return cls(flat, first, second, count, mean, scale, draws, slope)

    def tensors(self) -> dict[str, torch.Tensor]:
        return dict(vars(self))

    def part(self, heads: slice) -> State:
        return State(**{name: tensor[heads] for name, tensor in self.tensors().items()})
