"""What acts in a rollout: a weighted mixture of policies, each with its own epsilon; one policy is a mixture of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.nest import Array, Nest, rows, take
from fqi.policies import Policy, Uniform
from fqi.recent import Recent


@dataclass(frozen=True)
class Component:
    """One policy of a mixture."""

    name: str
    policy: Policy
    epsilon: float = 0.0  # probability of a uniformly random action instead
    weight: float = 1.0


@dataclass(frozen=True)
class Acted:
    """One step of every slot."""

    actions: Array  # [V, *action]
    behaviour: Array  # [V] int32: which component acted
    propensity: Array | None  # [V] float64: the mixture's probability of that action; None where actions are continuous


class Actor(Protocol):
    """Acts in V slots at once."""

    names: tuple[str, ...]

    def act(self, frames: Nest, fresh: Array, draws: np.random.Generator, legal: Array | None = None) -> Acted:
        """Actions for frames [V, ...]; `fresh` [V] says which slots begin an episode with this step, `legal` [V, A]
        which actions may be played (None: all)."""


class Mixture:
    """Chooses the component that acts anew each step, or once an episode.

    The propensity is the exact probability of the action under the mixture, given what it did before in the episode:
    chosen each step, the weighted mean of the components' probabilities; chosen once an episode, the same with each
    component weighted by how likely it is, after the actions seen so far, to be the one that acts. Its product over an
    episode is the probability of the whole sequence of actions.
    """

    def __init__(self, components: Sequence[Component], action_space: gym.Space[Any], per: str = "episode") -> None:
        if per not in ("episode", "step"):
            raise UserError(f"a mixture chooses per episode or per step, found {per!r}")
        for c in components:
            if not 0 <= c.epsilon <= 1:
                raise UserError(f"{c.name}: epsilon must lie in [0, 1], found {c.epsilon}")
            if not 0 < c.weight < np.inf:
                raise UserError(f"{c.name}: weight must be a number greater than 0, found {c.weight}")
        self.components, self.action_space, self.per_step = tuple(components), action_space, per == "step"
        self.names = tuple(c.name for c in components)
        weights = np.array([c.weight for c in components], np.float64)
        self.weights = weights / weights.sum()  # [C]
        self.uniform = Uniform(action_space)
        self.chosen = np.zeros(0, np.int32)  # [V] the component that acts in each slot
        self.belief = np.zeros((0, len(components)))  # [V, C] how likely each is to be the one, after the actions seen
        self.recent = Recent(max(c.policy.stack for c in components))

    def act(self, frames: Nest, fresh: Array, draws: np.random.Generator, legal: Array | None = None) -> Acted:
        """Choose the component, let it act, and say how likely that was."""
        count = rows(frames)
        if len(self.chosen) != count:
            self.chosen, self.belief = np.zeros(count, np.int32), np.tile(self.weights, (count, 1))
            fresh = np.ones(count, np.bool_)
        if len(self.components) == 1 and isinstance(self.action_space, gym.spaces.Discrete):
            return self._alone(frames, fresh, draws, int(self.action_space.start), legal)
        drawn = np.searchsorted(np.cumsum(self.weights), draws.random(count), "right")
        which = np.minimum(drawn, len(self.weights) - 1)
        again = np.ones(count, np.bool_) if self.per_step else fresh
        self.chosen = np.where(again, which, self.chosen).astype(np.int32)
        self.belief[again] = self.weights
        self.recent.see(frames, fresh)
        if not isinstance(self.action_space, gym.spaces.Discrete):
            return Acted(self._continuous(frames, draws), self.chosen, None)
        return self._discrete(frames, draws, int(self.action_space.start), legal)

    def _alone(self, frames: Nest, fresh: Array, draws: np.random.Generator, first: int, legal: Array | None) -> Acted:
        """As below where there is but one component: it is the one that acts, and draws what it would draw there."""
        (component,), count = self.components, len(self.chosen)
        self.recent.see(frames, fresh)
        draws.random(count)  # of which component acts
        sure = component.policy.certain(self._shown(component, frames), legal) if component.epsilon == 0 else None
        if sure is not None:
            draws.random(count)  # of which action is taken
            return Acted(sure + first, self.chosen, np.ones(count))
        every = self._noisy(component, frames, legal)  # [V, A]
        index = sample(every, draws)
        return Acted(index + first, self.chosen, every[np.arange(count), index])

    def _discrete(self, frames: Nest, draws: np.random.Generator, first: int, legal: Array | None) -> Acted:
        every = np.stack([self._noisy(c, frames, legal) for c in self.components])  # [C, V, A]
        slot = np.arange(len(self.chosen))
        index = sample(every[self.chosen, slot], draws)
        taken = every[:, slot, index].T  # [V, C]
        joint = self.belief * taken
        propensity = joint.sum(1)
        self.belief = joint / propensity[:, None]
        return Acted(index + first, self.chosen, propensity)

    def _noisy(self, component: Component, frames: Nest, legal: Array | None = None) -> Array:
        exact = component.policy.among(self._shown(component, frames), legal)
        if component.epsilon == 0:
            return exact
        uniform = 1 / exact.shape[1] if legal is None else legal / legal.sum(1, keepdims=True)
        noisy: Array = (1 - component.epsilon) * exact + component.epsilon * uniform
        return noisy

    def _shown(self, component: Component, frames: Nest) -> Nest:
        """The frames as this component's policy looks at them."""
        return self.recent.last(component.policy.stack, frames)

    def _continuous(self, frames: Nest, draws: np.random.Generator) -> Array:
        actions: Array = self.uniform.actions(frames, draws)
        explore = draws.random(len(self.chosen))
        for i, component in enumerate(self.components):
            # All slots are asked, so that what one slot draws does not depend on who acts in the others.
            acting = (self.chosen == i) & (explore >= component.epsilon)
            actions[acting] = component.policy.actions(self._shown(component, frames), draws)[acting]
        return actions


class Blocks:
    """Several actors side by side, each in an equal block of the slots."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.actors = tuple(actors)
        self.names = tuple(name for actor in actors for name in actor.names)

    def act(self, frames: Nest, fresh: Array, draws: np.random.Generator, legal: Array | None = None) -> Acted:
        size = rows(frames) // len(self.actors)
        parts, first = [], 0
        for i, actor in enumerate(self.actors):
            block = slice(i * size, (i + 1) * size)
            acted = actor.act(take(frames, block), fresh[block], draws, None if legal is None else legal[block])
            parts.append(Acted(acted.actions, acted.behaviour + first, acted.propensity))
            first += len(actor.names)
        known = [p.propensity for p in parts if p.propensity is not None]
        return Acted(
            np.concatenate([p.actions for p in parts]),
            np.concatenate([p.behaviour for p in parts]),
            np.concatenate(known) if len(known) == len(parts) else None,
        )


def sample(probabilities: Array, draws: np.random.Generator) -> Array:
    """[B] an index drawn from each row of probabilities [B, A]."""
    return pick(probabilities, draws.random((len(probabilities), 1)))


def pick(probabilities: Array, shares: Array) -> Array:
    """[B] the index at which each row of probabilities [B, A] reaches this share [B, 1] of its sum."""
    cumulative = np.cumsum(probabilities, axis=1)
    total = cumulative[:, -1:]
    point = np.minimum(shares * total, np.nextafter(total, 0))
    return np.asarray((cumulative <= point).sum(1))
