"""Inputs of several parts: images and vectors standardised, categories as numbers for an embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.encoding import encode, width
from fqi.nest import Array, Nest, leaf_spaces, leaves
from fqi.networks.alignment import aligned
from fqi.networks.convolutions import as_image, image_stack
from fqi.networks.fused import Parts
from fqi.networks.standards import IMAGES_MEASURED, Brightness, measured, standards
from fqi.qfunctions.inputs import (
    MEASURED,
    PIECE,
    PIECE_OF_IMAGES,
    Columns,
    Encoder,
    ImageEncoder,
    Images,
    Inputs,
    image_bytes,
    images_at_once,
)
from fqi.transitions import Transitions

Categories = gym.spaces.Discrete | gym.spaces.MultiDiscrete


def _sizes(space: Categories) -> Array:
    return np.ravel(space.n if isinstance(space, gym.spaces.Discrete) else space.nvec)


class PartEncoder(Encoder):
    """Columns in the order of `Parts`: images, vectors, categories. Images without `images`, and categories where they
    are not `embedded`, are columns of the vectors."""

    def __init__(self, space: gym.Space[Any], device: torch.device, images: bool, embedded: bool = True) -> None:
        self.device = device
        spaces = leaf_spaces(space)
        stacks = {path: image_stack(as_image(leaf)) for path, leaf in spaces.items()} if images else {}
        self.images = {
            path: ImageEncoder(leaf, device, centred=True) for path, leaf in spaces.items() if stacks.get(path)
        }
        self.categories = {path: leaf for path, leaf in spaces.items() if embedded and isinstance(leaf, Categories)}
        self.vectors = [path for path in spaces if path not in self.images and path not in self.categories]
        self.space = gym.spaces.Dict(
            [(path.replace("/", "."), spaces[path]) for path in self.vectors]
        )  # of the vectors
        found = [stack for path in self.images if (stack := stacks[path])]
        sizes = [int(n) for leaf in self.categories.values() for n in _sizes(leaf)]
        vectors = width(self.space)
        self.parts = Parts(tuple(found), vectors, tuple(sizes))
        self.width = self.parts.columns
        self.piece = PIECE_OF_IMAGES if self.images else PIECE
        self.measured = IMAGES_MEASURED if self.images else MEASURED
        self.row_bytes = 4 * (vectors + len(sizes))
        self.centre, self.spread = torch.zeros(vectors, device=device), torch.ones(vectors, device=device)

    def bound(self, rows: Transitions, training: torch.Tensor) -> Inputs:
        own = leaves(rows.log.observations)
        shown = rows.shown()
        small = {p: own[p] if rows.stack == 1 else own[p][shown] for p in own if p not in self.images}
        raw = self._vectors(small) if small else torch.zeros(len(shown), 0, device=self.device)
        if self.vectors:
            centre, spread = standards(raw[torch.as_tensor(rows.frame[training.numpy()])], self.space)
            self.centre.copy_(centre[0])
            self.spread.copy_(spread[0])
        features = self._columns(raw, small)
        padded = features.new_zeros(aligned(len(features)), features.shape[1])
        padded[: len(features)] = features
        index = torch.from_numpy(shown).to(self.device)
        regressed = torch.from_numpy(rows.frame)[training.cpu()]
        images = [encoder.kept(own[path], index, regressed) for path, encoder in self.images.items()]
        return Several(images, Columns(padded), len(features)) if images else Columns(padded)

    def measure(self, pieces: Iterable[Nest]) -> None:
        seen = {path: Brightness() for path in self.images}

        def vectors() -> Iterator[Array]:
            for piece in pieces:
                own = leaves(piece)
                for path, found in seen.items():
                    found.add(image_bytes(own[path], self.device))
                yield self._vectors(own).cpu().numpy()

        if self.vectors:
            centre, spread = measured(vectors(), self.space)
            self.centre.copy_(centre)
            self.spread.copy_(spread)
        else:
            for _ in vectors():
                pass
        for path, encoder in self.images.items():
            encoder.take(seen[path])

    def of(self, frames: Nest, shown: Array) -> Inputs:
        own = leaves(frames)
        small = {p: own[p][shown if shown.shape[1] > 1 else shown[:, 0]] for p in own if p not in self.images}
        raw = self._vectors(small) if small else torch.zeros(len(shown), 0, device=self.device)
        columns = Columns(self._columns(raw, small))
        images = [encoder.of({path: own[path]}, shown) for path, encoder in self.images.items()]
        return Several(images, columns, len(shown)) if images else columns

    def __call__(self, frames: Nest) -> torch.Tensor:
        own = leaves(frames)
        columns = self._columns(self._vectors(own), own)
        images = [encoder({path: own[path]}) for path, encoder in self.images.items()]
        return torch.cat([*images, columns], 1) if images else columns

    def _vectors(self, own: dict[str, Array]) -> torch.Tensor:
        """[B, V] as they are."""
        if not self.vectors:
            return torch.zeros(len(next(iter(own.values()))), 0, device=self.device)
        parts: Nest = {path.replace("/", "."): own[path] for path in self.vectors}
        return torch.from_numpy(encode(parts, self.space)).to(self.device)

    def _columns(self, raw: torch.Tensor, own: dict[str, Array]) -> torch.Tensor:
        """[B, V + C] vectors on a common scale, and categories as numbers from 0."""
        found = [(raw - self.centre) / self.spread]
        for path, leaf in self.categories.items():
            number = np.asarray(own[path] - leaf.start).reshape(len(own[path]), -1)
            found.append(torch.from_numpy(number.astype(np.float32)).to(self.device))
        return torch.cat(found, 1)

    def tensors(self) -> dict[str, torch.Tensor]:
        found = {"input_centre": self.centre, "input_spread": self.spread}
        for path, encoder in self.images.items():
            found |= {f"{name}.{path.replace('/', '.')}": tensor for name, tensor in encoder.tensors().items()}
        return found


class Several(Inputs):
    """Images and columns side by side."""

    piece = PIECE_OF_IMAGES

    def __init__(self, images: list[Images], columns: Columns, frames: int) -> None:
        self.images, self.rest, self.frames = images, columns, frames
        self.columns = sum(one.columns for one in images) + columns.columns

    def __len__(self) -> int:
        return self.frames

    def at(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.cat([*(one.at(frames) for one in self.images), self.rest.at(frames)], 1)

    def between(self, start: int, stop: int) -> torch.Tensor:
        columns = self.rest.between(start, stop)[: stop - start]
        return torch.cat([*(one.between(start, stop) for one in self.images), columns], 1)

    def packed(self, frames: torch.Tensor) -> Several:
        return Several([one.packed(frames) for one in self.images], self.rest.packed(frames), len(frames))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return *(tensor for one in self.images for tensor in one.tensors()), *self.rest.tensors()

    def block(self, batch: int) -> int:
        return images_at_once(batch, self.columns)
