"""Multilayer perceptrons, one output per action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch

from fqi.networks.perceptrons import Dense
from fqi.qfunctions.contract import discrete_actions
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
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "mlp")
        encoder = ColumnEncoder(observation_space, device)
        sizes = (encoder.width, *[settings.width] * settings.depth, self.actions * settings.samples)
        self._build(settings, Dense(sizes), encoder, seeds, workers)
