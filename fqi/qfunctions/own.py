"""A network of the user's own: a callable that makes a torch module for an observation space and some outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from fqi.errors import UserError
from fqi.imports import imported, trusted
from fqi.networks.modules import FromModule
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ColumnEncoder, Encoder, ImageEncoder
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.settings import OwnSettings


class Own(NetworkQ):
    """Whatever module the user makes. It gets observations as they are shaped, [B, *shape]: images as floats from 0 to
    1, measured columns standardised; observations of other kinds as the columns [B, D] of an mlp."""

    def __init__(
        self,
        settings: OwnSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
    ) -> None:
        spec = settings.network
        if not spec or not spec.startswith("py:"):
            raise UserError("the own regressor needs to know your network: give --network py:MODULE:CALLABLE")
        trusted(spec, "network")
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "own")
        images = isinstance(observation_space, gym.spaces.Box) and observation_space.dtype == np.uint8
        encoder: Encoder = ColumnEncoder(observation_space, device)
        if images:
            encoder = ImageEncoder(observation_space, device, centred=False)
        made = Made(spec, observation_space, self.actions)
        halves = settings.precision == "bf16"
        network = FromModule(made, encoder.width, self.actions, f"network {spec}", halves=halves)
        self._build([Kind(network, settings)] * self.heads, encoder, seeds, workers)


@dataclass(frozen=True)
class Made:
    """Makes the user's module; what is sent to worker processes in its place."""

    spec: str
    space: gym.Space[Any]
    outputs: int

    def __call__(self) -> nn.Module:
        # in a worker process nothing is trusted by itself: its parent, which names this, has asked
        module = imported(self.spec.removeprefix("py:"), "network")(self.space, self.outputs)
        if not isinstance(module, nn.Module):
            raise UserError(f"network {self.spec} must return a torch.nn.Module, found {type(module).__name__}")
        return Shaped(module, self.space.shape if isinstance(self.space, gym.spaces.Box) else None)


class Shaped(nn.Module):
    """A module of observations [B, *shape] as one of columns [B, D]."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...] | None) -> None:
        super().__init__()
        self.module, self.shape = module, shape

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module(inputs if self.shape is None else inputs.reshape(-1, *self.shape))
        return found
