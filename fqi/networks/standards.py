"""Inputs on a common scale: the centre and spread of each column that measures something."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.encoding import images, scaled_columns
from fqi.nest import Array

IMAGES_MEASURED = 4096  # that the scale of images is taken from at most


def spaced(rows: torch.Tensor, most: int) -> torch.Tensor:
    """Of these rows no more than so many, evenly spaced."""
    return rows[:: -(-len(rows) // most)]


def standards(raw: torch.Tensor, space: gym.Space[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre and spread [..., 1, D] of features [..., B, D]; categories are left as they are."""
    centre, spread = raw.double().mean(-2, keepdim=True), raw.double().std(-2, correction=0, keepdim=True)
    centre, spread = scales(centre, spread, space)
    return centre.to(raw.dtype), spread.to(raw.dtype)


def scales(centre: torch.Tensor, spread: torch.Tensor, space: gym.Space[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread [..., D] of features, but 0 and 1 of categories, and a spread of 1 of columns that never change:
    left where it is, a large one would drown all others. The pixels of an image have one spread: what a spread of its
    own would make of a pixel that rarely changes would, too."""
    for pixels in images(space):
        together = spread[..., pixels].square().mean(-1, keepdim=True).sqrt()
        spread[..., pixels] = torch.where(spread[..., pixels] > 0, together, 0.0)
    scaled = torch.from_numpy(scaled_columns(space)).to(spread.device)
    varied = scaled & (spread > 1e-6 * centre.abs().clamp_min(1e-6))
    return torch.where(scaled, centre, 0.0), torch.where(varied, spread, 1.0)


class Brightness:
    """Of images [n, D] that come piece by piece: the mean of each pixel, and how far pixels lie from theirs. What never
    changes then is 0, and what moves stands out: convolutions that see 0 to 1 take long to find it."""

    def __init__(self, pieces: Iterable[torch.Tensor] = ()) -> None:
        self.count, self.squares = 0, 0.0  # squared distances from the first piece's mean
        for piece in pieces:
            self.add(piece)

    def add(self, piece: torch.Tensor) -> None:
        values = piece.double()
        if not self.count:
            self.first, self.total = values.mean(0), torch.zeros_like(values[0])
        values = values - self.first
        self.count += len(values)
        self.total += values.sum(0)
        self.squares += float(values.square().sum())

    def scale(self) -> tuple[torch.Tensor, float]:
        """Centre [D] and spread."""
        apart = self.total / self.count
        variance = self.squares / self.count - float(apart.square().sum())
        spread = math.sqrt(max(0.0, variance) / len(apart))
        return (self.first + apart).float(), spread if spread > 1e-6 else 1.0


def measured(pieces: Iterable[Array], space: gym.Space[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre and spread [D] of features [n, D] that come piece by piece: what `standards` says of all of them."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)  # squared distances from the mean
    for piece in pieces:
        own, total = piece.mean(0, dtype=np.float64), count + len(piece)
        apart = own - mean
        squares = squares + np.square(piece - own).sum(0) + np.square(apart) * (count * len(piece) / total)
        mean = mean + apart * (len(piece) / total)
        count = total
    spread = np.sqrt(squares / max(1, count))
    return scales(torch.from_numpy(np.asarray(mean)), torch.from_numpy(spread), space)
