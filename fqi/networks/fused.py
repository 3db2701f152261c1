"""Networks of several parts: each image, all vectors and each category have an encoder of their own; what they make is
fused by dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from fqi.networks.convolutions import Stack


@dataclass(frozen=True)
class Parts:
    """How the columns of an input are divided: images first, then vectors, then categories as numbers from 0."""

    images: tuple[Stack, ...]
    vectors: int  # columns
    categories: tuple[int, ...]  # how many values each takes

    @property
    def columns(self) -> int:
        """D."""
        return sum(stack.pixels for stack in self.images) + self.vectors + len(self.categories)


class Fused(nn.Module):
    """Inputs [B, D] to outputs [B, O]."""

    def __init__(
        self,
        parts: Parts,
        hidden: Sequence[int],
        outputs: int,
        embedding: int = 1,
        dense: int = 128,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.parts = parts
        self.images = nn.ModuleList(_image_encoder(stack, dense) for stack in parts.images)
        self.categories = nn.ModuleList(nn.Embedding(count, embedding) for count in parts.categories)
        # beside images a few columns would drown; alone, or among themselves, vectors need no encoder of their own
        wide = dense if parts.images and parts.vectors else parts.vectors
        self.vectors = nn.Sequential(nn.Linear(parts.vectors, wide), nn.ReLU()) if wide != parts.vectors else None
        sizes = [dense * len(parts.images) + wide + embedding * len(parts.categories), *hidden]
        layers = list[nn.Module]()
        for before, after in pairwise(sizes):
            norm = [nn.LayerNorm(after)] if layer_norm else []
            layers += [nn.Linear(before, after), *norm, nn.ReLU()]
        self.fused = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found, at = list[torch.Tensor](), 0
        for stack, encoder in zip(self.parts.images, self.images, strict=True):
            found.append(encoder(stack.images(inputs[:, at : at + stack.pixels])))
            at += stack.pixels
        vectors = inputs[:, at : at + self.parts.vectors]
        found.append(vectors if self.vectors is None else self.vectors(vectors))
        at += self.parts.vectors
        for column, encoder in enumerate(self.categories, start=at):
            found.append(encoder(inputs[:, column].long()))
        outputs: torch.Tensor = self.fused(torch.cat(found, 1))
        return outputs


def _image_encoder(stack: Stack, dense: int) -> nn.Module:
    """The convolutions that suit the image, and a dense layer behind them."""
    layers = list[nn.Module]()
    for (channels, kernel, stride), (before, _, _) in zip(stack.layers, stack.shapes, strict=False):
        layers += [nn.Conv2d(before, channels, kernel, stride), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(stack.features, dense), nn.ReLU())
