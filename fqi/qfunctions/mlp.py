"""Multilayer perceptrons, one output per action."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import torch

from fqi.errors import UserError
from fqi.networks.contract import Architecture
from fqi.networks.encodings import Dueling, Pairs, PerAction
from fqi.networks.fused import Fused
from fqi.networks.modules import FromModule
from fqi.networks.perceptrons import Dense
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ColumnEncoder, Encoder
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.parts import PartEncoder
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
        encoder: Encoder = ColumnEncoder(observation_space, device)
        if settings.layer_norm or settings.embedding:
            encoder = _parts(settings, observation_space, device)
        kinds = [Kind(_network(own, encoder, self.actions), own) for own in each or [settings] * len(seeds)]
        if settings.encoding == "networks" and len({kind.architecture for kind in kinds}) > 1:
            raise UserError("encoding networks cannot be swept over networks of several sizes; give one width")
        self._build(kinds, encoder, seeds, workers)


def _network(settings: MlpSettings, encoder: Encoder, actions: int) -> Architecture:
    """What stands for Q(frame, action) by these settings."""
    halves = settings.precision == "bf16"
    hidden = [settings.width] * settings.depth
    outputs = actions * settings.samples + settings.dueling
    match settings.encoding:
        case "inputs":
            return Pairs(Dense((encoder.width + actions, *hidden, 1), halves), actions)
        case "networks":
            return PerAction(Dense((encoder.width, *hidden, 1), halves), actions)
    network: Architecture = Dense((encoder.width, *hidden, outputs), halves)
    if isinstance(encoder, PartEncoder):
        module = partial(Fused, encoder.parts, hidden, outputs, settings.embedding, 0, settings.layer_norm)
        network = FromModule(module, encoder.width, outputs, "mlp", halves=halves)
    return Dueling(network) if settings.dueling else network


def _parts(settings: MlpSettings, space: gym.Space[Any], device: torch.device) -> PartEncoder:
    """Categories go to an embedding, or stay one-hot columns where there is none."""
    encoder = PartEncoder(space, device, images=False, embedded=settings.embedding > 0)
    if settings.embedding and not encoder.parts.categories:
        raise UserError(f"embedding is for categories, and the observations have none: {space}; give embedding 0")
    return encoder
