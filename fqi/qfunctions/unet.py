"""Q-maps: one action for each pixel of an image, all valued in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import torch

from fqi.errors import UserError
from fqi.networks.convolutions import as_image, image_stack
from fqi.networks.modules import FromModule
from fqi.networks.qmap import QMap
from fqi.qfunctions.contract import discrete_actions
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ImageEncoder
from fqi.qfunctions.networks import NetworkQ
from fqi.qfunctions.settings import UnetSettings


class Unet(NetworkQ):
    """Action (r H + i) W + j is to act at pixel (i, j) in the rotation r. The regression's slope is at the logged pixel
    alone; what it learns there holds for every pixel that looks alike."""

    def __init__(
        self,
        settings: UnetSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "unet")
        stack = image_stack(as_image(observation_space))
        if stack is None:
            raise UserError(
                "the unet regressor needs images, bytes [height, width] or with channels before or behind, of at least "
                f"5 pixels a side; found {observation_space}"
            )
        pixels = stack.height * stack.width
        if self.actions != settings.rotations * pixels:
            raise UserError(
                f"the unet regressor values {settings.rotations} x {stack.height} x {stack.width} = "
                f"{settings.rotations * pixels} actions, one for each rotation and pixel, and the log has "
                f"{self.actions}; give --rotations {self.actions // pixels}"
                if self.actions % pixels == 0
                else f"the unet regressor needs one action for each of {pixels} pixels, or several rotations of that; "
                f"found {self.actions} actions"
            )
        if settings.turn and settings.rotations == 1:
            raise UserError("turn says how far rotations are apart and has no effect on one; give rotations, or turn 0")
        encoder = ImageEncoder(observation_space, device, centred=False)
        module = partial(QMap, stack, settings.channels, settings.levels, settings.rotations, settings.turn)
        network = FromModule(module, encoder.width, self.actions, "unet", halves=settings.precision == "bf16")
        self._build([Kind(network, settings)] * self.heads, encoder, seeds, workers)
