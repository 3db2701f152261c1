"""The greedy policies' values by fitted Q-evaluation, on episodes that the run held out where it held any out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fqi.estimates import Choices, fitted_q_evaluation
from fqi.log import Log
from fqi.nest import Array, take
from fqi.policies import Greedy
from fqi.qfunctions.contract import enumerating
from fqi.reports.evaluation import predictions
from fqi.run import Run
from fqi.training import training_rows


def held_out_episodes(run: Run, log: Log) -> Array:
    """The episodes of which the regression saw no row."""
    kept = training_rows(log.steps, run.config, log.lengths).numpy()
    return np.flatnonzero(np.add.reduceat(kept, log.starts) == 0) if log.episodes else np.zeros(0, np.int64)


def measure_policy_values(run: Run, log: Log, number: int) -> list[dict[str, Any]]:
    """A row for each member: predicted and fitted value at the first frames of the episodes.

    Fitted by as many rounds as the run had, so that both are returns of equally many steps.
    """
    config, q = run.config, enumerating(run.build())
    held = held_out_episodes(run, log)
    episodes = held if len(held) else np.arange(log.episodes)
    members, heads = config.train.seeds, config.heads
    try:
        run.load(q, number)
        policies = [_choices(Greedy(q, slice(m * heads, (m + 1) * heads))) for m in range(members)]
        fitted = fitted_q_evaluation(log, config, policies, number, episodes)
        first = log.start_frames[episodes]
        legal = None if log.action_mask is None else log.action_mask[first]
        predicted = predictions(run, q, take(log.observations, first), number, legal)
    finally:
        q.close()
    return [
        {
            "round": number, "member": m, "episodes": len(episodes), "held_out": bool(len(held)),
            "rounds": number, "fitted": fitted[m].tolist(), "predicted": predicted[m].tolist(),
        }
        for m in range(members)
    ]  # fmt: skip


def _choices(policy: Greedy) -> Choices:
    return lambda frames, legal: policy.among(frames, legal).argmax(1)  # type: ignore[arg-type]
