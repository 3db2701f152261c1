"""Deep Q-learning of P seeds in lock-step: online (`dqn`), or the same updates on a log alone (`offline_dqn`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.baselines.contract import Judge, Learned, Listen
from fqi.baselines.exploration import Exploration
from fqi.baselines.replay import Experience, Latest, Proportional, Rows, Sampler, Uniform
from fqi.baselines.settings import DqnSettings, DqnUpdates, OfflineDqnSettings
from fqi.encoding import encode
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, Nest, take
from fqi.networks.alignment import ALIGN, aligned
from fqi.networks.perceptrons import Perceptrons
from fqi.networks.population import Population
from fqi.policies import Policy, one_hot
from fqi.slots import Slots, all_slots
from fqi.targets import bellman_targets, masked_max
from fqi.threads import one_thread
from fqi.transitions import transitions

PIECE = 16  # batches gathered at once
_NETWORKS, _RESETS, _EXPLORATION, _REPLAY = range(1, 5)  # what a seed's generators are for
_BEHAVIOURS = ("random", "dqn")


class GreedyMember(Policy):
    """The best action by one network of a population."""

    def __init__(self, population: Population, index: int) -> None:
        self.network = population.member(index)

    def q_values(self, frames: Nest) -> torch.Tensor:
        """[B, A]"""
        with torch.no_grad():
            return self.network.outputs(self.network.encode(frames))[0]

    def probabilities(self, frames: Nest) -> Array:
        values = self.q_values(frames)
        return one_hot(values.argmax(1).cpu().numpy(), values.shape[1])

    def actions(self, frames: Nest, draws: np.random.Generator) -> Array:
        raise UserError("a greedy policy needs a Discrete action space")


def dqn(
    world: Slots | dict[str, Any],
    settings: DqnSettings,
    seeds: Sequence[int],
    limit: int | None,
    judge: Judge | None,
    *,
    environment: dict[str, Any] | None = None,
    listen: Listen | None = None,
) -> Learned:
    """Learn by acting, each seed in a slot of its own, for the same number of steps.

    `world` is an environment's record, or slots of which there is one for each seed; `environment` is then the record
    that the logs name. Each seed's log holds all that it experienced.
    """
    _refuse(settings, seeds, judge)
    if settings.steps < settings.warmup + settings.n_step:
        raise UserError(
            f"dqn: steps must be at least warmup + n-step ({settings.warmup + settings.n_step}), found {settings.steps}"
        )
    if isinstance(world, dict):
        environment, slots = world, make_slots(world, len(seeds))
    else:
        slots = world
    try:
        if slots.count != len(seeds):
            raise UserError(
                f"dqn: each seed acts in a slot of its own; expected {len(seeds)} slots, found {slots.count}"
            )
        with one_thread(), torch.no_grad():
            return _Online(slots, settings, seeds, limit, environment).run(_Looks(settings, seeds, judge), listen)
    finally:
        if isinstance(world, dict):
            slots.close()


def offline_dqn(
    log: Log,
    settings: OfflineDqnSettings,
    seeds: Sequence[int],
    judge: Judge | None,
    *,
    listen: Listen | None = None,
) -> Learned:
    """The same updates on the rows of a log alone; inputs are standardised by all of its frames."""
    _refuse(settings, seeds, judge)
    _actions(log.action_space)
    if not log.steps:
        raise UserError("offline dqn: the log has no steps to learn from")
    table = transitions(log, settings.gamma, settings.n_step)
    with one_thread(), torch.no_grad():
        sampler = _sampler(settings, seeds, log.steps)
        learner = _Learner(settings, log.observation_space, log.action_space, seeds, sampler, settings.updates)
        learner.population.standardise(learner.population.encode(log.observations))
        sampler.admit(log.steps)
        whole, looks = Rows.of_log(table, len(seeds)), _Looks(settings, seeds, judge)
        for target in _milestones(settings.updates, looks.count):
            while learner.updates < target:
                learner.learn(whole, min(target - learner.updates, 100))
                if listen:
                    listen(learner.updates / settings.updates, f"{learner.updates} updates")
            looks.look(learner, 0)
        return looks.learned(learner, steps=0, logs=(), facts=[{} for _ in seeds])


def _refuse(settings: DqnUpdates, seeds: Sequence[int], judge: Judge | None) -> None:
    if not seeds:
        raise UserError("dqn: give at least one seed")
    if settings.keep == "best" and (judge is None or not settings.looks):
        raise UserError("dqn: keep best needs evaluations during the training; give looks above 0 and an environment")


def _actions(space: gym.Space[Any]) -> int:
    if not isinstance(space, gym.spaces.Discrete):
        raise UserError(f"dqn has one output per action and needs Discrete actions, found {space}")
    return int(space.n)


def _sampler(settings: DqnUpdates, seeds: Sequence[int], capacity: int) -> Sampler:
    if settings.rung == "v1":
        return Latest(len(seeds))
    if settings.replay == "uniform":
        return Uniform(seeds, capacity, _REPLAY)
    return Proportional(seeds, capacity, _REPLAY, settings.alpha, settings.beta)


def _milestones(total: int, count: int) -> list[int]:
    """When to look: `count` times, the last time at the end; without looks only the end."""
    return sorted({total * (i + 1) // max(count, 1) for i in range(max(count, 1))} - {0})


class _Learner:
    """The networks of all seeds and their gradient steps."""

    def __init__(
        self,
        settings: DqnUpdates,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        sampler: Sampler,
        total: int,
    ) -> None:
        self.settings, self.sampler, self.total = settings, sampler, total
        own = [int(np.random.SeedSequence((seed, _NETWORKS)).generate_state(1)[0]) for seed in seeds]
        self.population = Population(observation_space, _actions(action_space), own, settings.width, settings.depth)
        self.space = observation_space
        network = self.population.network
        self.target = Perceptrons(network.sizes, network.flat.clone()) if settings.rung == "v3" else network
        self.updates = 0
        self.batch = settings.batch if settings.rung != "v1" else 1
        self.padded = aligned(self.batch)  # whole cache lines: a network's bits then do not depend on its neighbours
        self.frozen = settings.rung == "v3" and not settings.double  # next values do not change with each step
        share = torch.zeros(1, self.padded)
        share[:, : self.batch] = 1 / self.batch
        self.share = share  # [1, B] of each row in the loss

    def learn(self, table: Rows, updates: int) -> None:
        """So many gradient steps on the rows that the sampler has admitted."""
        while updates:
            piece = min(updates, PIECE) if self.sampler.several else 1
            if self.settings.rung == "v3":
                piece = min(piece, self.settings.target_every - self.updates % self.settings.target_every)
            self._piece(table, piece)
            updates -= piece

    def _piece(self, table: Rows, count: int) -> None:
        progress = self.updates / self.total
        chosen, weights = self.sampler.draw(count * self.batch, progress)  # [P, count * B]
        batch = _Batch(self, table, self._pad(chosen, count), count)
        share = self.share if weights is None else self.share * torch.from_numpy(self._pad(weights, count))
        if self.frozen:
            batch.value(self)
        for i in range(count):
            part = batch.part(i)
            if not self.frozen:
                part.value(self)
            errors = self._step(part, share)
            self.updates += 1
        self.sampler.learned(chosen, errors[:, : self.batch].numpy())
        if self.settings.rung == "v3" and self.updates % self.settings.target_every == 0:
            self.target.flat.copy_(self.population.flat)

    def _pad(self, found: Array, count: int) -> Array:
        """Each batch of [P, count * B] filled up with its first element, which there has no share in the loss."""
        if self.padded == self.batch:
            return found
        split = found.reshape(len(found), count, self.batch)
        fill = np.broadcast_to(split[:, :, :1], (*split.shape[:2], self.padded - self.batch))
        return np.concatenate([split, fill], 2).reshape(len(found), -1)

    def _step(self, batch: _Batch, share: torch.Tensor) -> torch.Tensor:
        """One gradient step; the errors [P, B] before it."""
        activations = self.population.network.forward(batch.inputs)
        outputs = activations[-1]
        errors = outputs.gather(2, batch.actions)[:, :, 0] - batch.wanted
        slope = errors.clamp(-self.settings.huber, self.settings.huber) if self.settings.loss == "huber" else errors
        slopes = torch.zeros_like(outputs).scatter_(2, batch.actions, (slope * share)[:, :, None])
        self.population.learn(activations, slopes, self._rate(), self.settings.clip)
        return errors

    def _rate(self) -> float:
        left = 1 - self.updates / self.total if self.settings.schedule == "linear" else 1.0
        return self.settings.lr * left


class _Batch:
    """Rows in tensors, those of several gradient steps side by side: inputs [P, B, D], actions [P, B, 1], the rest
    [P, B]."""

    inputs: torch.Tensor
    actions: torch.Tensor
    returns: torch.Tensor
    discount: torch.Tensor
    next_inputs: torch.Tensor
    allowed: torch.Tensor | None  # [P, B, A]
    wanted: torch.Tensor  # targets, once they are valued

    def __init__(self, learner: _Learner, table: Rows, chosen: Array, count: int) -> None:
        P = len(chosen)
        flat = (chosen + table.base).reshape(-1)
        after = table.next_frame[flat]
        self.size = chosen.shape[1] // count
        self.inputs = _features(learner, table.frames, table.frame[flat], P)
        self.next_inputs = _features(learner, table.frames, after, P)
        self.actions = torch.from_numpy(table.action[flat]).view(P, -1, 1)
        self.returns = torch.from_numpy(table.returns[flat]).view(P, -1)
        self.discount = torch.from_numpy(table.discount[flat]).view(P, -1)
        self.allowed = None if table.mask is None else torch.from_numpy(table.mask[after]).view(P, chosen.shape[1], -1)

    def part(self, i: int) -> _Batch:
        """The i-th batch."""
        some = slice(i * self.size, (i + 1) * self.size)
        part = object.__new__(_Batch)
        part.size = self.size
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor) or value is None:
                setattr(part, name, None if value is None else value[:, some])
        return part

    def value(self, learner: _Learner) -> None:
        """What Q of these rows is to become."""
        values = learner.target.forward(self.next_inputs)[-1]  # [P, B, A]
        if learner.settings.double:
            chosen = learner.population.network.forward(self.next_inputs)[-1]
            if self.allowed is not None:
                chosen = chosen.masked_fill(~self.allowed, -torch.inf)
            best = values.gather(2, chosen.argmax(2, keepdim=True))[:, :, 0]
            if self.allowed is not None:
                best = torch.where(self.allowed.any(2), best, 0.0)
        else:
            best = masked_max(values, self.allowed)
        self.wanted = bellman_targets(self.returns, self.discount, best)


def _features(learner: _Learner, frames: Nest, index: Array, seeds: int) -> torch.Tensor:
    """[P, B, D] features of these frames, standardised."""
    raw = torch.from_numpy(encode(take(frames, index), learner.space)).view(seeds, len(index) // seeds, -1)
    population = learner.population
    return raw.sub_(population.centre).div_(population.spread)


class _Looks:
    """Evaluation of the greedy policies while they learn."""

    def __init__(self, settings: DqnUpdates, seeds: Sequence[int], judge: Judge | None) -> None:
        self.settings, self.seeds, self.judge = settings, seeds, judge
        self.count = settings.looks if judge else 0
        self.curve: list[dict[str, Any]] = []
        self.best = np.full(len(seeds), -np.inf)
        self.kept: torch.Tensor | None = None  # [P, n] each seed's best weights
        self.judged = 0  # episodes of each seed

    def look(self, learner: _Learner, steps: int) -> None:
        if not self.count or self.judge is None:
            return
        population = learner.population
        returns = self.judge([GreedyMember(population, p) for p in range(len(self.seeds))])
        means = returns.mean(1)
        self.judged += returns.shape[1]
        for seed, mean in zip(self.seeds, means.tolist(), strict=True):
            self.curve.append({"seed": seed, "steps": steps, "updates": learner.updates, "return": mean})
        if self.settings.keep == "best":
            better = means > self.best
            self.best = np.where(better, means, self.best)
            old = population.flat if self.kept is None else self.kept
            self.kept = torch.where(torch.from_numpy(better)[:, None], population.flat, old)

    def learned(
        self, learner: _Learner, *, steps: int, logs: tuple[Log, ...], facts: list[dict[str, Any]]
    ) -> Learned:  # fmt: skip
        population = learner.population
        if self.kept is not None:
            population.flat.copy_(self.kept)
            # What was looked at has helped to choose: it is experience beyond the steps.
            facts = [{**fact, "episodes_judged": self.judged} for fact in facts]
        policies = tuple(GreedyMember(population, p) for p in range(len(self.seeds)))
        return Learned(policies, population, learner.updates, steps=steps, curve=self.curve, facts=facts, logs=logs)


class _Online:
    """Acting and learning by turns."""

    def __init__(
        self, slots: Slots, settings: DqnSettings, seeds: Sequence[int], limit: int | None,
        environment: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        self.slots, self.settings, self.seeds, self.limit, self.environment = slots, settings, seeds, limit, environment
        space, actions, steps = slots.observation_space, slots.action_space, settings.steps
        self.actions = _actions(actions)
        self.start = int(getattr(actions, "start", 0))
        v1 = settings.rung == "v1"
        self.every, self.updates = (1, 1) if v1 else (settings.every, settings.updates)
        self.sampler = _sampler(settings, seeds, min(settings.capacity, steps))
        total = sum(self._due(t) for t in range(1, steps + 1)) * self.updates
        self.learner = _Learner(settings, space, actions, seeds, self.sampler, max(total, 1))
        self.experience = Experience(space, actions, len(seeds), steps, settings.gamma, settings.n_step)
        self.resets = [np.random.default_rng(np.random.SeedSequence((seed, _RESETS))) for seed in seeds]
        self.exploration = Exploration(settings, seeds, self.actions, _EXPLORATION)
        D = self.learner.population.sizes[0]
        self.padded = torch.zeros(len(seeds), ALIGN, D)  # the frame to act in, and rows that fill a cache line

    def run(self, looks: _Looks, listen: Listen | None) -> Learned:
        settings, experience, every = self.settings, self.experience, all_slots(self.slots)
        milestones, told = set(_milestones(settings.steps, looks.count)), max(settings.steps // 200, 1)
        self.lengths = np.zeros(len(self.seeds), np.int64)
        self.current = self._reset(every)
        for t in range(1, settings.steps + 1):
            ended = self._step(t, every)
            if len(ended) and t < settings.steps:
                fresh = self._reset(ended)
                self.current = _replaced(self.current, ended, fresh)
            if t == settings.warmup:
                self._standardise(t)
            if self._due(t):
                experience.finish()
                self.sampler.admit(experience.ready)
                self.learner.learn(experience.rows(), self.updates)
            if t in milestones:
                looks.look(self.learner, t)
            if listen and t % told == 0:
                listen(t / settings.steps, f"{t} steps, {self.learner.updates} updates")
        logs = tuple(self._log(p) for p in range(len(self.seeds)))
        facts = [{"episodes": log.episodes, "last_returns": _last(log.returns)} for log in logs]
        return looks.learned(self.learner, steps=settings.steps, logs=logs, facts=facts)

    def _due(self, t: int) -> bool:
        """Whether to learn after the t-th step."""
        return t >= self.settings.warmup + self.settings.n_step - 1 and t % self.every == 0

    def _reset(self, seeds: Array) -> Nest:
        resets = np.array([int(self.resets[p].integers(1 << 31)) for p in seeds.tolist()])
        frames = self.slots.reset(seeds, resets)
        self.experience.begin(seeds, frames, resets)
        self.lengths[seeds] = 0
        return frames

    def _step(self, t: int, every: Array) -> Array:
        """One step of every seed; those whose episode ended."""
        actions, propensity = self._act(t)
        frames, rewards, terminated, truncated, _ = self.slots.step(every, actions + self.start)
        self.lengths += 1
        if self.limit is not None:
            truncated = truncated | (self.lengths >= self.limit)
        truncated = truncated & ~terminated
        behaviour = int(t > self.settings.warmup)
        self.experience.add(frames, actions, rewards, terminated, truncated, propensity, behaviour)
        self.current = frames
        ended = np.flatnonzero(terminated | truncated)
        self.exploration.ended(ended)
        return ended

    def _act(self, t: int) -> tuple[Array, Array]:
        """Epsilon-greedy actions [P] from 0, and their exact probabilities."""
        if t <= self.settings.warmup:
            return self.exploration.act(t, None)
        population = self.learner.population
        self.padded[:, 0] = population.encode(self.current)
        return self.exploration.act(t, population.forward(self.padded)[-1][:, 0].argmax(1).numpy())

    def _standardise(self, t: int) -> None:
        """By the frames in which the warm-up acted; each seed by its own, one by one, so that all round alike."""
        table, population = self.experience.rows(), self.learner.population
        for p in range(len(self.seeds)):
            member = population.member(p)
            member.standardise(member.encode(take(table.frames, self.experience.frame[p, :t])))

    def _log(self, p: int) -> Log:
        environment = None if self.environment is None else {**self.environment, "max_episode_steps": self.limit}
        return self.experience.log(
            p, _BEHAVIOURS, environment, {"dqn": {"seed": self.seeds[p], "settings": asdict(self.settings)}}
        )


def _replaced(frames: Nest, index: Array, fresh: Nest) -> Nest:
    """Frames with some of them exchanged."""
    if isinstance(frames, dict):
        assert isinstance(fresh, dict)
        return {key: _replaced(value, index, fresh[key]) for key, value in frames.items()}
    assert not isinstance(fresh, dict)
    frames = frames.copy()  # the slots may still hold it
    frames[index] = fresh
    return frames


def _last(returns: Array) -> float:
    """Mean return of the last ten episodes before the one that the end may have cut."""
    whole = returns[:-1] if len(returns) > 1 else returns
    return float(whole[-10:].mean())
