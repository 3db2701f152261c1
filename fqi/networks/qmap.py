"""Maps of values: a fully convolutional network (Ronneberger et al. 2015, small) with one output for each pixel."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from fqi.networks.convolutions import Stack


class QMap(nn.Module):
    """Images [B, D] to the values [B, R H W] of acting at each pixel, in each of R rotations.

    With a `turn` of 0 each rotation has a map of its own, all from one pass. Otherwise for the rotation r the image is
    turned by r / R of so many full turns before the network sees it, and the map is turned back (Zeng et al. 2018): one
    and the same map then values all directions.
    """

    def __init__(
        self, stack: Stack, channels: int = 16, levels: int = 2, rotations: int = 1, turn: float = 0.0
    ) -> None:
        super().__init__()
        self.stack, self.rotations, self.step, self.turn = stack, rotations, 2**levels, turn
        widths = [channels * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(_block(b, a) for b, a in zip([stack.channels, *widths], widths, strict=False))
        pairs = zip(widths[::-1], widths[-2::-1], strict=False)
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in pairs)
        self.last = nn.Conv2d(channels, 1 if turn else rotations, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        images = self.stack.images(inputs)
        if not self.turn:
            return self._map(images).flatten(1)
        maps = [self._turned(self._map(self._turned(images, r)), -r) for r in range(self.rotations)]
        return torch.stack(maps, 1).flatten(1)

    def _map(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 1 or R, H, W] of images [B, C, H, W], whose sides need not be a multiple of anything."""
        height, width = images.shape[2:]
        x = functional.pad(images, (0, -width % self.step, 0, -height % self.step))
        beside = list[torch.Tensor]()
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            beside.append(x)
        for block, other in zip(self.up, beside[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), other], 1))
        found: torch.Tensor = self.last(x)[:, :, :height, :width]
        return found

    def _turned(self, images: torch.Tensor, rotation: int) -> torch.Tensor:
        """Images [B, C, H, W] turned by so many parts of a full turn: exactly where the pixels fall on pixels."""
        quarters = 4 * self.turn * rotation / self.rotations
        square = images.shape[2] == images.shape[3]
        if rotation == 0:
            return images
        if quarters % 1 == 0 and (square or quarters % 2 == 0):
            return torch.rot90(images, int(quarters), (2, 3))
        angle = quarters * math.pi / 2
        height, width = images.shape[2:]
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = images.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
        grid = functional.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, align_corners=False)


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(_convolution(before, after), nn.ReLU(), _convolution(after, after), nn.ReLU())


def _convolution(before: int, after: int) -> nn.Module:
    """With weights so large that rectified maps keep their spread (He et al. 2015): torch's own lose it from layer to
    layer, and the last maps of a deep stack would hardly differ from pixel to pixel."""
    layer = nn.Conv2d(before, after, 3, padding=1)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
