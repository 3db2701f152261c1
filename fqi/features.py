"""Named features of frames for linear regression: their names, what they learn from data, what they make.

Each makes a bias column of its own. Boxes are scaled by what the data show; one-hot columns of categories stay 0 and 1.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import scipy.sparse
import torch

from fqi.encoding import encode, scaled_columns, width
from fqi.errors import UserError
from fqi.imports import trusted
from fqi.nest import Array, Nest, rows
from fqi.qfunctions.checks import Expected, within
from fqi.qfunctions.settings import FEATURES

LARGEST = 10_000  # features: a Gram matrix of 800 MB
CANDIDATES = 10_000  # frames among which radial centres are sought

Matrix: TypeAlias = "Array | scipy.sparse.csr_array"


class Features(ABC):
    """Frames in, rows of numbers out."""

    random = False  # whether a seed changes them
    columns: int  # D, the bias among them; known after `fit` or `restore`

    @abstractmethod
    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        """Learn ranges, centres and tiles from these frames."""

    @abstractmethod
    def __call__(self, frames: Nest) -> Matrix:
        """[B, D] float64."""

    @abstractmethod
    def learnt(self) -> dict[str, Array]:
        """What `fit` has found."""

    @abstractmethod
    def expected(self) -> dict[str, Expected]:
        """The names, dtypes and shapes of `learnt`."""

    @abstractmethod
    def restore(self, arrays: dict[str, Array], what: str) -> None:
        """Take `learnt` back, its names, dtypes and shapes being those of `expected`."""


def make_features(spec: str, space: gym.Space[Any]) -> Features:
    """The features with this name; see FEATURES."""
    name, _, rest = spec.partition(":")
    if name == "py":
        return Called(spec)
    kinds: dict[str, tuple[type[Scaled], tuple[type[int] | type[float], ...]]] = {
        "raw": (Raw, ()),
        "polynomial": (Polynomial, (int,)),
        "fourier": (Fourier, (int,)),
        "radial": (Radial, (int, float)),
        "tiles": (Tiles, (int, int)),
    }
    if name not in kinds:
        raise UserError(f"features must be one of {', '.join(FEATURES)}, found {spec!r}")
    kind, types = kinds[name]
    parts = rest.split(":") if rest else []
    wanted = next(n for n in FEATURES if n.split(":")[0] == name)
    try:
        if len(parts) != len(types):
            raise ValueError
        numbers = [cast(part) for cast, part in zip(types, parts, strict=True)]
    except ValueError:
        raise UserError(f"features must read {wanted}, found {spec!r}") from None
    if not all(0 < n <= 100_000 for n in numbers):
        raise UserError(f"features {wanted} takes numbers greater than 0 and at most 100000, found {spec!r}")
    return kind(space, *numbers)


# ---- built in


class Scaled(Features):
    """Encoded frames x [B, d], shifted and scaled column by column: (x - shift) / scale."""

    def __init__(self, space: gym.Space[Any]) -> None:
        self.space, self.inputs = space, width(space)
        self.measured = scaled_columns(space)
        self.shift, self.scale = np.zeros(self.inputs), np.ones(self.inputs)

    def scaled(self, frames: Nest) -> Array:
        """[B, d]"""
        return np.asarray((encode(frames, self.space, np.float64) - self.shift) / self.scale)

    def set_scale(self, shift: Array, scale: Array) -> None:
        self.shift = np.where(self.measured, shift, 0.0)
        self.scale = np.where(self.measured & (scale > 0), scale, 1.0)  # a constant column has no scale of its own

    def standardise(self, x: Array) -> None:
        self.set_scale(x.mean(0), x.std(0))

    def to_range(self, x: Array, low: float, high: float) -> None:
        """Move what the data shows onto [low, high]."""
        least, most = x.min(0), x.max(0)
        scale = (most - least) / (high - low)
        self.set_scale(least - low * scale, scale)

    def learnt(self) -> dict[str, Array]:
        return {"shift": self.shift, "scale": self.scale}

    def expected(self) -> dict[str, Expected]:
        return {"shift": (torch.float64, (self.inputs,)), "scale": (torch.float64, (self.inputs,))}

    def restore(self, arrays: dict[str, Array], what: str) -> None:
        if (arrays["scale"] <= 0).any():
            raise UserError(f"{what}: scale must be greater than 0, found {arrays['scale'].min()}")
        self.shift, self.scale = arrays["shift"], arrays["scale"]


class Raw(Scaled):
    """Standardised observations."""

    def __init__(self, space: gym.Space[Any]) -> None:
        super().__init__(space)
        self.columns = _affordable("raw", 1 + self.inputs)

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        self.standardise(encode(frames, self.space, np.float64))

    def __call__(self, frames: Nest) -> Array:
        x = self.scaled(frames)
        return np.concatenate([np.ones((len(x), 1)), x], axis=1)


class Polynomial(Scaled):
    """Every monomial up to a total degree, of observations moved onto [-1, 1]."""

    def __init__(self, space: gym.Space[Any], degree: int) -> None:
        super().__init__(space)
        self.columns = _affordable(f"polynomial:{degree}", math.comb(self.inputs + degree, degree))
        # Each monomial is an earlier one times a variable that is not before its last: no power is formed twice.
        self.steps: list[tuple[int, int]] = []  # (earlier column, variable)
        level = [(0, 0)]  # (column, first variable that may follow)
        for _ in range(degree):
            made = []
            for column, first in level:
                for variable in range(first, self.inputs):
                    self.steps.append((column, variable))
                    made.append((len(self.steps), variable))
            level = made

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        self.to_range(encode(frames, self.space, np.float64), -1, 1)

    def __call__(self, frames: Nest) -> Array:
        x = self.scaled(frames)
        columns = np.ones((1 + len(self.steps), len(x)))
        for i, (column, variable) in enumerate(self.steps, start=1):
            np.multiply(columns[column], x[:, variable], out=columns[i])
        return columns.T


class Fourier(Scaled):
    """cos(pi c.x) for every c in {0 .. order}^d, of observations moved onto [0, 1]."""

    def __init__(self, space: gym.Space[Any], order: int) -> None:
        super().__init__(space)
        self.columns = _affordable(f"fourier:{order}", (order + 1) ** self.inputs)
        self.waves = np.array(list(itertools.product(range(order + 1), repeat=self.inputs)), np.float64)  # [D, d]

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        self.to_range(encode(frames, self.space, np.float64), 0, 1)

    def __call__(self, frames: Nest) -> Array:
        phase = self.scaled(frames) @ self.waves.T
        phase *= np.pi
        return np.asarray(np.cos(phase, out=phase))


class Radial(Scaled):
    """exp(-|x - c|² / 2 width²) around centres among the data, of standardised observations.

    The first centre is drawn; each further one is the frame farthest from those before, so that they cover what the
    data covers and not what it repeats.
    """

    random = True

    def __init__(self, space: gym.Space[Any], count: int, spread: float) -> None:
        super().__init__(space)
        _affordable(f"radial:{count}:{spread:g}", 1 + count)
        self.count, self.spread = count, spread
        self.centres = np.zeros((0, self.inputs))

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        x = encode(frames, self.space, np.float64)
        self.standardise(x)
        chosen = generator.choice(len(x), size=min(CANDIDATES, len(x)), replace=False)
        x = (x[chosen] - self.shift) / self.scale
        centres = [0]
        distance = np.square(x - x[0]).sum(1)  # to the nearest centre
        while len(centres) < min(self.count, len(x)) and distance.max() > 0:
            centres.append(int(distance.argmax()))
            np.minimum(distance, np.square(x - x[centres[-1]]).sum(1), out=distance)
        self.centres = x[centres]
        self.columns = 1 + len(centres)

    def __call__(self, frames: Nest) -> Array:
        x = self.scaled(frames)
        distance = np.square(x).sum(1)[:, None] + np.square(self.centres).sum(1) - 2 * (x @ self.centres.T)
        made = np.ones((len(x), 1 + len(self.centres)))
        np.exp(np.maximum(distance, 0) / (-2 * self.spread**2), out=made[:, 1:])
        return made

    def learnt(self) -> dict[str, Array]:
        return {**super().learnt(), "centres": self.centres}

    def expected(self) -> dict[str, Expected]:
        return {**super().expected(), "centres": (torch.float64, (None, self.inputs))}

    def restore(self, arrays: dict[str, Array], what: str) -> None:
        super().restore(arrays, what)
        if len(arrays["centres"]) > self.count:
            raise UserError(f"{what}: expected at most {self.count} centres, found {len(arrays['centres'])}")
        self.centres = arrays["centres"]
        self.columns = 1 + len(self.centres)


class Tiles(Scaled):
    """Tile coding: `tilings` grids of `bins` cells a dimension, each shifted at random by a part of a cell.

    Only tiles that the data touches become columns, so that dimensions cost no more than the data fills. A row holds
    `tilings` ones and the bias, kept as indices.
    """

    random = True

    def __init__(self, space: gym.Space[Any], tilings: int, bins: int) -> None:
        super().__init__(space)
        self.tilings, self.bins = tilings, bins
        self.name, self.most = f"tiles:{tilings}:{bins}", tilings * (bins + 1) ** self.inputs
        if self.most >= 2**62:
            raise UserError(
                f"features {self.name} of {self.inputs} columns make {_many(self.most)} tiles, more than "
                f"can be counted; take fewer bins or radial features"
            )
        self.offsets = np.zeros((tilings, self.inputs))  # in cells
        self.touched = np.zeros(0, np.int64)  # ascending: the tile of each column after the bias

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        self.to_range(encode(frames, self.space, np.float64), 0, 1)
        self.offsets = generator.random((self.tilings, self.inputs))
        self.touched = np.unique(self._tiles(frames))
        self.columns = _affordable(self.name, 1 + len(self.touched))

    def _tiles(self, frames: Nest) -> Array:
        """[B, tilings] the tile of each tiling."""
        x = np.clip(self.scaled(frames), 0, 1) * self.bins  # frames beyond the data fall into its outermost cells
        tile = np.zeros((len(x), self.tilings), np.int64)
        for column in range(self.inputs):
            cell = (x[:, column, None] + self.offsets[:, column]).astype(np.int64)
            tile = tile * (self.bins + 1) + np.minimum(cell, self.bins)
        return np.asarray(tile * self.tilings + np.arange(self.tilings))

    def __call__(self, frames: Nest) -> scipy.sparse.csr_array:
        tile = self._tiles(frames)
        B, last = len(tile), len(self.touched) - 1
        place = np.minimum(np.searchsorted(self.touched, tile), last)
        known = self.touched[place] == tile
        index = np.concatenate([np.zeros((B, 1), np.int64), place + 1], axis=1)
        active = np.concatenate([np.ones((B, 1)), known], axis=1)
        starts = np.arange(B + 1) * (self.tilings + 1)
        return scipy.sparse.csr_array((active.reshape(-1), index.reshape(-1), starts), shape=(B, self.columns))

    def learnt(self) -> dict[str, Array]:
        return {**super().learnt(), "offsets": self.offsets, "touched": self.touched}

    def expected(self) -> dict[str, Expected]:
        own = {"offsets": (torch.float64, (self.tilings, self.inputs)), "touched": (torch.int64, (None,))}
        return {**super().expected(), **own}

    def restore(self, arrays: dict[str, Array], what: str) -> None:
        super().restore(arrays, what)
        if (arrays["offsets"] < 0).any() or (arrays["offsets"] > 1).any():
            raise UserError(f"{what}: offsets must lie in [0, 1]")
        if not len(arrays["touched"]) or (np.diff(arrays["touched"]) <= 0).any():
            raise UserError(f"{what}: touched must hold tiles in ascending order")
        within(arrays["touched"], 0, self.most, "touched", what)
        self.offsets, self.touched = arrays["offsets"], arrays["touched"]
        self.columns = 1 + len(self.touched)


# ---- the user's own


class Called(Features):
    """A callable of the user's: a nest of frames in, an array [B, D] out. The bias column is added to it."""

    def __init__(self, spec: str) -> None:
        self.spec, self.function = spec, trusted(spec, "features")

    def fit(self, frames: Nest, generator: np.random.Generator) -> None:
        self.columns = _affordable(self.spec, 1 + self._made(frames).shape[1])

    def _made(self, frames: Nest) -> Array:
        made = np.asarray(self.function(frames))
        if made.ndim != 2 or len(made) != rows(frames) or made.dtype.kind not in "fiub":
            raise UserError(
                f"features {self.spec} must make numbers of shape [{rows(frames)}, D], found {made.dtype} "
                f"{list(made.shape)}"
            )
        if not np.isfinite(made).all():
            raise UserError(f"features {self.spec} must make finite numbers, found NaN or infinity")
        return made

    def __call__(self, frames: Nest) -> Array:
        made = self._made(frames)
        if made.shape[1] != self.columns - 1:
            raise UserError(f"features {self.spec} made {self.columns - 1} columns before, now {made.shape[1]}")
        return np.concatenate([np.ones((len(made), 1)), made], axis=1)

    def learnt(self) -> dict[str, Array]:
        return {"columns": np.array([self.columns])}

    def expected(self) -> dict[str, Expected]:
        return {"columns": (torch.int64, (1,))}

    def restore(self, arrays: dict[str, Array], what: str) -> None:
        self.columns = int(arrays["columns"][0])
        if self.columns < 1:
            raise UserError(f"{what}: columns must be at least 1, found {self.columns}")


def _affordable(name: str, columns: int) -> int:
    if columns > LARGEST:
        raise UserError(
            f"features {name} make {_many(columns)} features here, more than {LARGEST}; take fewer, or "
            f"radial features, whose number does not grow with the dimensions"
        )
    return columns


def _many(n: int) -> str:
    return f"{n:,}" if n < 10**15 else "more than 10^15"
