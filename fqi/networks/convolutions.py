"""P convolutional networks over flat parameters, forward and backward: what perceptrons are for columns, for images.

Images come as flat columns in the order in which a frame holds them. Each head's convolutions are calls of their own,
so that its numbers do not depend on which others stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.networks.alignment import aligned
from fqi.networks.perceptrons import Perceptrons
from fqi.networks.perceptrons import parameters as dense_parameters

NATURE = 36  # pixels a side from which the network of the Nature paper fits
Layer = tuple[int, int, int]  # channels, size of the square kernel, stride

# By the least side of an image that they are for: the network of the Nature paper, and smaller ones.
_STACKS: tuple[tuple[int, tuple[Layer, ...]], ...] = (
    (NATURE, ((32, 8, 4), (64, 4, 2), (64, 3, 1))),
    (16, ((32, 4, 2), (64, 3, 2))),
    (5, ((32, 3, 1), (64, 3, 1))),
)


@dataclass(frozen=True)
class Stack:
    """The convolutions that images of one shape go through before the dense layers."""

    channels: int  # of all frames that are shown at once
    height: int
    width: int
    channels_first: bool  # within a frame
    layers: tuple[Layer, ...]
    frames: int = 1  # shown at once

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Channels, height and width of the image and of what each layer makes of it."""
        found = [(self.channels, self.height, self.width)]
        for channels, kernel, stride in self.layers:
            _, height, width = found[-1]
            found.append((channels, (height - kernel) // stride + 1, (width - kernel) // stride + 1))
        return found

    @property
    def pixels(self) -> int:
        """D, the columns of an image."""
        return self.channels * self.height * self.width

    def images(self, inputs: torch.Tensor) -> torch.Tensor:
        """[..., channels, height, width] of columns [..., D] in the order in which a frame holds them."""
        shape = inputs.shape[:-1]
        if self.channels_first:
            return inputs.view(*shape, self.channels, self.height, self.width)
        images = inputs.view(*shape, self.frames, self.height, self.width, -1)
        return images.movedim(-1, -3).reshape(*shape, self.channels, self.height, self.width)

    @property
    def kernels(self) -> list[tuple[int, int, int, int]]:
        """The shape [out, in, k, k] of each layer's weights."""
        return [(c, into[0], k, k) for (c, k, _), into in zip(self.layers, self.shapes, strict=False)]

    @property
    def features(self) -> int:
        """Numbers that the last layer leaves."""
        return math.prod(self.shapes[-1])


def as_image(space: gym.Space[Any]) -> gym.Space[Any]:
    """The space with an axis of channels, where images of one channel have none."""
    if isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 2:
        return gym.spaces.Box(space.low[None], space.high[None], dtype=np.uint8)
    return space


def image_stack(space: gym.Space[Any]) -> Stack | None:
    """The convolutions for observations that are images, bytes in three dimensions, or several of those in a row; None
    where they are not, or are too small."""
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8 or len(space.shape) not in (3, 4):
        return None
    frames, image = (1, space.shape) if len(space.shape) == 3 else (int(space.shape[0]), space.shape[1:])
    first = image[0] < image[2]  # the channels are fewer than the pixels of a side
    channels, height, width = image if first else (image[2], *image[:2])
    for least, layers in _STACKS:
        if min(height, width) >= least:
            return Stack(frames * int(channels), int(height), int(width), first, layers, frames)
    return None


def shifted(stack: Stack, inputs: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Images [n, D], each moved by up to so many pixels up or down and left or right, its edges drawn out (Kostrikov et
    al. 2020); all frames that are shown at once move alike."""
    n, device = len(inputs), inputs.device
    moves = torch.randint(-most, most + 1, (2, n, 1), generator=generator, device=device)
    row = (torch.arange(stack.height, device=device) + moves[0]).clamp_(0, stack.height - 1)  # [n, height]
    column = (torch.arange(stack.width, device=device) + moves[1]).clamp_(0, stack.width - 1)  # [n, width]
    pixel = (row[:, :, None] * stack.width + column[:, None, :]).view(n, 1, -1)  # [n, 1, height * width]
    if stack.channels_first:
        images = inputs.view(n, stack.channels, -1)
        return images.gather(2, pixel.expand_as(images)).view_as(inputs)
    images = inputs.view(n, stack.frames, stack.height * stack.width, -1)
    return images.gather(2, pixel[..., None].expand_as(images)).view_as(inputs)


def parameters(stack: Stack, sizes: Sequence[int]) -> int:
    """n, the flat parameters of the convolutions and of the dense layers behind them, in whole cache lines."""
    return _convolution_parameters(stack) + dense_parameters((stack.features, *sizes[1:]))


def _convolution_parameters(stack: Stack) -> int:
    return aligned(sum(math.prod(shape) + shape[0] for shape in stack.kernels))


@dataclass(frozen=True)
class Convolutional:
    """The architecture of convolutions and the dense layers behind them."""

    stack: Stack
    sizes: tuple[int, ...]  # input columns, dense layers, outputs
    shift: int = 0  # pixels by which images are moved at random while they are regressed on
    halves: bool = False  # convolutions, and products between hidden layers, in bfloat16
    stackable = False  # each network's convolutions are calls of their own

    @property
    def parameters(self) -> int:
        return parameters(self.stack, self.sizes)

    @property
    def outputs(self) -> int:
        return self.sizes[-1]

    def over(self, flat: torch.Tensor) -> Convolutions:
        return Convolutions(self.stack, self.sizes, flat, self.halves)

    @property
    def varies(self) -> bool:
        return self.shift > 0

    @property
    def recordable(self) -> bool:
        return not self.varies

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return shifted(self.stack, inputs, self.shift, generator)


class Convolutions:
    """Networks whose parameters are the rows of `flat` [P, n]; `sizes` are the input columns, the dense layers behind
    the convolutions, and the outputs. Hidden layers are rectified."""

    def __init__(self, stack: Stack, sizes: Sequence[int], flat: torch.Tensor, halves: bool = False) -> None:
        self.stack, self.sizes, self.flat = stack, tuple(sizes), flat
        self.gradient = torch.zeros_like(flat)  # [P, n] what `backward` leaves
        dense = (slice(None), slice(_convolution_parameters(stack), None))
        self._dense = Perceptrons((stack.features, *sizes[1:]), flat[dense], self.gradient[dense], halves=halves)
        self._dtype = torch.bfloat16 if halves else flat.dtype  # of the convolutions
        self._kernels, self._kernel_gradients = self._views(flat), self._views(self.gradient)
        self.layers = [*self._kernels, *self._dense.layers]

    def _views(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights [P, out, in, k, k] and biases [P, out] of each convolution, as views of the flat parameters."""
        views, at = [], 0
        for shape in self.stack.kernels:
            weight = flat[:, at : at + math.prod(shape)].view(len(flat), *shape)
            at += math.prod(shape) + shape[0]
            views.append((weight, flat[:, at - shape[0] : at]))
        return views

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """Hidden layers uniform in ±1/sqrt(in), drawn head by head; the output layer at zero."""
        for head, generator in enumerate(generators):
            for weight, bias in self._kernels:
                bound = 1 / math.sqrt(math.prod(weight.shape[2:]))
                weight[head].uniform_(-bound, bound, generator=generator)
                bias[head].uniform_(-bound, bound, generator=generator)
        self._dense.initialise(generators)

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]."""
        self._dense.rescale(factor)

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], the activations of each hidden layer, and the outputs [P, B, O]."""
        inputs = inputs.to(self._dtype)
        maps = [self.stack.images(inputs)]  # [P, B, channels, height, width] each
        for (weight, bias), (_, _, stride) in zip(self._kernels, self.stack.layers, strict=True):
            heads = zip(maps[-1], weight.to(self._dtype), bias.to(self._dtype), strict=True)
            maps.append(torch.stack([torch.conv2d(x, w, b, stride) for x, w, b in heads]).relu_())
        return [inputs, *maps[1:], *self._dense.forward(maps[-1].flatten(2))[1:]]

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, O] as `forward`, without what `backward` would need."""
        return self.forward(inputs)[-1]

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> None:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, O]; replaces what was there."""
        maps = [self.stack.images(activations[0]), *activations[1 : len(self._kernels) + 1]]
        dense = [maps[-1].flatten(2), *activations[len(maps) :]]
        first = self._dense.layers[0][0]
        slope = torch.bmm(self._dense.backward(dense, slope), first.to(self._dtype))
        slope = slope.view_as(maps[-1])
        for layer in range(len(self._kernels) - 1, -1, -1):
            slope = torch.ops.aten.threshold_backward(slope, maps[layer + 1], 0)
            heads = range(len(slope))
            further = [self._convolution_backward(layer, head, slope[head], maps[layer][head]) for head in heads]
            if layer:
                slope = torch.stack(further)

    def _convolution_backward(self, layer: int, head: int, slope: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """One head's gradient in one layer; returns the slope with regard to the layer's inputs, where one comes
        before it."""
        (weight, bias), (weight_gradient, bias_gradient) = self._kernels[layer], self._kernel_gradients[layer]
        stride = self.stack.layers[layer][2]
        further: torch.Tensor
        further, by_weight, by_bias = torch.ops.aten.convolution_backward(
            slope, inputs, weight[head].to(self._dtype), [len(bias[head])], [stride, stride], [0, 0], [1, 1], False,
            [0, 0], 1, [layer > 0, True, True],
        )  # fmt: skip
        weight_gradient[head].copy_(by_weight)
        bias_gradient[head].copy_(by_bias)
        return further
