"""Maximum likelihood: P networks learn which action belongs to a frame, each from rows of its own.

A seed's numbers do not depend on which others train beside it: every seed has its own shuffles, its own held-out rows
and its own moment to stop.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.baselines.settings import LikelihoodSettings
from fqi.errors import UserError
from fqi.nest import Array, Nest
from fqi.networks.convolutions import image_stack
from fqi.networks.population import Population
from fqi.policies import Policy, one_hot

BYTES = 1 << 24  # of frames gathered at once
MULTIPLE = 32  # of rows in a batch: then every head's part of a tensor lies, and is rounded, like any other's
LOG_SPREADS = (-4.0, 2.0)  # between which a Gaussian's log-spread is kept, in standard deviations of the actions


# ---- what is learned of the actions


class Objective(ABC):
    """A negative log-likelihood of what is wanted, given a network's outputs [..., B, O]."""

    outputs: int  # O

    @abstractmethod
    def losses(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        """[..., B] the loss of each row."""

    @abstractmethod
    def slope(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        """[..., B, O] the slope of each row's loss with regard to the outputs."""


class Choice(Objective):
    """Cross-entropy of one action out of several; actions that are not legal have no probability."""

    def __init__(self, actions: int) -> None:
        self.outputs = actions

    def losses(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        logits = masked(outputs, legal)
        return logits.logsumexp(-1) - logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)

    def slope(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        certain = torch.full((1,), -1.0, device=outputs.device).expand(*wanted.shape, 1)
        return masked(outputs, legal).softmax(-1).scatter_add_(-1, wanted.unsqueeze(-1), certain)


class Mean(Objective):
    """Half the squared error of continuous actions, summed over their K dimensions."""

    def __init__(self, dimensions: int) -> None:
        self.outputs = dimensions

    def losses(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        return (outputs - wanted).square().sum(-1) / 2

    def slope(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        return outputs - wanted


class Gaussian(Objective):
    """Independent normal distributions: means, then log-spreads, which are kept within LOG_SPREADS."""

    def __init__(self, dimensions: int) -> None:
        self.outputs = 2 * dimensions

    def losses(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        mean, spread = outputs.chunk(2, -1)
        kept = spread.clamp(*LOG_SPREADS)
        return (((wanted - mean) * (-kept).exp()).square() / 2 + kept + math.log(2 * math.pi) / 2).sum(-1)

    def slope(self, outputs: torch.Tensor, wanted: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
        mean, spread = outputs.chunk(2, -1)
        precision = (-2 * spread.clamp(*LOG_SPREADS)).exp()
        error = mean - wanted
        by_spread = 1 - error.square() * precision
        low, high = LOG_SPREADS
        # Beyond the bounds only the way back has a slope.
        outward = ((spread < low) & (by_spread > 0)) | ((spread > high) & (by_spread < 0))
        return torch.cat([error * precision, by_spread.masked_fill_(outward, 0)], -1)


def masked(outputs: torch.Tensor, legal: torch.Tensor | None) -> torch.Tensor:
    """The outputs, -inf for actions that are not legal."""
    return outputs if legal is None else outputs.masked_fill(~legal, -torch.inf)


def objective(space: gym.Space[Any], settings: LikelihoodSettings, name: str) -> Objective:
    """What is learned of actions of this space; options without effect on them are refused."""
    if isinstance(space, gym.spaces.Discrete):
        if settings.head is not None:
            raise UserError(f"{name}: head {settings.head} is for continuous actions and has no effect on {space}")
        return Choice(int(space.n))
    if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"{name} needs Discrete actions or a Box of floating-point numbers, found {space}")
    if settings.head == "gaussian":
        return Gaussian(int(np.prod(space.shape)))
    if settings.act == "sample":
        raise UserError(f"{name}: act sample draws from a distribution, which a mean is not; give head gaussian")
    return Mean(int(np.prod(space.shape)))


# ---- the fit


@dataclass(frozen=True)
class Rows:
    """Frames and what is wanted in them; every seed learns from rows of its own choice."""

    features: torch.Tensor  # [F, D] as the population encodes frames
    frame: torch.Tensor  # [N] int64
    wanted: torch.Tensor  # [N] int64 actions from 0, or [N, K] float, standardised
    legal: torch.Tensor | None  # [N, A] bool


def new_population(
    observation_space: gym.Space[Any], goal: Objective, settings: LikelihoodSettings, seeds: Sequence[int]
) -> Population:
    """A network for each seed, of the size that suits the observations unless told otherwise."""
    width, depth = (512, 1) if image_stack(observation_space) else (64, 2)
    width, depth = settings.width or width, settings.depth or depth
    return Population(observation_space, goal.outputs, seeds, width, depth)


def fit(
    population: Population,
    goal: Objective,
    rows: Rows,
    training: Sequence[torch.Tensor],
    settings: LikelihoodSettings,
    updates: int,
    look: Callable[[int], bool] = lambda done: False,
) -> int:
    """Move each network towards its own rows `training` [P][T]; returns the gradient steps made.

    `look` is called with the steps done after each, and ends the fit by True.
    """
    for p, index in enumerate(training):
        member = population.member(p)
        member.standardise(rows.features[rows.frame[member.measured(index)]])
    for done, (inputs, wanted, legal) in enumerate(_batches(population, rows, training, settings, updates)):
        activations = population.forward(inputs)
        slope = goal.slope(activations[-1], wanted, legal).div_(inputs.shape[1])
        population.learn(activations, slope, _rate(settings, done / updates), settings.clip)
        if look(done + 1):
            return done + 1
    return updates


def _batches(
    population: Population, rows: Rows, training: Sequence[torch.Tensor], settings: LikelihoodSettings, updates: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Batches [P, b, …]: gather a block of them, then slice it."""
    size, P = -(-settings.batch // MULTIPLE) * MULTIPLE, len(training)
    row_bytes = rows.features.shape[1] * rows.features.element_size()
    block = max(1, min(64, BYTES // (P * size * row_bytes)))
    shuffles = [_Shuffles(index, g) for index, g in zip(training, population.generators, strict=True)]
    for start in range(0, updates, block):
        count = min(block, updates - start)
        index = torch.stack([shuffle.take(count * size) for shuffle in shuffles]).view(P, count, size)
        inputs, wanted = rows.features[rows.frame[index]], rows.wanted[index]
        legal = None if rows.legal is None else rows.legal[index]
        for i in range(count):
            yield inputs[:, i], wanted[:, i], None if legal is None else legal[:, i]


class _Shuffles:
    """One seed's rows without end, shuffled anew whenever they run out."""

    def __init__(self, rows: torch.Tensor, generator: torch.Generator) -> None:
        self.rows, self.generator, self.left = rows, generator, rows[:0]

    def take(self, count: int) -> torch.Tensor:
        while len(self.left) < count:
            order = torch.randperm(len(self.rows), generator=self.generator, device=self.rows.device)
            self.left = torch.cat([self.left, self.rows[order]])
        taken, self.left = self.left[:count], self.left[count:]
        return taken


def _rate(settings: LikelihoodSettings, progress: float) -> float:
    match settings.schedule:
        case "cosine":
            return settings.lr * (0.5 + 0.5 * math.cos(math.pi * progress))
        case "linear":
            return settings.lr * (1 - progress)
    return settings.lr


# ---- the policies


@dataclass(frozen=True)
class Scale:
    """Where the continuous actions lie that a network was fitted to: they are standardised by it."""

    centre: Array  # [K] float32
    spread: Array  # [K] float32

    @classmethod
    def none(cls, space: gym.spaces.Box) -> Scale:
        """Actions as they are."""
        K = int(np.prod(space.shape))
        return cls(np.zeros(K, np.float32), np.ones(K, np.float32))

    @classmethod
    def of(cls, actions: Array) -> Scale:
        """The mean and standard deviation of actions [N, *action]; a dimension that never changes has no spread."""
        flat = actions.reshape(len(actions), -1).astype(np.float64)
        centre, spread = flat.mean(0), flat.std(0)
        steady = spread <= 1e-6 * np.maximum(np.abs(centre), 1e-6)
        return cls(centre.astype(np.float32), np.where(steady, 1.0, spread).astype(np.float32))

    def standardised(self, actions: Array) -> torch.Tensor:
        """[N, K]"""
        flat = actions.reshape(len(actions), -1)
        return torch.from_numpy(((flat - self.centre) / self.spread).astype(np.float32))


class Softmax(Policy):
    """One network of a population, whose outputs are logits: its most likely action, or one drawn."""

    def __init__(self, population: Population, index: int, act: str) -> None:
        self.network, self.act = population.member(index), act

    def logits(self, frames: Nest) -> torch.Tensor:
        """[B, A]"""
        with torch.no_grad():
            return self.network.outputs(self.network.encode(frames))[0].cpu()

    def probabilities(self, frames: Nest) -> Array:
        return self.among(frames, None)

    def among(self, frames: Nest, legal: Array | None) -> Array:
        return self.choose(self.logits(frames), legal)

    def choose(self, outputs: torch.Tensor, legal: Array | None) -> Array:
        """[B, A] the probability of each action, given the network's outputs; none for actions that are not legal."""
        logits = masked(outputs, None if legal is None else torch.from_numpy(legal))
        if self.act == "greedy":
            return one_hot(logits.argmax(1).numpy(), logits.shape[1])
        exact: Array = logits.double().softmax(1).numpy()
        return exact

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        raise UserError("a softmax policy is for Discrete actions, and has probabilities instead")


class Continuous(Policy):
    """One network of a population, whose outputs are a mean, or a Gaussian to draw from; within the Box."""

    def __init__(self, population: Population, index: int, act: str, space: gym.spaces.Box, scale: Scale) -> None:
        self.network, self.act, self.space = population.member(index), act, space
        self.scale = scale  # replaced when the network is fitted to other actions

    def probabilities(self, frames: Nest) -> Array:
        raise UserError(f"probabilities need a Discrete action space, found {self.space}")

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        with torch.no_grad():
            return self.choose(self.network.outputs(self.network.encode(frames))[0].cpu(), draws)

    def choose(self, outputs: torch.Tensor, draws: np.random.Generator) -> Array:
        """[B, *action] actions, given the network's outputs [B, O]."""
        K = len(self.scale.centre)
        mean: Array = outputs[:, :K].numpy()
        if self.act == "sample":
            mean = mean + outputs[:, K:].clamp(*LOG_SPREADS).exp().numpy() * draws.standard_normal(mean.shape)
        flat = mean * self.scale.spread + self.scale.centre
        shaped = flat.reshape(-1, *self.space.shape).astype(self.space.dtype)
        bounded: Array = np.clip(shaped, self.space.low, self.space.high)
        return bounded


def new_policies(population: Population, space: gym.Space[Any], act: str) -> tuple[Softmax | Continuous, ...]:
    """A policy for each network."""
    P = len(population.flat)
    if isinstance(space, gym.spaces.Box):
        return tuple(Continuous(population, p, act, space, Scale.none(space)) for p in range(P))
    return tuple(Softmax(population, p, act) for p in range(P))
