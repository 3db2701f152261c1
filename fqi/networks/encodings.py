"""Three ways in which a network can stand for Q(state, action) beside one output per action, made of other networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fqi.networks.contract import Architecture, Network
from fqi.networks.perceptrons import Dense


@dataclass(frozen=True)
class PerAction:
    """A network of its own for each action, on the same inputs."""

    one: Dense  # with one output
    outputs: int  # A
    varies, recordable = False, True

    @property
    def stackable(self) -> bool:
        return self.one.stackable

    @property
    def parameters(self) -> int:
        return self.outputs * self.one.parameters

    def over(self, flat: torch.Tensor) -> EachItsOwn:
        return EachItsOwn(self, flat)

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs


class EachItsOwn:
    """P times A networks over flat parameters [P, n]."""

    def __init__(self, architecture: PerAction, flat: torch.Tensor) -> None:
        self.flat, self.actions = flat, architecture.outputs
        self.each = architecture.one.over(flat.view(len(flat) * self.actions, -1))
        self.gradient = self.each.gradient.view_as(flat)

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """New networks, those of a head drawn one after the other; outputs begin at 0."""
        self.each.initialise([g for g in generators for _ in range(self.actions)])

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""
        self.each.rescale(factor.repeat_interleave(self.actions))

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], the activations [P A, B, ·] of every network, and the outputs [P, B, A]."""
        activations = self.each.forward(self._asked(inputs))
        return [*activations, self._told(activations[-1], inputs)]

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, A] as `forward`, without what `backward` would need."""
        return self._told(self.each.outputs(self._asked(inputs)), inputs)

    def _asked(self, inputs: torch.Tensor) -> torch.Tensor:
        P, B, D = inputs.shape
        return inputs[:, None].expand(P, self.actions, B, D).reshape(P * self.actions, B, D)

    def _told(self, found: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return found.view(len(inputs), self.actions, inputs.shape[1]).transpose(1, 2)

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> None:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, A]; replaces what was there."""
        P, B, A = slope.shape
        self.each.backward(activations[:-1], slope.transpose(1, 2).reshape(P * A, B, 1))


@dataclass(frozen=True)
class Pairs:
    """One network with one output, whose inputs are those of a state and one column for each action."""

    one: Dense  # D + A inputs, one output
    outputs: int  # A
    varies, recordable = False, True

    @property
    def stackable(self) -> bool:
        return self.one.stackable

    @property
    def parameters(self) -> int:
        return self.one.parameters

    def over(self, flat: torch.Tensor) -> OnPairs:
        return OnPairs(self, flat)

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs


class OnPairs:
    """Networks on (state, action), asked about every action of a state."""

    def __init__(self, architecture: Pairs, flat: torch.Tensor) -> None:
        self.flat, self.actions = flat, architecture.outputs
        self.pair = architecture.one.over(flat)
        self.gradient = self.pair.gradient
        self.action = torch.eye(self.actions, dtype=flat.dtype, device=flat.device)

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """New networks, each drawn from its own generator; outputs begin at 0."""
        self.pair.initialise(generators)

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""
        self.pair.rescale(factor)

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The activations [P, B A, ·] for every action of the inputs [P, B, D], and the outputs [P, B, A]."""
        activations = self.pair.forward(self._asked(inputs))
        return [*activations, activations[-1].view(*inputs.shape[:2], self.actions)]

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, A] as `forward`, without what `backward` would need."""
        return self.pair.outputs(self._asked(inputs)).view(*inputs.shape[:2], self.actions)

    def _asked(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B A, D + A] every action of every row."""
        P, B, D = inputs.shape
        state = inputs[:, :, None].expand(P, B, self.actions, D)
        action = self.action.expand(P, B, self.actions, self.actions)
        return torch.cat([state, action], 3).view(P, B * self.actions, D + self.actions)

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> None:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, A]; replaces what was there."""
        self.pair.backward(activations[:-1], slope.reshape(len(slope), slope[0].numel(), 1))


@dataclass(frozen=True)
class Dueling:
    """One output for the state and one for each action, whose mean is taken away (Wang et al. 2016)."""

    streams: Architecture  # 1 + A outputs

    @property
    def parameters(self) -> int:
        return self.streams.parameters

    @property
    def outputs(self) -> int:
        return self.streams.outputs - 1

    @property
    def stackable(self) -> bool:
        return self.streams.stackable

    @property
    def varies(self) -> bool:
        return self.streams.varies

    @property
    def recordable(self) -> bool:
        return self.streams.recordable

    def over(self, flat: torch.Tensor) -> ValueAndAdvantage:
        return ValueAndAdvantage(self.streams.over(flat))

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.streams.varied(inputs, generator)


class ValueAndAdvantage:
    """Networks whose first output is the value of the state, the others what each action is better by."""

    def __init__(self, streams: Network) -> None:
        self.streams, self.flat, self.gradient = streams, streams.flat, streams.gradient

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """New networks, each drawn from its own generator; outputs begin at 0."""
        self.streams.initialise(generators)

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""
        self.streams.rescale(factor)

    @staticmethod
    def _joined(streams: torch.Tensor) -> torch.Tensor:
        """[P, B, A] the value and the advantages [P, B, 1 + A], less their mean."""
        advantage = streams[:, :, 1:]
        return advantage - advantage.mean(2, keepdim=True) + streams[:, :, :1]

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The activations of both streams, and the outputs [P, B, A]."""
        activations = self.streams.forward(inputs)
        return [*activations, self._joined(activations[-1])]

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, A] as `forward`, without what `backward` would need."""
        return self._joined(self.streams.outputs(inputs))

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> None:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, A]; replaces what was there."""
        value = slope.sum(2, keepdim=True)
        advantage = slope - slope.mean(2, keepdim=True)
        self.streams.backward(activations[:-1], torch.cat([value, advantage], 2))
