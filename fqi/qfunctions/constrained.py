"""A Q-function that knows what the behaviour does, from the log. With a share above 0 it speaks of nothing else
(Fujimoto et al. 2019, for discrete actions): actions less likely than this share of the most likely one's are left out
of every maximum and are not played."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import gymnasium as gym
import torch

from fqi.errors import UserError
from fqi.nest import Nest
from fqi.networks.population import Population
from fqi.qfunctions.contract import QFunction, Weights, discrete_actions, expect_tensors
from fqi.qfunctions.table import TableQ
from fqi.scan import both, slices
from fqi.transitions import Transitions

_PREFIX = "behaviour/"  # of its tensors in a checkpoint


class Behaviour(ABC):
    """What is known of how the log's actions were chosen."""

    @abstractmethod
    def learn(self, rows: Transitions, training: torch.Tensor) -> None:
        """Take it from the log."""

    @abstractmethod
    def logits(self, frames: Nest) -> torch.Tensor:
        """[B, A] logarithms of the actions' probabilities, up to a constant of each frame."""

    @abstractmethod
    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All that `logits` needs."""

    @abstractmethod
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take a checkpoint back."""


class Counted(Behaviour):
    """How often the training rows hold each pair of a table."""

    def __init__(self, table: TableQ) -> None:
        self.table = table
        self.counts = torch.zeros(table.table.shape, dtype=torch.float64)  # [S, A]

    def learn(self, rows: Transitions, training: torch.Tensor) -> None:
        pairs = self.table.states_of(rows.observations())[rows.frame] * self.table.actions + rows.action
        kept = torch.from_numpy(pairs)[training]
        self.counts = torch.bincount(kept, minlength=self.counts.numel()).double().view(self.counts.shape)

    def logits(self, frames: Nest) -> torch.Tensor:
        return self.counts[torch.from_numpy(self.table.states_of(frames))].log()

    def checkpoint(self) -> dict[str, torch.Tensor]:
        return {"counts": self.counts[torch.from_numpy(self.table.seen)]}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        expect_tensors(tensors, self.checkpoint())
        if not bool((torch.isfinite(tensors["counts"]) & (tensors["counts"] > 0)).all()):
            raise UserError("checkpoint: behaviour/counts must be finite and above 0")
        self.counts.zero_()
        self.counts[torch.from_numpy(self.table.seen)] = tensors["counts"]


class Cloned(Behaviour):
    """A network cloned from the log before the first round."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], seed: int) -> None:
        from fqi.baselines.likelihood import Choice, new_population
        from fqi.baselines.settings import CloneSettings

        self.seed, self.settings = seed, CloneSettings(imitate="actions", act="sample")
        goal = Choice(discrete_actions(action_space, "constrained"))
        self.network: Population = new_population(observation_space, goal, self.settings, [seed])

    def learn(self, rows: Transitions, training: torch.Tensor) -> None:
        from fqi.baselines.cloning import clone

        settings = self.settings if rows.log.episodes > 1 else replace(self.settings, holdout=0.0, patience=0)
        self.network = clone(rows.log, settings, [self.seed]).population

    def logits(self, frames: Nest) -> torch.Tensor:
        return self.network.outputs(self.network.encode(frames))[0]

    def checkpoint(self) -> dict[str, torch.Tensor]:
        return self.network.checkpoint()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        self.network.restore(tensors)


class Constrained(QFunction):
    """Another Q-function, what the behaviour does, and how much less likely than its most likely action one may be."""

    def __init__(self, q: QFunction, behaviour: Behaviour, share: float, device: torch.device) -> None:
        self.q, self.behaviour, self.share, self.device = q, behaviour, share, device
        self.heads, self.actions, self.stack = q.heads, q.actions, q.stack
        self.known = False  # whether the behaviour was learned or restored
        self.log_logits: torch.Tensor | None = None  # [F, A] of the bound log

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        if self.share and rows.log.action_mask is not None and isinstance(self.behaviour, Cloned):
            raise UserError(
                "constraint: a cloned behaviour says nothing sure of actions that this log's masks forbid; give "
                "constraint 0, or the table regressor, which counts"
            )
        self.q.bind(rows, training)
        self.rows, self.training, self.log_logits = rows, training, None

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        allowed = self.log_support(0, self.rows.log.steps + self.rows.log.episodes)
        if allowed is not None:
            self.q.restrict(allowed)
        return self.q.fit(targets, weights)

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        return self.q.log_values(start, stop)

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        return self.q.values(frames, heads)

    def log_support(self, start: int, stop: int) -> torch.Tensor | None:
        return self._supported(self.q.log_support(start, stop), self._of_log()[start:stop])

    def support(self, frames: Nest) -> torch.Tensor | None:
        return self._supported(self.q.support(frames), self.behaviour.logits(frames))

    def _supported(self, known: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor | None:
        """[B, A] bool: actions that the behaviour takes often enough, of those that are known."""
        if not self.share:
            return known
        return both(known, (logits >= logits.amax(1, keepdim=True) + math.log(self.share)).to(self.device))

    def log_chances(self, start: int, stop: int) -> torch.Tensor:
        mask = self.rows.log.action_mask
        legal = None if mask is None else torch.from_numpy(mask[start:stop].copy())
        return self._likelihood(self._of_log()[start:stop], legal)

    def chances(self, frames: Nest) -> torch.Tensor:
        return self._likelihood(self.behaviour.logits(frames))

    def _likelihood(self, logits: torch.Tensor, legal: torch.Tensor | None = None) -> torch.Tensor:
        """[B, A] probabilities among the legal actions; 0 throughout where nothing is known."""
        legible = logits if legal is None else logits.masked_fill(~legal, -torch.inf)
        return legible.softmax(1).nan_to_num(0.0).to(self.device)

    def _of_log(self) -> torch.Tensor:
        """[F, A] logits of the log's frames."""
        if not self.known:  # not while it is bound: a run that goes on has it in its checkpoint
            self.behaviour.learn(self.rows, self.training)
            self.known = True
        if self.log_logits is None:
            frames = self.rows.log.steps + self.rows.log.episodes
            parts = (self.rows.observations(slice(*part)) for part in slices(frames))
            self.log_logits = torch.cat([self.behaviour.logits(part) for part in parts])
        return self.log_logits

    def checkpoint(self) -> dict[str, torch.Tensor]:
        return self.q.checkpoint() | {_PREFIX + name: t for name, t in self.behaviour.checkpoint().items()}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        own = {name: t for name, t in tensors.items() if not name.startswith(_PREFIX)}
        self.q.restore(own)
        self.behaviour.restore({name.removeprefix(_PREFIX): t for name, t in tensors.items() if name not in own})
        self.known, self.log_logits = True, None

    def resume_state(self) -> dict[str, torch.Tensor]:
        return self.q.resume_state()

    def restore_resume_state(self, tensors: dict[str, torch.Tensor]) -> None:
        self.q.restore_resume_state(tensors)

    def close(self) -> None:
        self.q.close()
