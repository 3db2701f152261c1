"""Convolutional networks on images, one output per action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch

from fqi.errors import UserError
from fqi.networks.contract import Architecture
from fqi.networks.convolutions import NATURE, Convolutional, as_image, image_stack
from fqi.networks.encodings import Dueling
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ImageEncoder
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.settings import CnnSettings

LARGE, SMALL = 512, 128  # units in the dense layer


class Cnn(NetworkQ):
    """The network of the Nature paper on large images, smaller ones on small images."""

    def __init__(
        self,
        settings: CnnSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
        each: Sequence[CnnSettings] | None = None,  # of every head, where they differ
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "cnn")
        stack = image_stack(as_image(observation_space))
        if stack is None:
            raise UserError(
                "the cnn regressor needs images, bytes [height, width] or with channels before or behind, of at least "
                f"5 pixels a side; found {observation_space}"
            )
        encoder = ImageEncoder(observation_space, device, centred=True)
        dense = settings.dense or (LARGE if min(stack.height, stack.width) >= NATURE else SMALL)
        network: Architecture = Convolutional(
            stack,
            (encoder.width, dense, self.actions + settings.dueling),
            settings.shift,
            settings.precision == "bf16",
        )
        network = Dueling(network) if settings.dueling else network
        self._build([Kind(network, own) for own in each or [settings] * len(seeds)], encoder, seeds, workers)
