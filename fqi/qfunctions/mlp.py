"""Multilayer perceptrons, one output per action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch

from fqi.networks.perceptrons import Dense
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ColumnEncoder
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.settings import MlpSettings


class Mlp(NetworkQ):
    """Perceptrons on the columns of a frame."""

    def __init__(
        self,
        settings: MlpSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
        each: Sequence[MlpSettings] | None = None,  # of every head, where they differ
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "mlp")
        encoder = ColumnEncoder(observation_space, device)

        def kind(own: MlpSettings) -> Kind:
            return Kind(Dense((encoder.width, *[own.width] * own.depth, self.actions * own.samples)), own)

        self._build([kind(own) for own in each or [settings] * len(seeds)], encoder, seeds, workers)
