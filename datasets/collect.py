"""Collecting a log: play in slots, commit whole episodes to a journal, and turn it into a log at the end.

Episodes enter the log in the order in which they began, not in which they ended, so that short ones are not favoured.
With a number of steps the last one is cut there, as by a time limit.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.behaviour import Mixture
from fqi.datasets.columns import Head, columns_of, leaf_name, step_columns
from fqi.datasets.hdf5 import memory_bytes
from fqi.datasets.journal import Block, Index, Journal, JournalHeader, finish, journal_path
from fqi.datasets.store import read_log
from fqi.environments.make import environment_record, make_slots
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array, leaves
from fqi.policy_specs import mixture
from fqi.rollout import episodes
from fqi.slots import Slots, legal_actions
from fqi.threads import one_thread

STEPS = 50_000  # collected unless told otherwise
_RUNS_CODE = ("py:", "sb3:")


@dataclass(frozen=True)
class Request:
    """What to collect. It is kept in the log, so that the collection can go on."""

    environment: dict[str, Any]
    policies: tuple[str, ...] = ("random",)
    mix: str = "episode"
    seed: int = 0
    envs: int = 64
    max_steps: int | None = None  # time limit of an episode
    steps: int | None = None
    episodes: int | None = None
    compress: bool = False  # pack the log, losing nothing
    trusted: bool = False  # the user typed the environment's name and the policies

    @classmethod
    def new(cls, env: str, given: dict[str, Any], steps: int | None, episodes: int | None) -> Request:
        """What the user asks for."""
        given = dict(given)
        record = environment_record(env, given.pop("env_kwargs", None), trusted=True)
        if given.get("mix", "episode") not in ("episode", "step"):
            raise UserError(f"--mix must be episode or step, found {given['mix']!r}")
        if steps is None and episodes is None:
            steps = STEPS
        given = {**given, "policies": tuple(given.get("policies") or ("random",))}
        if "mix" in given and len(given["policies"]) == 1:
            raise UserError("--mix chooses between several policies; there is only one")
        given.setdefault("max_steps", record["max_episode_steps"])
        return cls(environment=record, steps=steps, episodes=episodes, trusted=True, **given)

    def again(self, env: str | None, given: dict[str, Any], steps: int | None, episodes: int | None) -> Request:
        """The same collection, perhaps to another number; what is given again must be the same."""
        given = {**given, **({"policies": tuple(given["policies"])} if "policies" in given else {})}
        if given.pop("env_kwargs", began := self.environment["kwargs"]) != began:
            raise UserError(f"--env-kwargs differs from {began}, with which the collection began")
        for name, value in given.items():
            if getattr(self, name) != value:
                flag = {"policies": "policy"}.get(name, name).replace("_", "-")
                raise UserError(f"--{flag} {value} differs from {getattr(self, name)}, with which the collection began")
        if env is not None and environment_record(env, trusted=True)["id"] != self.environment["id"]:
            raise UserError(f"the collection to go on with is of {self.environment['id']}, not of {env}")
        code = [spec for spec in self.policies if spec.startswith(_RUNS_CODE)]
        if code and "policies" not in given:
            raise UserError(f"{code[0]} runs code, so to go on it must be typed again: --policy {code[0]}")
        if ":" in self.environment["id"] and env is None:
            raise UserError(f"{self.environment['id']} imports a module, so to go on it must be typed again")
        if steps or episodes:
            return replace(self, steps=steps, episodes=episodes, trusted=True)
        return replace(self, trusted=True)

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k != "trusted"}

    @classmethod
    def from_json(cls, value: Any, where: str) -> Request:
        try:
            request = cls(**{**value, "policies": tuple(value["policies"])})
        except (TypeError, KeyError):
            raise UserError(f"{where}: it does not say how it was collected, and so cannot go on") from None
        numbers = (request.seed, request.envs, request.max_steps, request.steps, request.episodes)
        if not all(n is None or (isinstance(n, int) and n >= 0) for n in numbers) or not request.envs:
            raise UserError(f"{where}: what it says of its collection is damaged: {value}")
        return request

    def done(self, steps: int, count: int) -> bool:
        """Whether so many steps and episodes are enough."""
        return count >= self.episodes if self.episodes else steps >= (self.steps or 0)


def read_request(path: Path) -> Request:
    """How the log, or the unfinished collection, at this path was collected."""
    journal = journal_path(path)
    if journal.exists():
        with Journal.resume(journal) as opened:
            return Request.from_json(opened.header.settings, str(journal))
    if not path.exists():
        raise UserError(f"{path}: no such log and no unfinished collection of that name")
    return Request.from_json(read_log(path).provenance.get("collected"), str(path))


def collect(request: Request, path: Path, *, resume: bool = False, listen: Callable[[int], None] | None = None) -> Log:
    """Collect what is asked for into a log at `path`; with `resume`, go on with what lies there."""
    if path.suffix != ".h5":
        raise UserError(f"{path}: expected a file that ends in .h5")
    slots = make_slots(request.environment, request.envs, trusted=request.trusted)
    try:
        actor = mixture(request.policies, slots, request.environment, request.mix)
        head = Head(
            observation_space=slots.observation_space,
            action_space=slots.action_space,
            behaviours=actor.names,
            environment={**request.environment, "max_episode_steps": request.max_steps},
            provenance={"collected": request.to_json()},
        )
        new_folder = not path.parent.exists()
        journal = _journal(request, path, resume, head, slots)
        try:
            with one_thread():
                settled = _play(request, journal, slots, actor, listen)
        except BaseException as error:
            journal.close()
            if isinstance(error, Exception) and not resume and not journal.index.episodes:
                journal.path.unlink(missing_ok=True)  # it failed before there was anything to go on with
                if new_folder:
                    with contextlib.suppress(OSError):  # something else may lie there by now
                        path.parent.rmdir()
            raise
        last = None
        if not request.episodes and request.steps is not None and settled.steps > request.steps:
            last = int(journal.index.lengths[settled.order[-1]]) - (settled.steps - request.steps)
            head = head.noting(last_episode_cut=True)
        finish(journal, path, head, np.array(settled.order), last_steps=last, compress=request.compress)
    finally:
        slots.close()
    return read_log(path, memory=memory_bytes() // 4)


def _journal(request: Request, path: Path, resume: bool, head: Head, slots: Slots) -> Journal:
    """A new journal, the one that was left, or one that begins with a finished log's episodes."""
    if resume and journal_path(path).exists():
        return Journal.resume(journal_path(path))
    if not resume and path.exists():
        raise UserError(f"{path} exists already; give another --out, or go on with it by --resume")
    exact = isinstance(slots.action_space, gym.spaces.Discrete)  # densities of mixtures with atoms do not exist
    masked = legal_actions(slots) is not None
    columns = step_columns(
        slots.observation_space, slots.action_space, propensity=exact, behaviour=True, action_mask=masked
    )
    journal = Journal.create(journal_path(path), JournalHeader(head, columns, request.to_json()))
    if resume:
        _copy(read_log(path), journal)
    return journal


def _copy(log: Log, journal: Journal) -> None:
    """The log's episodes, but for a last one that was cut, which is played again."""
    count = log.episodes - bool(log.provenance.get("last_episode_cut"))
    for start in range(0, count, 4096):
        some = log.select(np.arange(start, min(start + 4096, count)))
        if some.origin is None or some.seeds is None:
            raise UserError(f"{journal.path}: the log does not say where its episodes began, and so cannot go on")
        journal.append(Block(some.lengths, some.seeds, some.origin[:, 0], some.origin[:, 1], columns_of(some)))


def _play(
    request: Request, journal: Journal, slots: Slots, actor: Mixture, listen: Callable[[int], None] | None
) -> _Settled:
    index = journal.index
    settled = _Settled(request, index)
    if settled.enough():
        return settled
    number = index.episodes
    for block in episodes(slots, actor, request.seed, request.max_steps, settled.opened()):
        columns = {leaf_name(path): array for path, array in leaves(block.observations).items()}
        columns |= {
            "actions": block.actions.astype(slots.action_space.dtype, copy=False),
            "rewards": block.rewards,
            "terminations": block.terminations,
            "truncations": block.truncations,
            "behaviour": block.behaviour,
        }
        columns |= {"propensity": block.propensity} if block.propensity is not None else {}
        columns |= {"action_mask": block.action_mask} if block.action_mask is not None else {}
        journal.append(Block(block.lengths, block.seeds, block.slots, block.ticks, columns))
        for slot, length in zip(block.slots.tolist(), block.lengths.tolist(), strict=True):
            settled.add(slot, length, number)
            number += 1
        settled.settle()
        if listen:
            listen(settled.progress)
        if settled.enough():
            return settled
    raise AssertionError("play goes on for ever")


class _Settled:
    """Which episodes enter the log: the first ones by when they began, as soon as all of them have ended."""

    def __init__(self, request: Request, index: Index) -> None:
        self.request = request
        self.steps = 0
        self.order: list[int] = []  # the journal's episodes that enter, in the order in which they began
        self.ended: list[deque[tuple[int, int]]] = [deque() for _ in range(request.envs)]  # (length, number) by slot
        self.next = [(0, slot) for slot in range(request.envs)]  # a heap of (tick, slot): the earliest not settled
        by_slot = np.lexsort((index.starts, index.slots)) if index.episodes else np.zeros(0, np.int64)
        for i in by_slot.tolist():
            self.add(int(index.slots[i]), int(index.lengths[i]), i)
        self.settle()

    def add(self, slot: int, length: int, number: int) -> None:
        self.ended[slot].append((length, number))

    def settle(self) -> None:
        while not self.enough():
            tick, slot = self.next[0]
            if not self.ended[slot]:
                return
            length, number = self.ended[slot].popleft()
            heapq.heapreplace(self.next, (tick + length, slot))
            self.order.append(number)
            self.steps += length

    def opened(self) -> Array:
        """[V] the tick at which each slot's open episode began."""
        ticks = np.zeros(len(self.next), np.int64)
        for tick, slot in self.next:
            ticks[slot] = tick + sum(length for length, _ in self.ended[slot])
        return ticks

    def enough(self) -> bool:
        return self.request.done(self.steps, len(self.order))

    @property
    def progress(self) -> int:
        return len(self.order) if self.request.episodes else self.steps
