"""What a population of networks is to whoever trains it: forward, backward and parameters as rows of one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Network(Protocol):
    """P networks of one architecture. A network's numbers do not depend on which others stand beside it."""

    flat: torch.Tensor  # [P, n] the parameters, in whole cache lines
    gradient: torch.Tensor  # [P, n] what `backward` leaves; 0 where nothing is learned

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """New networks, each drawn from its own generator. Their outputs begin at 0."""

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], then whatever `backward` needs; the last are the outputs [P, B, O]."""

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, O] as `forward`, without what `backward` would need."""

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> Any:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, O]; replaces what was there."""

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""


class Architecture(Protocol):
    """The shape of a network: small, comparable, and plain enough to be sent to another process."""

    @property
    def parameters(self) -> int:
        """n, the flat parameters of one network, in whole cache lines."""

    @property
    def outputs(self) -> int:
        """O, the outputs of one network."""

    @property
    def stackable(self) -> bool:
        """Whether several networks train faster side by side than one after the other, where they are small."""

    @property
    def recordable(self) -> bool:
        """Whether its steps may be recorded as a graph on a GPU: nothing in them may be drawn."""

    @property
    def varies(self) -> bool:
        """Whether `varied` changes anything."""

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Inputs [n, D] of one network as its regression sees them: as they are, or changed at random."""

    def over(self, flat: torch.Tensor) -> Network:
        """Networks whose parameters are the rows of `flat` [P, n]."""
