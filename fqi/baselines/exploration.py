"""Epsilon-greedy acting of P seeds in lock-step, where a random action may be kept for several steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fqi.baselines.replay import Draws
from fqi.baselines.settings import DqnSettings
from fqi.nest import Array


class Exploration:
    """Who acts at random, for how long, and the exact probability of what was done.

    A random action is kept for a number of steps drawn evenly from 1 to `exploration_repeat`, at most to the end of the
    episode. Spells begin so rarely that, long episodes provided, a share epsilon of the steps is random whatever the
    number.
    """

    def __init__(self, settings: DqnSettings, seeds: Sequence[int], actions: int, purpose: int) -> None:
        self.settings, self.actions, self.draws = settings, actions, Draws(seeds, purpose)
        self.left = np.zeros(len(seeds), np.int64)  # [P] steps for which the random action is still kept
        self.kept = np.zeros(len(seeds), np.int64)  # [P] that action

    def act(self, t: int, best: Array | None) -> tuple[Array, Array]:
        """Actions [P] of the t-th step and their probabilities, given what was done before; best: the greedy ones, of
        which the warm-up has none."""
        repeat, draws = self.settings.exploration_repeat, self.draws.take(2)  # whether to explore, and where to
        place = draws[:, 1] * self.actions
        anywhere = np.minimum(place.astype(np.int64), self.actions - 1)
        spell = np.minimum(((place - anywhere) * repeat).astype(np.int64), repeat - 1) + 1
        epsilon = 1.0 if best is None else self.epsilon(t)
        begin = epsilon / (epsilon + (1 - epsilon) * (1 + repeat) / 2) if epsilon else 0.0
        greedy = anywhere if best is None else best
        keeps, begins = self.left > 0, draws[:, 0] < begin
        actions = np.where(keeps, self.kept, np.where(begins, anywhere, greedy))
        chance = begin / self.actions + (1 - begin) * (actions == greedy)
        self.left = np.where(keeps, self.left - 1, np.where(begins, spell - 1, 0))
        self.kept = actions
        return actions, np.where(keeps, 1.0, chance)

    def ended(self, seeds: Array) -> None:
        """The episodes of these seeds are over, and with them what was kept."""
        self.left[seeds] = 0

    def epsilon(self, t: int) -> float:
        """Share of random steps: linear from the end of the warm-up on."""
        settings = self.settings
        over = settings.epsilon_share * settings.steps
        fallen = min((t - settings.warmup - 1) / over, 1.0) if over else 1.0
        return settings.epsilon_start + (settings.epsilon_end - settings.epsilon_start) * fallen
