"""P multilayer perceptrons over flat parameters, forward and backward.

Gradients are written by hand (they equal autograd's to rounding), so that a step is nothing but matrix products. A
head's numbers do not depend on which others stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from fqi.networks.alignment import aligned

NARROW = 4  # times as many outputs as inputs, from which a layer is narrow


def parameters(sizes: Sequence[int]) -> int:
    """n, the flat parameters of one perceptron of these layer sizes, in whole cache lines."""
    return aligned(sum(i * o + o for i, o in pairwise(sizes)))


def _product(
    bias: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The bias [P, 1, out] and the inputs [P, B, in] times the weight [P, in, out], for each head."""
    if len(weight) == 1 and 1 in weight.shape[1:]:
        # By itself a product with a vector takes another path, and rounds otherwise, than it does among others.
        return torch.baddbmm(bias.expand(2, -1, -1), inputs.expand(2, -1, -1), weight.expand(2, -1, -1))[:1]
    return torch.baddbmm(bias, inputs, weight) if out is None else torch.baddbmm(bias, inputs, weight, out=out)


def _weight_gradient(slope: torch.Tensor, inputs: torch.Tensor, out: torch.Tensor) -> None:
    """The slope [P, B, o] and the inputs [P, B, i] into the weights' gradient [P, o, i].

    A narrow product is several times as fast the other way round. Not with a single column, which takes the path of
    vectors where it stands alone.
    """
    o, i = out.shape[1:]
    if 1 < i <= o // NARROW:
        out.copy_(torch.bmm(inputs.transpose(1, 2), slope).transpose(1, 2))
    else:
        torch.bmm(slope.transpose(1, 2), inputs, out=out)


@dataclass(frozen=True)
class Dense:
    """The architecture of perceptrons, whose passes overwrite the one before."""

    sizes: tuple[int, ...]  # input columns, hidden layers, outputs
    halves: bool = False  # products between hidden layers in bfloat16
    varies, recordable = False, True

    @property
    def stackable(self) -> bool:
        return not self.halves  # a stacked product of halves takes another path, and rounds otherwise

    @property
    def parameters(self) -> int:
        return parameters(self.sizes)

    @property
    def outputs(self) -> int:
        return self.sizes[-1]

    def over(self, flat: torch.Tensor) -> Perceptrons:
        return Perceptrons(self.sizes, flat, reused=True, halves=self.halves)

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs


class Perceptrons:
    """Perceptrons of these layer sizes whose parameters are the rows of `flat` [P, n]; hidden layers are rectified.

    Where memory is `reused`, each pass overwrites the hidden layers of the pass before it; what only values has memory
    of its own, so that what is recorded on a GPU for a regression stays where it was.

    With `halves`, what lies between hidden layers is bfloat16: activations, slopes and a copy of the weights. The layer
    of inputs that are floats, which say too little in 8 bits, and that of the outputs stay as they are.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        flat: torch.Tensor,
        gradient: torch.Tensor | None = None,
        reused: bool = False,
        halves: bool = False,
    ) -> None:
        self.sizes, self.flat, self.reused = tuple(sizes), flat, reused
        self.short = torch.zeros_like(flat, dtype=torch.bfloat16) if halves else None  # [P, n]
        self.short_layers = [] if self.short is None else self._views(self.short)
        self._memory: dict[tuple[str, int], torch.Tensor] = {}
        self.gradient = torch.zeros_like(flat) if gradient is None else gradient  # [P, n] what `backward` leaves
        self.layers, self.layer_gradients = self._views(flat), self._views(self.gradient)

    def _views(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights [P, out, in] and biases [P, 1, out] of each layer, as views of the flat parameters."""
        layers, at = [], 0
        for i, o in pairwise(self.sizes):
            weight = flat[:, at : at + i * o].view(len(flat), o, i)
            bias = flat[:, at + i * o : at + i * o + o].unsqueeze(1)
            layers.append((weight, bias))
            at += i * o + o
        return layers

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """Hidden layers uniform in ±1/sqrt(in), drawn head by head; the output layer at zero."""
        for head, generator in enumerate(generators):
            for weight, bias in self.layers[:-1]:
                bound = 1 / math.sqrt(weight.shape[2])
                weight[head].uniform_(-bound, bound, generator=generator)
                bias[head].uniform_(-bound, bound, generator=generator)
        for tensor in self.layers[-1]:
            tensor.zero_()

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""
        for tensor in self.layers[-1]:
            tensor.mul_(factor[:, None, None])

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], the activations of each hidden layer, and the outputs [P, B, O]."""
        return self._forward(inputs, "hidden")

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, O] as `forward`, without what `backward` would need."""
        return self._forward(inputs, "valued")[-1]

    def _forward(self, inputs: torch.Tensor, what: str) -> list[torch.Tensor]:
        if self.short is not None:
            self.short.copy_(self.flat)
        activations = [inputs]
        for layer, (weight, bias) in enumerate(self.layers):
            hidden, into = layer < len(self.layers) - 1, activations[-1]
            if hidden and into.dtype == torch.bfloat16:
                weight, bias = self.short_layers[layer]
            out = self._place(what, layer, inputs.shape[1], into.dtype) if hidden else None
            if not hidden:
                into = into.to(self.flat.dtype)
            activations.append(_product(bias, into, weight.transpose(1, 2), out))
            if hidden:
                activations[-1].relu_()
                if self.short is not None:
                    activations[-1] = activations[-1].to(torch.bfloat16)
        return activations

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> torch.Tensor:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, O]; replaces what was there.

        Returns the slope with regard to the first layer before it is rectified."""
        if self.short is not None:
            return self._backward_in_halves(activations, slope)
        for layer in range(len(self.layers) - 1, -1, -1):
            weight_gradient, bias_gradient = self.layer_gradients[layer]
            _weight_gradient(slope, activations[layer], weight_gradient)
            torch.sum(slope, 1, keepdim=True, out=bias_gradient)
            if layer:
                out = self._place("slope", layer - 1, slope.shape[1], slope.dtype)
                slope = torch.bmm(slope, self.layers[layer][0], out=out)
                torch.ops.aten.threshold_backward.grad_input(slope, activations[layer], 0, grad_input=slope)
        return slope

    def _backward_in_halves(self, activations: list[torch.Tensor], slope: torch.Tensor) -> torch.Tensor:
        """The same, where hidden activations are halves, and the inputs perhaps."""
        last = len(self.layers) - 1
        for layer in range(last, -1, -1):
            (weight_gradient, bias_gradient), into = self.layer_gradients[layer], activations[layer]
            whole = layer == last or into.dtype != torch.bfloat16
            if whole:
                slope, into = slope.to(self.flat.dtype), into.to(self.flat.dtype)
                _weight_gradient(slope, into, weight_gradient)
            else:
                weight_gradient.copy_(torch.bmm(slope.transpose(1, 2), into))
            torch.sum(slope, 1, keepdim=True, dtype=self.flat.dtype, out=bias_gradient)
            if layer:
                weight = (self.layers if whole else self.short_layers)[layer][0]
                slope = torch.bmm(slope, weight).to(torch.bfloat16)
                slope = torch.ops.aten.threshold_backward(slope, activations[layer], 0)
        return slope

    def _place(self, what: str, layer: int, rows: int, dtype: torch.dtype) -> torch.Tensor | None:
        """[P, rows, ·] where a hidden layer's numbers go, if memory is reused."""
        if not self.reused:
            return None
        kept = self._memory.get((what, layer))
        if kept is None or kept.shape[1] != rows:
            kept = self.flat.new_empty(len(self.flat), rows, self.sizes[layer + 1], dtype=dtype)
            self._memory[what, layer] = kept
        return kept
