"""Named observations of several kinds: images, vectors and categories, each with its encoder, fused."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import torch

from fqi.networks.encodings import Dueling
from fqi.networks.fused import Fused
from fqi.networks.modules import FromModule
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.parts import PartEncoder
from fqi.qfunctions.settings import MultimodalSettings


class Multimodal(NetworkQ):
    """Convolutions for each image, an embedding for each category, a layer for all vectors; then dense layers."""

    def __init__(
        self,
        settings: MultimodalSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "multimodal")
        encoder = PartEncoder(observation_space, device, images=True)
        outputs = self.actions + settings.dueling
        hidden = [settings.width] * settings.depth
        module = partial(
            Fused, encoder.parts, hidden, outputs, settings.embedding, settings.encoder, settings.layer_norm
        )
        network = FromModule(module, encoder.width, outputs, "multimodal", halves=settings.precision == "bf16")
        kind = Kind(Dueling(network) if settings.dueling else network, settings)
        self._build([kind] * self.heads, encoder, seeds, workers)
