"""Behaviour cloning: learn what was done, and how far it carries to states that the clone itself comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.baselines.contract import Learned, Listen
from fqi.baselines.likelihood import (
    Choice,
    Continuous,
    Objective,
    Rows,
    Scale,
    fit,
    new_policies,
    new_population,
    objective,
)
from fqi.baselines.settings import CloneSettings
from fqi.behaviour import Acted, Component, Mixture
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, Nest, apply, leaves, rows, take, unflatten
from fqi.networks.population import Population
from fqi.policies import Policy, of_single_frames
from fqi.rollout import play
from fqi.slots import Slots
from fqi.threads import one_thread

PIECE = 8192  # rows judged at once


def clone(log: Log, settings: CloneSettings, seeds: Sequence[int], *, listen: Listen | None = None) -> Learned:
    """Learn the log's actions, a network for each seed, and keep what is best on held-out episodes."""
    if not seeds:
        raise UserError("cloning: give at least one seed")
    goal = objective(log.action_space, settings, "cloning")
    chosen = chosen_episodes(log, settings)
    held = [_held_out(chosen, settings, seed) for seed in seeds]  # [P] episodes
    wanted, scale = _wanted(log, np.isin(log.episode_of_step, chosen), settings)
    with one_thread(), torch.no_grad():
        population = new_population(log.observation_space, goal, settings, seeds)
        table = Rows(
            features=population.encode(log.observations),
            frame=torch.from_numpy(log.frame_of_step),
            wanted=wanted,
            legal=None if log.action_mask is None else torch.from_numpy(log.action_mask[log.frame_of_step]),
        )
        split = [(_steps(log, np.setdiff1d(chosen, out)), _steps(log, out)) for out in held]
        best = _Best(population, goal, table, [out for _, out in split], settings)

        def look(done: int) -> bool:
            if listen and (done % settings.look_every == 0 or done == settings.updates):
                listen(done / settings.updates, f"{done} updates")
            return best.look(done)

        updates = fit(population, goal, table, [t for t, _ in split], settings, settings.updates, look)
        facts = []
        for p, (training, out) in enumerate(split):
            member = population.member(p)
            row: dict[str, Any] = {"updates": best.updates(p, updates)}
            best.take_back(p)
            row |= _judged("training", member, goal, table, training, scale)
            row |= _judged("heldout", member, goal, table, out, scale)
            row |= {"episodes": len(chosen) - len(held[p]), "rows": len(training), "heldout_episodes": len(held[p])}
            facts.append(row)
    policies = new_policies(population, log.action_space, settings.act)
    for policy in policies:
        if isinstance(policy, Continuous) and scale is not None:
            policy.scale = scale
    return Learned(policies, population, updates, facts=facts)


def chosen_episodes(log: Log, settings: CloneSettings) -> Array:
    """The episodes of the highest returns, in the order of the log; of equal ones the first. One sentence where they
    are too few to learn from."""
    if not log.steps:
        raise UserError("cloning: the log has no steps to learn from")
    if not settings.holdout and settings.patience:
        raise UserError("cloning: patience looks at held-out episodes; give holdout above 0, or patience 0")
    count = max(1, math.ceil(log.episodes * settings.best / 100))
    if settings.holdout and count < 2:
        raise UserError(
            "cloning: one episode alone leaves none to hold out; give more, or holdout 0 and patience 0 to do without"
        )
    return np.sort(np.argsort(-log.returns, kind="stable")[:count])


def _held_out(episodes: Array, settings: CloneSettings, seed: int) -> Array:
    """The episodes that this seed does not learn from: at least one, where any are asked for."""
    if not settings.holdout:
        return episodes[:0]
    count = max(1, int(len(episodes) * settings.holdout))
    return np.sort(np.random.default_rng((seed, 1)).permutation(episodes)[:count])


def _wanted(log: Log, known: Array, settings: CloneSettings) -> tuple[torch.Tensor, Scale | None]:
    """What is learned of every step, and the scale of continuous actions, taken from the `known` steps [N]."""
    if settings.imitate == "labels" and log.label is None:
        raise UserError("cloning: the log has no labels; give imitate actions, or a log that DAgger gathered")
    labels = None if settings.imitate == "actions" else log.label
    actions = log.actions if labels is None else labels
    if isinstance(log.action_space, gym.spaces.Discrete):
        return torch.from_numpy(actions.astype(np.int64) - int(log.action_space.start)), None
    scale = Scale.of(actions[known])
    return scale.standardised(actions), scale


def _steps(log: Log, episodes: Array) -> torch.Tensor:
    """The steps of these episodes."""
    return torch.from_numpy(np.flatnonzero(np.isin(log.episode_of_step, episodes)))


class _Best:
    """Each seed's best weights by held-out loss, until the seed has run out of patience."""

    def __init__(
        self,
        population: Population,
        goal: Objective,
        table: Rows,
        held: Sequence[torch.Tensor],
        settings: CloneSettings,
    ) -> None:
        self.population, self.goal, self.table, self.held, self.settings = population, goal, table, held, settings
        self.kept = population.flat.clone() if settings.patience else None
        # One by one: in a stack a network's rounding would depend on how many rows the others hold out.
        self.members = [population.member(p) for p in range(len(held))]
        self.loss = [math.inf] * len(held)
        self.since = [0] * len(held)  # looks without a better loss
        self.ended: list[int | None] = [None] * len(held)  # the update at which patience ran out

    def look(self, done: int) -> bool:
        """True when every seed has run out of patience."""
        if self.kept is None or (done % self.settings.look_every and done != self.settings.updates):
            return False
        for p, member in enumerate(self.members):
            if self.ended[p] is not None:
                continue
            loss = float(_ask(member, self.goal, self.table, self.held[p])[0].mean())
            if loss < self.loss[p]:
                self.loss[p], self.since[p] = loss, 0
                self.kept[p] = self.population.flat[p]
            else:
                self.since[p] += 1
                if self.since[p] == self.settings.patience:
                    self.ended[p] = done
        return all(end is not None for end in self.ended)

    def updates(self, p: int, made: int) -> int:
        """Gradient steps after which this seed would have stopped by itself."""
        end = self.ended[p]
        return made if end is None else end

    def take_back(self, p: int) -> None:
        if self.kept is not None:
            self.population.flat[p] = self.kept[p]


def _ask(member: Population, goal: Objective, table: Rows, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses [N] of some rows, and what the network makes of them: the most likely action [N], or the mean [N, K]."""
    losses, likely = [], []
    for part in torch.split(index, PIECE):
        outputs = member.outputs(table.features[table.frame[part]])[0]  # [n, O]
        legal = None if table.legal is None else table.legal[part]
        wanted = table.wanted[part]
        losses.append(goal.losses(outputs, wanted, legal))
        if isinstance(goal, Choice):
            legible = outputs if legal is None else outputs.masked_fill(~legal, -torch.inf)
            likely.append(legible.argmax(1))
        else:
            likely.append(outputs[:, : wanted.shape[1]])
    return torch.cat(losses), torch.cat(likely)


def _judged(
    part: str, member: Population, goal: Objective, table: Rows, index: torch.Tensor, scale: Scale | None
) -> dict[str, Any]:
    """Loss and accuracy, or mean squared error in units of the actions, on some rows."""
    if not len(index):
        return {}
    losses, likely = _ask(member, goal, table, index)
    found: dict[str, Any] = {f"{part}_loss": float(losses.double().mean())}
    if scale is None:
        return found | {f"{part}_accuracy": float((likely == table.wanted[index]).double().mean())}
    error = (likely - table.wanted[index]) * torch.from_numpy(scale.spread)
    return found | {f"{part}_error": float(error.double().square().mean())}


# ---- the shift from the log's states to the clone's own


def shift(learned: Learned, expert: Policy, frames: Nest | Sequence[Nest], action_space: gym.Space[Any]) -> Array:
    """[P] how well each policy agrees with an expert on given frames, or each on frames of its own.

    The share of frames in which both take the same action; of continuous actions the mean squared difference.
    """
    each = frames if isinstance(frames, list | tuple) else [frames] * len(learned.policies)
    pairs = zip(learned.policies, each, strict=True)
    with one_thread():
        return np.array([agreement(policy, expert, own, action_space) for policy, own in pairs])


def agreement(policy: Policy, expert: Policy, frames: Nest, action_space: gym.Space[Any]) -> float:
    """The share of frames in which both take the same action; of continuous actions the mean squared difference."""
    total = 0.0
    for one in (policy, expert):
        of_single_frames(one, "agreement")
    for start in range(0, rows(frames), PIECE):
        some = take(frames, slice(start, start + PIECE))
        if isinstance(action_space, gym.spaces.Discrete):
            same = policy.probabilities(some).argmax(1) == expert.probabilities(some).argmax(1)
            total += float(same.sum())
        else:
            draws = np.random.default_rng(0)
            difference = policy.actions(some, draws).astype(np.float64) - expert.actions(some, draws)
            total += float(np.square(difference).reshape(len(difference), -1).mean(1).sum())
    return total / rows(frames)


def own_states(policy: Policy, slots: Slots, seeds: Array, limit: int | None) -> Nest:
    """The frames in which a policy acts: of one episode in every slot, from these reset seeds, one after the other."""
    watching = _Watching(Mixture([Component("policy", policy)], slots.action_space))
    with one_thread():
        played = play(slots, watching, seeds, limit, gamma=1.0)
    slot, tick = np.nonzero(np.arange(len(watching.seen)) < played.lengths[:, None])
    paths = leaves(watching.seen[0])
    return unflatten({path: np.stack([leaves(f)[path] for f in watching.seen])[tick, slot] for path in paths})


class _Watching:
    """An actor that keeps the frames it is given."""

    def __init__(self, actor: Mixture) -> None:
        self.actor, self.names = actor, actor.names
        self.seen: list[Nest] = []

    def act(self, frames: Nest, fresh: Array, draws: np.random.Generator, legal: Array | None = None) -> Acted:
        self.seen.append(apply(np.copy, frames))
        return self.actor.act(frames, fresh, draws, legal)
