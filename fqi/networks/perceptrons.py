"""P multilayer perceptrons over flat parameters, forward and backward.

Gradients are written by hand (they equal autograd's to rounding), so that a step is nothing but matrix products. A
head's numbers do not depend on which others stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from fqi.networks.alignment import aligned


def parameters(sizes: Sequence[int]) -> int:
    """n, the flat parameters of one perceptron of these layer sizes, in whole cache lines."""
    return aligned(sum(i * o + o for i, o in pairwise(sizes)))


def _product(bias: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The bias [P, 1, out] and the inputs [P, B, in] times the weight [P, in, out], for each head."""
    if len(weight) == 1 and 1 in weight.shape[1:]:
        # By itself a product with a vector takes another path, and rounds otherwise, than it does among others.
        return torch.baddbmm(bias.expand(2, -1, -1), inputs.expand(2, -1, -1), weight.expand(2, -1, -1))[:1]
    return torch.baddbmm(bias, inputs, weight)


class Perceptrons:
    """Perceptrons of these layer sizes whose parameters are the rows of `flat` [P, n]; hidden layers are rectified."""

    def __init__(self, sizes: Sequence[int], flat: torch.Tensor, gradient: torch.Tensor | None = None) -> None:
        self.sizes, self.flat = tuple(sizes), flat
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

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], the activations of each hidden layer, and the outputs [P, B, O]."""
        activations = [inputs]
        for weight, bias in self.layers:
            activations.append(_product(bias, activations[-1], weight.transpose(1, 2)))
            if len(activations) < len(self.sizes):
                activations[-1].relu_()
        return activations

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> torch.Tensor:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, O]; replaces what was there.

        Returns the slope with regard to the first layer before it is rectified."""
        for layer in range(len(self.layers) - 1, -1, -1):
            weight_gradient, bias_gradient = self.layer_gradients[layer]
            torch.bmm(slope.transpose(1, 2), activations[layer], out=weight_gradient)
            torch.sum(slope, 1, keepdim=True, out=bias_gradient)
            if layer:
                slope = torch.bmm(slope, self.layers[layer][0])
                slope = torch.ops.aten.threshold_backward(slope, activations[layer], 0)
        return slope
