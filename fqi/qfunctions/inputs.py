"""Where the inputs of a regression come from: the frames of a log, asked for by number or in slices."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.encoding import encode, width
from fqi.nest import Array, Nest, leaves, take
from fqi.networks.alignment import aligned
from fqi.networks.standards import IMAGES_MEASURED, Brightness, measured, spaced, standards
from fqi.qfunctions.reading import onto
from fqi.transitions import Transitions

PIECE = 1024  # rows of columns valued at once on a CPU: hidden layers then fit its cache, however many heads
PIECE_OF_IMAGES = 128
MEASURED = 1 << 17  # rows, evenly spaced, that scales are taken from at most where they lie on disk
BRIGHTEST = 255.0
BLOCK = 64  # batches of columns gathered at once: large enough to hide the gather, small enough for the cache
GATHERED = 2**24  # bytes that images gathered at once take, about


class Inputs(ABC):
    """F frames as inputs [F, D] of a network, wherever they lie. Any number of processes may read them.

    How many rows are taken at once is a property of the kind and of D alone, never of who else asks: what is drawn by
    weight depends on it.
    """

    columns: int  # D
    piece: int  # rows valued at once on a CPU
    resident: bool = True  # whether all of it lies in memory

    @abstractmethod
    def __len__(self) -> int:
        """F, perhaps with a few more that fill whole cache lines."""

    @abstractmethod
    def at(self, frames: torch.Tensor) -> torch.Tensor:
        """[n, D] the inputs of these frames [n]."""

    @abstractmethod
    def between(self, start: int, stop: int) -> torch.Tensor:
        """[n, D] the inputs of the frames from start to stop, and perhaps a few more that fill whole cache lines."""

    @abstractmethod
    def packed(self, frames: torch.Tensor) -> Inputs:
        """The inputs of these frames [T] as frames 0 to T - 1: what an epoch gathers its batches from."""

    @abstractmethod
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All memory behind it, to be shared with other processes."""

    @abstractmethod
    def block(self, batch: int) -> int:
        """Batches of so many rows that are gathered at once."""

    def epoch(self, batch: int, generators: Sequence[torch.Generator], batches: int, turn: int = 0) -> Iterator[Window]:
        """All rows once, in an order [P, ·] drawn by each head's generator, in windows of `batch` rows or more; no more
        than `batches` are asked for. What heads of the same turn draw together, whichever heads they are, is the same.

        What lies in memory is one window; what does not is read into memory window by window.
        """
        device = generators[0].device
        order = torch.stack([torch.randperm(len(self), generator=g, device=device) for g in generators])
        yield Window(order, self, order)


@dataclass(frozen=True)
class Window:
    """Rows to be regressed on next, and inputs in memory that hold them."""

    rows: torch.Tensor  # [P, n]
    inputs: Inputs
    place: torch.Tensor  # [P, n] where each row lies in the inputs


class Columns(Inputs):
    """A matrix of floats, padded to whole cache lines."""

    piece = PIECE

    def __init__(self, features: torch.Tensor) -> None:
        self.features, self.columns = features, features.shape[1]  # [F, D]

    def __len__(self) -> int:
        return len(self.features)

    def at(self, frames: torch.Tensor) -> torch.Tensor:
        return self.features[frames]

    def between(self, start: int, stop: int) -> torch.Tensor:
        return self.features[start : start + aligned(stop - start)]

    def packed(self, frames: torch.Tensor) -> Columns:
        return Columns(self.features[frames])  # side by side in memory

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.features,)

    def block(self, batch: int) -> int:
        return BLOCK


class Images(Inputs):
    """Single images as bytes, each kept once; a frame is one of them, or several in a row. They become floats where
    they are asked for, less their centre [D] and divided by their spread [1]."""

    piece = PIECE_OF_IMAGES

    def __init__(self, bytes_: torch.Tensor, index: torch.Tensor, centre: torch.Tensor, spread: torch.Tensor) -> None:
        self.bytes, self.index = bytes_, index  # [images, bytes of one], [F, S]
        self.centre, self.spread = centre, spread
        self.columns = bytes_.shape[1] * index.shape[1]

    def __len__(self) -> int:
        return len(self.index)

    def at(self, frames: torch.Tensor) -> torch.Tensor:
        return self._gathered(self.index[frames])

    def between(self, start: int, stop: int) -> torch.Tensor:
        return self._gathered(self.index[start:stop])

    def _gathered(self, index: torch.Tensor) -> torch.Tensor:
        found = self.bytes.index_select(0, index.reshape(-1)).view(len(index), self.columns)
        return found.float().sub_(self.centre).div_(self.spread)

    def packed(self, frames: torch.Tensor) -> Images:
        return Images(self.bytes, self.index[frames], self.centre, self.spread)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.bytes, self.index, self.centre, self.spread

    def block(self, batch: int) -> int:
        return images_at_once(batch, self.columns)


def images_at_once(batch: int, columns: int) -> int:
    """Batches of images that are gathered at once, as floats."""
    return max(1, min(BLOCK, GATHERED // (4 * batch * columns)))


class Encoder(ABC):
    """Turns frames into the inputs of a network: a whole log's, or those of any other frames."""

    width: int  # D
    row_bytes: int  # that a row takes in memory, frames that it shares with others left out
    piece: int  # rows valued at once on a CPU
    measured: int = MEASURED  # rows that its scales are taken from at most
    device: torch.device

    @abstractmethod
    def bound(self, rows: Transitions, training: torch.Tensor) -> Inputs:
        """The inputs of a log's frames; scales are taken from the rows [B] that are regressed on."""

    @abstractmethod
    def measure(self, pieces: Iterable[Nest]) -> None:
        """Take the scales, if there are any, from the frames of the rows that are regressed on, piece by piece."""

    @abstractmethod
    def __call__(self, frames: Nest) -> torch.Tensor:
        """[B, D] the inputs of any frames."""

    @abstractmethod
    def of(self, frames: Nest, shown: Array) -> Inputs:
        """The inputs of frames in memory, of which those with the numbers shown [n, S] are looked at together."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """What it has learned, as it stands in a checkpoint."""


class ColumnEncoder(Encoder):
    """Vectors as they are, categories as one-hot columns; what is measured is standardised."""

    piece = PIECE

    def __init__(self, space: gym.Space[Any], device: torch.device) -> None:
        self.space, self.device, self.width = space, device, width(space)
        self.row_bytes = 4 * self.width
        self.centre, self.spread = torch.zeros(self.width, device=device), torch.ones(self.width, device=device)

    def bound(self, rows: Transitions, training: torch.Tensor) -> Columns:
        raw = onto(encode(rows.observations(), self.space), self.device)  # [F, D]
        centre, spread = standards(raw[torch.as_tensor(rows.frame[training.numpy()])], self.space)
        self.centre.copy_(centre[0])
        self.spread.copy_(spread[0])
        features = raw.new_zeros(aligned(len(raw)), raw.shape[1])
        features[: len(raw)] = raw.sub_(self.centre).div_(self.spread)
        return Columns(features)

    def __call__(self, frames: Nest) -> torch.Tensor:
        features = onto(encode(frames, self.space), self.device)  # a copy, standardised in place
        return features.sub_(self.centre).div_(self.spread)

    def measure(self, pieces: Iterable[Nest]) -> None:
        centre, spread = measured((encode(frames, self.space) for frames in pieces), self.space)
        self.centre.copy_(centre)
        self.spread.copy_(spread)

    def of(self, frames: Nest, shown: Array) -> Columns:
        return Columns(self(take(frames, shown if shown.shape[1] > 1 else shown[:, 0])))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"input_centre": self.centre, "input_spread": self.spread}


class ImageEncoder(Encoder):
    """Images stay bytes, in the order in which a frame holds them, until they are inputs: `centred`, each pixel less
    its mean and all divided by how far they lie from it, or else from 0 to 1."""

    piece, measured = PIECE_OF_IMAGES, IMAGES_MEASURED

    def __init__(self, space: gym.Space[Any], device: torch.device, centred: bool) -> None:
        self.space, self.device, self.centred, self.width = space, device, centred, math.prod(space.shape or ())
        self.row_bytes = 0  # a frame is shown with its neighbours, and kept once
        self.centre = torch.zeros(self.width, device=device)
        self.spread = torch.full((1,), BRIGHTEST, device=device)

    def bound(self, rows: Transitions, training: torch.Tensor) -> Images:
        index = onto(rows.shown(), self.device)  # [F, S]
        (images,) = leaves(rows.log.observations).values()
        return self.kept(images, index, torch.from_numpy(rows.frame)[training.cpu()])

    def kept(self, images: Array, index: torch.Tensor, regressed: torch.Tensor) -> Images:
        """A log's images, of which a frame [F, S] shows these; the scale is taken from frames that are regressed on."""
        raw, some = image_bytes(images, self.device), spaced(regressed, IMAGES_MEASURED)
        self.adjust(raw[index[part].reshape(-1)].view(len(part), -1) for part in torch.split(some, PIECE_OF_IMAGES))
        return Images(raw, index, self.centre, self.spread)

    def adjust(self, pieces: Iterable[torch.Tensor]) -> None:
        """Take the scale from images [n, D]."""
        if self.centred:
            self.take(Brightness(pieces))

    def take(self, found: Brightness) -> None:
        """The scale of the images that were seen."""
        centre, spread = found.scale()
        self.centre.copy_(centre)
        self.spread.fill_(spread)

    def __call__(self, frames: Nest) -> torch.Tensor:
        (images,) = leaves(frames).values()
        return image_bytes(images, self.device).float().sub_(self.centre).div_(self.spread)

    def measure(self, pieces: Iterable[Nest]) -> None:
        self.adjust(image_bytes(one, self.device) for frames in pieces for one in leaves(frames).values())

    def of(self, frames: Nest, shown: Array) -> Images:
        (images,) = leaves(frames).values()
        return Images(image_bytes(images, self.device), onto(shown, self.device), self.centre, self.spread)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"input_centre": self.centre, "input_spread": self.spread} if self.centred else {}


def image_bytes(images: Array, device: torch.device) -> torch.Tensor:
    """[F, D] the bytes of images, in memory that is shared where it can be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a log's frames are read-only, and nothing here writes to them
        return onto(np.ascontiguousarray(images).reshape(len(images), -1), device)
