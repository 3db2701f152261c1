"""P networks that learn side by side from batches of their own: what cloning, DAgger and DQN are made of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi import encoding
from fqi.errors import UserError
from fqi.nest import Nest, rows
from fqi.networks.adam import Adam
from fqi.networks.alignment import ALIGN
from fqi.networks.convolutions import Convolutions, image_stack
from fqi.networks.convolutions import parameters as convolution_parameters
from fqi.networks.perceptrons import Perceptrons, parameters
from fqi.networks.standards import IMAGES_MEASURED, Brightness, spaced, standards
from fqi.qfunctions.contract import expect_tensors

PIECE = 2048  # rows asked at once: hidden layers then fit the processor's cache
PIECE_OF_IMAGES = 128


class Population:
    """A network with O outputs for each seed, and a generator of its own for each; outputs begin at zero."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        outputs: int,
        seeds: Sequence[int],
        width: int = 64,
        depth: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        self.space, self.device = observation_space, torch.device(device)
        self.stack = image_stack(observation_space)  # the convolutions of images; None: frames are columns
        inputs, P = encoding.width(observation_space), len(seeds)
        self.sizes = (inputs, *[width] * depth, outputs)
        n = convolution_parameters(self.stack, self.sizes) if self.stack else parameters(self.sizes)
        self.flat, self.first, self.second = (torch.zeros(P, n, device=self.device) for _ in range(3))
        self.count = torch.zeros(P, device=self.device)  # Adam's steps
        self.centre = torch.zeros(P, 1, inputs, device=self.device)
        self.spread = torch.ones(P, 1, 1 if self.stack else inputs, device=self.device)
        self.generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        self.network = self.over(self.flat)
        self.network.initialise(self.generators)
        self.adam = Adam(self.flat, self.network.gradient, self.first, self.second, self.count)

    def encode(self, frames: Nest) -> torch.Tensor:
        """[B, D] features of frames: floats, but bytes where they are images."""
        if self.stack:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a log's frames are read-only, and nothing here writes to them
                return torch.from_numpy(np.asarray(frames).reshape(rows(frames), -1)).to(self.device)
        return torch.from_numpy(encoding.encode(frames, self.space)).to(self.device)

    def standardise(self, features: torch.Tensor) -> None:
        """From now on bring features to the scale of these, [B, D] for all networks or [P, B, D]; images [B, D]."""
        if self.stack:
            pixels, apart = Brightness(torch.split(self.measured(features), PIECE_OF_IMAGES)).scale()
            self.centre.copy_(pixels)
            self.spread.fill_(apart)
            return
        centre, spread = standards(features, self.space)
        self.centre.copy_(centre.expand_as(self.centre))
        self.spread.copy_(spread.expand_as(self.spread))

    def measured(self, rows: torch.Tensor) -> torch.Tensor:
        """Those of the rows that a scale is taken from: all, or of images some, evenly spaced."""
        return spaced(rows, IMAGES_MEASURED) if self.stack else rows

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        """The activations of each layer for features [P, B, D] or [B, D]; the last are the outputs [P, B, O]."""
        return self.network.forward((features - self.centre) / self.spread)

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """[P, B, O] for features [P, B, D] or [B, D], in slices."""
        pieces = torch.split(features, PIECE_OF_IMAGES if self.stack else PIECE, dim=-2)
        return torch.cat([self.forward(piece)[-1] for piece in pieces], 1)

    def each(self, features: torch.Tensor) -> torch.Tensor:
        """[P, O] for one row of features for each network [P, D], whose bits do not depend on how many there are."""
        if self.stack:
            parts = [self.member(p).forward(row[None])[-1][0] for p, row in enumerate(features)]
            return torch.cat(parts)
        padded = features.new_zeros(len(features), ALIGN, features.shape[1])
        padded[:, 0] = features
        return self.forward(padded)[-1][:, 0]

    def over(self, flat: torch.Tensor) -> Perceptrons | Convolutions:
        """Networks of the same architecture with other parameters [P, n]."""
        return Convolutions(self.stack, self.sizes, flat) if self.stack else Perceptrons(self.sizes, flat)

    def learn(self, activations: list[torch.Tensor], slope: torch.Tensor, rate: float, clip: float) -> None:
        """One step of Adam, the loss having this slope [P, B, O] with regard to the outputs."""
        self.network.backward(activations, slope)
        self.adam.step(rate, clip)

    def member(self, index: int) -> Population:
        """One of the networks, over the same memory."""
        one = object.__new__(Population)
        part = slice(index, index + 1)
        one.space, one.device, one.sizes, one.stack = self.space, self.device, self.sizes, self.stack
        one.flat, one.first, one.second = self.flat[part], self.first[part], self.second[part]
        one.count, one.centre, one.spread = self.count[part], self.centre[part], self.spread[part]
        one.generators = self.generators[part]
        one.network = self.over(one.flat)
        one.adam = Adam(one.flat, one.network.gradient, one.first, one.second, one.count)
        return one

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All that `outputs` needs."""
        return {"weights": self.flat, "input_centre": self.centre, "input_spread": self.spread}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take a checkpoint back; tensors of a wrong name or shape, or that are not finite, are refused."""
        own = self.checkpoint()
        expect_tensors(tensors, own)
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(f"checkpoint: {name} must be finite")
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
