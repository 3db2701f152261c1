"""One task of a comparison, ready to play: where policies are judged, all from the same start states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fqi.behaviour import Blocks, Component, Mixture
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array
from fqi.policies import Policy
from fqi.policy_specs import component
from fqi.reports.evaluation import start_seeds
from fqi.rollout import Played, play
from fqi.slots import Slots
from fqi.threads import one_thread

PERSON = "person"  # at the keyboard, in place of a policy
LOOKS = 20  # episodes of each look at a policy that still learns


@dataclass(frozen=True, eq=False)
class Arena:
    """An environment, the log of it, who can be asked, and the start states."""

    name: str
    environment: dict[str, Any]
    log: Log | None
    expert: str | None  # spec of the policy that can be asked
    seeds: tuple[int, ...]  # of training
    episodes: int  # of the judgement
    seed: int  # of its start states
    gamma: float  # of discounted returns
    trusted: bool = False  # the user typed the environment's name and the expert's

    @property
    def limit(self) -> int | None:
        """Steps after which an episode is cut."""
        limit: int | None = self.environment.get("max_episode_steps")
        return limit

    def slots(self, count: int) -> Slots:
        return make_slots(self.environment, count, trusted=self.trusted)

    def judge(self, policies: Sequence[Policy]) -> Played:
        """An episode of each policy from each of the start states of the judgement."""
        return self._play(policies, start_seeds(self.seed, self.episodes), self.gamma)

    def look(self, policies: Sequence[Policy]) -> Array:
        """[P, E] returns of policies that still learn, from start states that the judgement does not use."""
        gamma = 1.0 if self.limit else self.gamma  # play on beyond the limit would tell nothing of returns
        return self._play(policies, self.looks(), gamma).returns.reshape(len(policies), LOOKS)

    def looks(self) -> Array:
        """[E] reset seeds of start states that the judgement does not use."""
        return np.random.SeedSequence((self.seed, 0x100C)).generate_state(LOOKS, np.uint32).astype(np.int64)

    def _play(self, policies: Sequence[Policy], seeds: Array, gamma: float) -> Played:
        slots = self.slots(len(policies) * len(seeds))
        try:
            actors = [Mixture([Component(str(i), policy)], slots.action_space) for i, policy in enumerate(policies)]
            with torch.no_grad(), one_thread():
                return play(slots, Blocks(actors), np.tile(seeds, len(policies)), self.limit, gamma)
        finally:
            slots.close()

    @property
    def tireless(self) -> bool:
        """Whether there is an expert that can be asked about thousands of states."""
        return self.expert not in (None, PERSON)

    def ask(self) -> Policy:
        """The expert, a policy."""
        if self.expert is None:
            raise UserError(f"{self.environment['id']}: no expert is shipped for it; name one by --expert")
        slots = self.slots(1)
        try:
            found = component(self.expert, slots.observation_space, slots.action_space, self.environment)
        finally:
            slots.close()
        if found.epsilon:
            raise UserError(f"expert {self.expert}: whoever is asked for the best action must have no epsilon")
        return found.policy
