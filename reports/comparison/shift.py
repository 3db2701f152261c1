"""The distribution shift of cloning, measured: agreement with the expert on the log's states and on one's own."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from fqi.baselines.cloning import agreement, own_states
from fqi.log import Log
from fqi.nest import take
from fqi.policies import Policy
from fqi.reports.comparison.arena import LOOKS, Arena
from fqi.threads import one_thread

STATES = 5000  # of the log that the expert is asked about at most


def shift(policies: Sequence[Policy], arena: Arena, log: Log) -> list[dict[str, float]]:
    """For each policy its agreement with the expert on states of the log, and on states that it came to by itself.

    Agreement is the share of states in which both take the same action; for continuous actions the numbers are the
    mean squared differences.
    """
    expert, draws = arena.ask(), np.random.default_rng((arena.seed, 0x5417))
    chosen = np.sort(draws.choice(log.steps, min(STATES, log.steps), replace=False))
    logged = take(log.observations, log.frame_of_step[chosen])
    name = "agreement" if isinstance(log.action_space, gym.spaces.Discrete) else "difference"
    found = []
    slots = arena.slots(LOOKS)
    try:
        with one_thread():
            for policy in policies:
                own = own_states(policy, slots, arena.looks(), arena.limit)
                found.append({
                    f"{name}_log": agreement(policy, expert, logged, log.action_space),
                    f"{name}_own": agreement(policy, expert, own, log.action_space),
                })  # fmt: skip
    finally:
        slots.close()
    return found
