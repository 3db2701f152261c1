"""DAgger: the learner acts, the expert labels every state it comes to, and the learner is fitted to all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.baselines.contract import Judge, Learned, Listen
from fqi.baselines.likelihood import (
    Continuous,
    Objective,
    Rows,
    Scale,
    Softmax,
    fit,
    masked,
    new_policies,
    new_population,
    objective,
)
from fqi.baselines.settings import DaggerSettings
from fqi.behaviour import pick
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, Nest, apply, leaves, take, unflatten
from fqi.policies import Policy, of_single_frames
from fqi.slots import Slots, all_slots, legal_actions
from fqi.threads import one_thread

EXPERT, LEARNER = 0, 1  # who acted
BEHAVIOURS = ("expert", "learner")
PIECE = 4096  # frames of a log labelled at once
_RESETS, _ACTS = 2, 3  # what a seed's generators are for; 1 is cloning's


def dagger(
    log: Log | None,
    world: Slots | dict[str, Any],
    expert: Policy,
    settings: DaggerSettings,
    seeds: Sequence[int],
    limit: int | None,
    judge: Judge | None,
    *,
    environment: dict[str, Any] | None = None,
    listen: Listen | None = None,
) -> Learned:
    """Learn from an expert that can be asked, each seed in a slot of its own, with queries counted one by one.

    `world` is an environment's record, or slots of which there is one for each seed; `environment` is then the record
    that the logs name. A `log` that is given is labelled first and is where learning starts.
    """
    if not seeds:
        raise UserError("dagger: give at least one seed")
    beta = _beta(settings)
    if isinstance(world, dict):
        environment, slots = world, make_slots(world, len(seeds))
    else:
        slots = world
    try:
        if slots.count != len(seeds):
            raise UserError(
                f"dagger: each seed acts in a slot of its own; expected {len(seeds)} slots, found {slots.count}"
            )
        goal = objective(slots.action_space, settings, "dagger")
        _refuse_log(log, slots)
        with one_thread(), torch.no_grad():
            work = _Dagger(log, slots, expert, goal, settings, seeds, limit)
            curve = work.run(beta, judge, listen)
            logs = tuple(work.aggregate(player, environment, limit) for player in work.players)
    finally:
        if isinstance(world, dict):
            slots.close()
    facts = [{"rows": log.steps, "episodes": log.episodes} for log in logs]
    spent = work.spent(settings.iterations)
    return Learned(tuple(work.learners), work.population, **spent, curve=curve, facts=facts, logs=logs)


def _beta(settings: DaggerSettings) -> Callable[[int], float]:
    """The probability that the expert acts, as a function of the iterations done."""
    kind, _, number = settings.beta.partition(":")
    match kind:
        case "first" if not number:
            return lambda done: float(done == 0)
        case "none" if not number:
            return lambda done: 0.0
        case "linear" if not number:
            return lambda done: 1 - done / max(settings.iterations - 1, 1)
        case "power":
            try:
                base = float(number)
            except ValueError:
                base = -1.0
            if 0 <= base <= 1:
                return lambda done: base**done
            raise UserError(f"dagger: the P of beta power:P must be a number from 0 to 1, found {number!r}")
    raise UserError(f"dagger: beta must be one of first, linear, power:P, none, found {settings.beta!r}")


def _refuse_log(log: Log | None, slots: Slots) -> None:
    if log is None:
        return
    for name in ("observation_space", "action_space"):
        if getattr(log, name) != getattr(slots, name):
            kind = name.replace("_space", "s")
            raise UserError(
                f"dagger: the log's {kind} are {getattr(log, name)}, the environment's {getattr(slots, name)}; "
                "give the environment that the log was collected in"
            )
    if (log.action_mask is None) != (legal_actions(slots) is None):
        said, silent = ("environment", "log") if log.action_mask is None else ("log", "environment")
        raise UserError(f"dagger: the {said} says which actions are legal, the {silent} does not; give a log that fits")


class _Dagger:
    """All seeds in lock-step: play, label, aggregate, fit."""

    def __init__(
        self,
        log: Log | None,
        slots: Slots,
        expert: Policy,
        goal: Objective,
        settings: DaggerSettings,
        seeds: Sequence[int],
        limit: int | None,
    ) -> None:
        self.slots, self.goal, self.settings = slots, goal, settings
        self.expert = of_single_frames(expert, "dagger")
        self.seeds, self.space = tuple(seeds), slots.action_space
        self.population = new_population(slots.observation_space, goal, settings, seeds)
        self.learners = new_policies(self.population, self.space, settings.act)
        self.players = [_Player(slots, p, seed, limit) for p, seed in enumerate(seeds)]
        self.log = None if log is None else self._labelled(log)
        self.before = 0 if self.log is None else self.log.steps  # queries before the first iteration
        self.updates = 0

    def _labelled(self, log: Log) -> Log:
        """The log with what the expert would have done in each of its steps."""
        frames, draws = take(log.observations, log.frame_of_step), np.random.default_rng(0)
        pieces = [take(frames, slice(i, i + PIECE)) for i in range(0, log.steps, PIECE)]
        if isinstance(self.space, gym.spaces.Discrete):
            mask = None if log.action_mask is None else log.action_mask[log.frame_of_step]
            legal = [None if mask is None else mask[i : i + PIECE] for i in range(0, log.steps, PIECE)]
            answers = [self.expert.among(piece, some) for piece, some in zip(pieces, legal, strict=True)]
            labels = [self._action(answer.argmax(1)) for answer in answers]
        else:
            labels = [self.expert.actions(piece, draws) for piece in pieces]
        return replace(log, label=np.concatenate(labels)) if labels else log

    def _action(self, index: Array) -> Array:
        """Discrete actions of the space by their number from 0."""
        assert isinstance(self.space, gym.spaces.Discrete)
        action: Array = (index + self.space.start).astype(self.space.dtype)
        return action

    def run(self, beta: Callable[[int], float], judge: Judge | None, listen: Listen | None) -> list[dict[str, Any]]:
        """All iterations; returns the curve."""
        curve = []
        if self.before:
            self._fit()
        for done in range(self.settings.iterations):
            agreed = self._play(beta(done))
            self._fit()
            returns = None if judge is None else judge(self.learners)
            for p, seed in enumerate(self.seeds):
                row: dict[str, Any] = {"seed": seed, "iteration": done + 1, **self.spent(done + 1), "beta": beta(done)}
                row["agreement" if isinstance(self.space, gym.spaces.Discrete) else "difference"] = agreed[p]
                curve.append(row if returns is None else row | {"return": float(np.mean(returns[p]))})
            if listen:
                listen((done + 1) / self.settings.iterations, f"iteration {done + 1}")
        return curve

    def spent(self, iterations: int) -> dict[str, int]:
        """What each seed has used after so many iterations."""
        steps = iterations * self.settings.steps
        return {"steps": steps, "queries": self.before + steps, "updates": self.updates}

    def _play(self, beta: float) -> list[float | None]:
        """One iteration's steps of every seed.

        Returns the share of states in which each learner agreed with the expert, or for continuous actions the mean
        squared difference; None while there is nothing learned yet.
        """
        agreed = np.zeros(len(self.players))
        every = all_slots(self.slots)
        for _ in range(self.settings.steps):
            frames = [player.frame() for player in self.players]
            outputs = self.population.each(self.population.encode(joined(frames))).cpu()
            actions, agreement = self._act(frames, outputs, beta)
            agreed += agreement
            new, rewards, terminated, truncated, _ = self.slots.step(every, actions)
            for p, player in enumerate(self.players):
                player.add(take(new, slice(p, p + 1)), float(rewards[p]), bool(terminated[p]), bool(truncated[p]))
        return [float(sum_) / self.settings.steps if self.updates else None for sum_ in agreed]

    def _act(self, frames: Sequence[Nest], outputs: torch.Tensor, beta: float) -> tuple[Array, Array]:
        """Every seed's action [P, *action], chosen and noted with its label, and how well learner and expert agree [P].

        The expert is asked once for each frame, whoever acts, and one by one: what it draws is then each seed's own.
        """
        chance = np.stack([player.draws.random(2) for player in self.players])  # [P, 2]
        expert_acts = chance[:, 0] < beta
        learner, known = self.learners[0], list[float | None]()
        if isinstance(learner, Softmax):
            legal = legal_actions(self.slots)
            theirs = np.concatenate([self._asked(frame, legal, p) for p, frame in enumerate(frames)])  # [P, A]
            mine = learner.choose(outputs, legal)
            index = pick(np.where(expert_acts[:, None], theirs, mine), chance[:, 1:])
            row = np.arange(len(index))
            known += (beta * theirs[row, index] + (1 - beta) * mine[row, index]).tolist()
            best = theirs.argmax(1)
            actions, labels = self._action(index), self._action(best)
            agreement = best == masked(outputs, None if legal is None else torch.from_numpy(legal)).argmax(1).numpy()
        else:
            labels, own = self._continuous(frames, outputs)
            actions = np.where(expert_acts.reshape(-1, *[1] * (own.ndim - 1)), labels, own)
            agreement = np.square(labels.astype(np.float64) - own).reshape(len(own), -1).mean(1)
            known += [None] * len(own)
        for p, player in enumerate(self.players):
            one = slice(p, p + 1)
            player.note(actions[one], labels[one], EXPERT if expert_acts[p] else LEARNER, known[p])
        return actions, agreement

    def _asked(self, frame: Nest, legal: Array | None, p: int) -> Array:
        """[1, A] what the expert would do in this seed's frame."""
        return self.expert.among(frame, None if legal is None else legal[p : p + 1])

    def _continuous(self, frames: Sequence[Nest], outputs: torch.Tensor) -> tuple[Array, Array]:
        """What the expert and what each learner would do [P, *action]."""
        theirs, mine = [], []
        for p, (player, learner) in enumerate(zip(self.players, self.learners, strict=True)):
            assert isinstance(learner, Continuous)
            theirs.append(self.expert.actions(frames[p], player.draws))
            mine.append(learner.choose(outputs[p : p + 1], player.draws))
        return np.concatenate(theirs), np.concatenate(mine)

    def _fit(self) -> None:
        """Fit every network to all that its seed has seen."""
        if self.settings.start == "cold" and self.updates:
            self.population.network.initialise(self.population.generators)
            for moment in (self.population.first, self.population.second, self.population.count):
                moment.zero_()
        features, frame, wanted = list[torch.Tensor](), list[torch.Tensor](), list[torch.Tensor]()
        if self.log is not None:
            features.append(self.population.encode(take(self.log.observations, self.log.frame_of_step)))
        at = self.before
        for player, learner in zip(self.players, self.learners, strict=True):
            labels = [] if self.log is None or self.log.label is None else [self.log.label]
            if player.labels:
                own = self.population.encode(joined([player.frames[i] for i in player.acted]))
                features.append(own)
                labels.append(np.concatenate(player.labels))
                at += len(own)
            frame.append(torch.cat([torch.arange(self.before), torch.arange(at - len(player.labels), at)]))
            wanted.append(self._wanted(learner, np.concatenate(labels)))
        counts = np.cumsum([0, *map(len, frame)]).tolist()
        training = [torch.arange(start, stop) for start, stop in pairwise(counts)]
        table = Rows(torch.cat(features), torch.cat(frame), torch.cat(wanted), self._legal())
        settings = self.settings
        self.updates += fit(self.population, self.goal, table, training, settings, settings.updates)

    def _legal(self) -> torch.Tensor | None:
        """[N, A] what was legal in every row of the fit, where the environment tells it."""
        if legal_actions(self.slots) is None:
            return None
        parts = list[Array]()
        for player in self.players:
            if self.log is not None and self.log.action_mask is not None:
                parts.append(self.log.action_mask[self.log.frame_of_step])
            parts += [player.legal[i] for i in player.acted]
        return torch.from_numpy(np.concatenate(parts))

    def _wanted(self, learner: Softmax | Continuous, labels: Array) -> torch.Tensor:
        """The labels as they are learned; a learner of continuous actions takes their scale."""
        if isinstance(learner, Continuous):
            learner.scale = Scale.of(labels)
            return learner.scale.standardised(labels)
        assert isinstance(self.space, gym.spaces.Discrete)
        return torch.from_numpy(labels.astype(np.int64) - int(self.space.start))

    def aggregate(self, player: _Player, environment: dict[str, Any] | None, limit: int | None) -> Log:
        """All that a seed has seen: the log that was given, then what was played."""
        if environment is not None:
            environment = {**environment, "max_episode_steps": limit}
        own = player.log(self.slots, environment)
        own = replace(own, provenance={"dagger": {**asdict(self.settings), "seed": self.seeds[player.slot]}})
        return own if self.log is None else _appended(self.log, own)


class _Player:
    """One seed's slot: the episode that is open in it, and all that was seen, done and said."""

    def __init__(self, slots: Slots, slot: int, seed: int, limit: int | None) -> None:
        self.slots, self.slot, self.limit = slots, slot, limit
        self.resets, self.draws = (np.random.default_rng((seed, use)) for use in (_RESETS, _ACTS))
        self.open = 0  # steps of the open episode
        self.fresh = True  # no episode is open
        self.frames: list[Nest] = []  # [1, ...] each
        self.legal: list[Array] = []  # [1, A] each, where the environment tells it
        self.acted: list[int] = []  # of each step the frame
        self.seeds: list[int] = []
        self.lengths: list[int] = []
        self.actions: list[Array] = []  # [1, *action] each
        self.labels: list[Array] = []
        self.who: list[int] = []
        self.propensity: list[float | None] = []
        self.rewards: list[float] = []
        self.ends: list[tuple[bool, bool]] = []  # terminated, truncated

    def frame(self) -> Nest:
        """The frame [1, ...] to act in; where no episode is open, one begins."""
        if self.fresh:
            self.seeds.append(int(self.resets.integers(1 << 53)))
            first = self.slots.reset(np.array([self.slot]), np.array(self.seeds[-1:]))
            self._see(first)
            self.fresh, self.open = False, 0
        return self.frames[-1]

    def _see(self, frame: Nest) -> None:
        """The frame that the slot has come to, and what is legal in it."""
        self.frames.append(apply(np.copy, frame))
        legal = legal_actions(self.slots)
        if legal is not None:
            self.legal.append(legal[self.slot : self.slot + 1].copy())

    def note(self, action: Array, label: Array, who: int, propensity: float | None) -> None:
        """What is done in this frame, what the expert would do, and who acts."""
        self.acted.append(len(self.frames) - 1)
        self.actions.append(action)
        self.labels.append(label)
        self.who.append(who)
        self.propensity.append(propensity)

    def add(self, frame: Nest, reward: float, terminated: bool, truncated: bool) -> None:
        """What came of it."""
        self._see(frame)
        self.rewards.append(reward)
        self.open += 1
        truncated = truncated or (not terminated and self.limit is not None and self.open >= self.limit)
        self.ends.append((terminated, truncated))
        if terminated or truncated:
            self.lengths.append(self.open)
            self.fresh = True

    def log(self, slots: Slots, environment: dict[str, Any] | None) -> Log:
        """What was played; an episode that is still open is cut."""
        ends = np.array(self.ends, np.bool_)  # [N, 2]
        lengths = list(self.lengths)
        if not self.fresh:
            lengths.append(self.open)
            ends[-1, 1] = True
        exact = isinstance(slots.action_space, gym.spaces.Discrete)
        return Log(
            observations=joined(self.frames),
            actions=np.concatenate(self.actions),
            rewards=np.array(self.rewards),
            terminations=ends[:, 0],
            truncations=ends[:, 1],
            lengths=np.array(lengths, np.int64),
            observation_space=slots.observation_space,
            action_space=slots.action_space,
            propensity=np.array(self.propensity, np.float64) if exact else None,
            behaviour=np.array(self.who, np.int32),
            behaviours=BEHAVIOURS,
            label=np.concatenate(self.labels),
            action_mask=np.concatenate(self.legal) if self.legal else None,
            seeds=np.array(self.seeds, np.int64),
            environment=environment,
        )


def joined(nests: Sequence[Nest]) -> Nest:
    """Nests of the same kind, one after the other."""
    paths = leaves(nests[0])
    each = [leaves(nest) for nest in nests]
    return unflatten({path: np.concatenate([arrays[path] for arrays in each]) for path in paths})


def _appended(first: Log, second: Log) -> Log:
    """One log after the other; what the first does not say of its behaviour is said of neither."""
    columns: dict[str, Any] = {"observations": joined([first.observations, second.observations])}
    for name in ("actions", "rewards", "terminations", "truncations", "lengths", "label"):
        columns[name] = np.concatenate([getattr(first, name), getattr(second, name)])
    columns["propensity"] = columns["seeds"] = columns["action_mask"] = None
    if first.action_mask is not None and second.action_mask is not None:
        columns["action_mask"] = np.concatenate([first.action_mask, second.action_mask])
    if first.propensity is not None and second.propensity is not None:
        columns["propensity"] = np.concatenate([first.propensity, second.propensity])
    if second.seeds is not None:
        known = np.full(first.episodes, -1, np.int64) if first.seeds is None else first.seeds
        columns["seeds"] = np.concatenate([known, second.seeds])
    names = first.behaviours if first.behaviour is not None else ("log",)
    before = np.zeros(first.steps, np.int32) if first.behaviour is None else first.behaviour
    assert second.behaviour is not None
    columns["behaviour"] = np.concatenate([before, second.behaviour + len(names)]).astype(np.int32)
    provenance = {**first.provenance, **second.provenance}
    return replace(second, **columns, behaviours=(*names, *second.behaviours), provenance=provenance, origin=None)
