"""The maximum over continuous actions, by the cross-entropy method: try many, keep the elite, try again around it.

Actions are columns in [-1, 1], the box of the action space moved there. All rows are searched at once. What is tried is
spread evenly: a fixed sequence of points, moved round by a random shift of each row, or by none, so that a policy's
action depends on its frame alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.errors import UserError
from fqi.nest import Array
from fqi.settings import TrainSettings

Score = Callable[[torch.Tensor], torch.Tensor]
"""Actions [M, H, B, S, K] to values [M, H, B, S]: S tries in each of B frames, by M members of H heads."""

Aim = Callable[[torch.Tensor], torch.Tensor]
"""What is climbed, of values [M, H, B, S]: [M, C, B, S], where each head chooses for itself (C = H) or all as one."""

NARROWEST = 0.01  # spread of the elite: below it nothing would be tried any more
NEAR = 0.1  # spread around the last round's best
TOGETHER = 1 << 18  # actions tried at once when a policy acts, which bounds the memory
NEAR_SHARE = 4  # one try in so many is made there


@dataclass(frozen=True)
class Cem:
    """How long is searched, and where the search begins."""

    samples: int = 64  # S
    elites: int = 6
    iterations: int = 2
    acting: int = 4  # iterations when a policy acts, which has no last round's best to begin with
    acting_samples: int = 256
    warm: bool = True  # the last round's best action is tried first

    @classmethod
    def of(cls, train: TrainSettings) -> Cem:
        return cls(
            train.cem_samples, train.cem_elites, train.cem_iterations, train.cem_acting, train.cem_acting_samples,
            train.cem_start == "last",
        )  # fmt: skip

    def to_act(self) -> Cem:
        """The search of a policy that acts."""
        return replace(self, samples=self.acting_samples, iterations=self.acting)


def own(values: torch.Tensor) -> torch.Tensor:
    """Every head chooses for itself."""
    return values


def mean(values: torch.Tensor) -> torch.Tensor:
    """The heads of a member choose by their mean."""
    return values.mean(1, keepdim=True)


def shifts(cem: Cem, seed: int, number: int, block: int, rows: int, dimensions: int) -> torch.Tensor:
    """[iterations, rows, K] how far each row's tries are moved: a pure function of seed, round and block of rows."""
    drawn = np.random.default_rng((seed, 4, number, block))
    return torch.from_numpy(drawn.random((cem.iterations, rows, dimensions), np.float32))


def search(score: Score, aim: Aim, cem: Cem, shift: torch.Tensor, begin: torch.Tensor | None = None) -> torch.Tensor:
    """[M, C, B, K] the best action that was tried. `shift` is [iterations, B, K], or with a leading axis M before B;
    `begin` [M, C, B, K] is tried, and looked around, in the first iteration."""
    points = spread_points(cem.samples, shift.shape[-1]).to(shift)  # [S, K]
    best, height = None, None
    centre = spread = shift.new_zeros(())
    for i in range(len(shift)):
        unit = (points + shift[i].unsqueeze(-2)).remainder(1)  # [(M,) B, S, K]
        unit = unit[None, None] if unit.ndim == 3 else unit.unsqueeze(1)  # [M, 1, B, S, K]
        if i == 0:
            tries = 2 * unit - 1
            if begin is not None:
                tries = _begun(tries, unit, begin)
        else:
            tries = (centre + spread * _normal(unit)).clamp_(-1, 1)  # [M, C, B, S, K]
        found = aim(score(tries))  # [M, C, B, S]
        top, place = found.topk(min(cem.elites, cem.samples), -1)  # [M, C, B, E]
        every = tries.expand(*found.shape, -1)
        elite = every.gather(-2, place.unsqueeze(-1).expand(*place.shape, every.shape[-1]))  # [M, C, B, E, K]
        if best is None or height is None:
            best, height = elite[..., 0, :], top[..., 0]
        else:
            better = top[..., 0] > height
            best = torch.where(better.unsqueeze(-1), elite[..., 0, :], best)
            height = torch.maximum(height, top[..., 0])
        centre = elite.mean(-2, keepdim=True)
        spread = elite.std(-2, correction=0, keepdim=True).clamp_min(NARROWEST)
    assert best is not None
    return best


def unmoved(cem: Cem, rows: int, dimensions: int) -> torch.Tensor:
    """[iterations, rows, K] no shift: what is tried, and so a policy's action, depends on the frame alone."""
    return torch.zeros(cem.iterations, rows, dimensions)


def _begun(tries: torch.Tensor, unit: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """[M, C, B, S, K] a share of the tries around where the search begins, the first of them right there."""
    start = begin.unsqueeze(-2)
    count = max(1, tries.shape[-2] // NEAR_SHARE)
    near = (start + NEAR * _normal(unit[..., :count, :])).clamp_(-1, 1)
    near[..., :1, :] = start
    rest = tries[..., count:, :].expand(*near.shape[:-2], -1, -1)
    return torch.cat([near, rest], -2)


def _normal(unit: torch.Tensor) -> torch.Tensor:
    """Normally distributed numbers from uniform ones in [0, 1)."""
    found: torch.Tensor = torch.special.ndtri(unit.clamp(1e-6, 1 - 1e-6))
    return found


def spread_points(count: int, dimensions: int) -> torch.Tensor:
    """[S, K] points that fill [0, 1)^K evenly: multiples of powers of the generalised golden ratio (Roberts 2018)."""
    ratio = 2.0
    for _ in range(64):  # the root of x^(K + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    steps = ratio ** -np.arange(1, dimensions + 1)
    return torch.from_numpy((0.5 + np.arange(1, count + 1)[:, None] * steps) % 1)


def searchable(space: gym.Space[Any]) -> bool:
    """Whether a maximum over these actions can be searched."""
    return isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.is_bounded()


def bounded_box(space: gym.Space[Any]) -> gym.spaces.Box:
    """The action space, refused where no maximum can be searched in it."""
    if not isinstance(space, gym.spaces.Box) or not searchable(space):
        raise UserError(
            f"the best of continuous actions is searched between bounds, and needs a Box of floating-point numbers "
            f"that is bounded in each dimension, found {space}"
        )
    return space


def to_unit(actions: Array, box: gym.spaces.Box) -> Array:
    """[B, K] actions of the box as columns in [-1, 1]."""
    low, span = box.low.astype(np.float64), _span(box)
    unit = 2 * (np.asarray(actions, np.float64) - low) / np.where(span > 0, span, 1) - 1
    return np.asarray(unit.reshape(len(unit), -1).astype(np.float32))


def from_unit(unit: Array, box: gym.spaces.Box) -> Array:
    """[B, *action] the actions of the box for columns in [-1, 1]."""
    found = box.low.astype(np.float64) + (unit.reshape(len(unit), *box.shape).astype(np.float64) + 1) / 2 * _span(box)
    return np.asarray(np.clip(found.astype(box.dtype), box.low, box.high))


def _span(box: gym.spaces.Box) -> Array:
    return np.asarray(box.high.astype(np.float64) - box.low.astype(np.float64))
