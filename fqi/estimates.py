"""What a policy is worth, from a log alone: fitted Q-evaluation (Le, Voloshin and Yue 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from fqi.log import Log
from fqi.nest import Array
from fqi.qfunctions.contract import QFunction, enumerating
from fqi.run import build
from fqi.scan import slices
from fqi.settings import Config
from fqi.targets import bellman_targets
from fqi.threads import one_thread
from fqi.transitions import Transitions, transitions

Choices = Callable[[object, Array | None], Array]  # frames [b, ...] and their legal actions to actions [b] from 0


def fitted_q_evaluation(log: Log, config: Config, policies: list[Choices], rounds: int, episodes: Array) -> Array:
    """[P, E] the value of each policy at the first frames of these episodes, by as many rounds as asked for.

    The fold of fitted Q-iteration with another V: Q of the action that the policy takes. One head for each policy, of
    the regressor and settings of `config`, fitted to the steps of these episodes alone.
    """
    train = dataclasses.replace(config.train, seeds=1, ensemble=len(policies), target="max", constraint=0.0, n_step=1)
    settings = dataclasses.replace(config, train=train)
    q = enumerating(build(settings, log.observation_space, log.action_space, "cpu", 1))
    rows = transitions(log, train.gamma, stack=train.stack)
    inside = np.zeros(log.episodes, np.bool_)
    inside[episodes] = True
    chosen = torch.stack([_choices(rows, policy) for policy in policies])  # [P, F]
    try:
        with torch.no_grad(), one_thread():
            q.bind(rows, torch.from_numpy(np.repeat(inside, log.lengths)))
            like = q.log_values(0, 1)
            returns, discounts = (torch.as_tensor(a).to(like.dtype) for a in (rows.returns, rows.discount))
            following = torch.as_tensor(rows.next_frame)
            values = torch.zeros_like(chosen, dtype=like.dtype)
            for _ in range(rounds):
                q.fit(bellman_targets(returns, discounts, values[:, following]))
                values = _values(q, chosen, log.steps + log.episodes)
            return values[:, torch.as_tensor(log.start_frames[episodes])].double().numpy()
    finally:
        q.close()


def _choices(rows: Transitions, policy: Choices) -> torch.Tensor:
    """[F] what the policy does in every frame of the log."""
    log, mask = rows.log, rows.log.action_mask
    parts = [
        policy(rows.observations(slice(a, b)), None if mask is None else mask[a:b])
        for a, b in slices(log.steps + log.episodes)
    ]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _values(q: QFunction, chosen: torch.Tensor, frames: int) -> torch.Tensor:
    """[P, F] Q of the actions chosen."""
    parts = [q.log_values(a, b).gather(2, chosen[:, a:b, None])[..., 0] for a, b in slices(frames, q.actions)]
    return torch.cat(parts, 1)
