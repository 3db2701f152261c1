"""Playing episodes in slots: without end for a log (`episodes`), or one each from given seeds to be judged (`play`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fqi.behaviour import Actor
from fqi.errors import UserError
from fqi.hashing import mixed
from fqi.nest import Array, Nest, leaves, unflatten
from fqi.slots import Slots, all_slots, legal_actions


@dataclass(frozen=True, eq=False)
class Block:
    """Whole episodes that ended in the same tick, in the order of their slots; columns as in a log."""

    lengths: Array  # [m] int64
    seeds: Array  # [m] int64
    slots: Array  # [m] int64: where each was played
    ticks: Array  # [m] int64: when each began
    observations: Nest  # [steps + m, ...]
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array
    behaviour: Array
    propensity: Array | None
    action_mask: Array | None  # [steps + m, A] where the environment tells it


def episodes(slots: Slots, actor: Actor, seed: int, limit: int | None, opened: Array | None = None) -> Iterator[Block]:
    """Play for ever, an episode after the other in each slot; yields the episodes that end, tick by tick.

    All randomness is a pure function of (seed, tick, slot), so that play can go on after a break as if nothing had
    happened: `opened` [V] holds the tick at which each slot's open episode began, and a slot waits until then.
    """
    every = all_slots(slots)
    opened = np.zeros(slots.count, np.int64) if opened is None else opened.copy()
    tick = int(opened.min())
    record = _Record(slots)
    streams = Streams(seed)
    seeds = np.zeros(slots.count, np.int64)
    while True:
        fresh = opened == tick
        if fresh.any():
            new = every[fresh]
            seeds[new] = streams.episode_seeds(new, tick)
            record.begin(new, slots.reset(new, seeds[new]), legal_actions(slots))
        begun = opened <= tick
        playing = every[begun]
        acted = actor.act(record.current, fresh, streams.at(tick), _legal(slots, begun))
        frames, rewards, terminated, truncated, _ = slots.step(playing, acted.actions[playing])
        length = record.length[playing] + 1
        if limit is not None:
            truncated = truncated | (~terminated & (length >= limit))
        propensity = None if acted.propensity is None else acted.propensity[playing]
        actions, behaviour = acted.actions[playing], acted.behaviour[playing]
        record.add(playing, frames, actions, rewards, terminated, truncated, behaviour, propensity)
        record.note_legal(playing, legal_actions(slots))
        ended = playing[terminated | truncated]
        tick += 1
        if len(ended):
            yield record.block(ended, seeds[ended], opened[ended])
            opened[ended] = tick


def _legal(slots: Slots, playing: Array) -> Array | None:
    """[V, A] what may be played; where nothing is played, anything."""
    legal = legal_actions(slots)
    return None if legal is None else legal | ~playing[:, None]


class Streams:
    """Random numbers as a pure function of (seed, tick): each tick has a counter range of its own."""

    def __init__(self, seed: int) -> None:
        key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state
        self._salt = key[0]

    def at(self, tick: int) -> np.random.Generator:
        """The generator of this tick, at its beginning."""
        self._state["state"]["counter"][:] = (0, tick, 0, 0)
        self._state["buffer_pos"] = 4
        self._state["has_uint32"] = 0
        self._bits.state = self._state
        return self._generator

    def episode_seeds(self, slots: Array, tick: int) -> Array:
        """[len(slots)] reset seeds in [0, 2^53): exact in JSON too."""
        with np.errstate(over="ignore"):
            found = mixed(mixed(slots.astype(np.uint64) + self._salt) + np.uint64(tick))
        return (found >> np.uint64(11)).astype(np.int64)


class _Record:
    """The open episode of every slot, in columns [V, capacity, ...] that grow as needed."""

    def __init__(self, slots: Slots) -> None:
        self.length = np.zeros(slots.count, np.int64)  # [V] steps so far
        self.capacity = 64
        self.columns: dict[str, Array] = {}
        self.current: Nest = np.zeros(0)  # [V, ...] the frame in which each slot acts next

    def begin(self, slots: Array, frames: Nest, legal: Array | None) -> None:
        if not self.columns:
            self._allocate("frame/", leaves(frames), extra=1)
            if legal is not None:
                self._allocate("", {"action_mask": legal}, extra=1)
            self.current = unflatten({p: np.repeat(a[:1], len(self.length), 0) for p, a in leaves(frames).items()})
        self.length[slots] = 0
        for path, array in leaves(frames).items():
            self.columns["frame/" + path][slots, 0] = array
            leaves(self.current)[path][slots] = array
        self.note_legal(slots, legal)

    def note_legal(self, slots: Array, legal: Array | None) -> None:
        """What is legal in the frames that these slots have come to."""
        if legal is not None:
            self.columns["action_mask"][slots, self.length[slots]] = legal[slots]

    def add(
        self, slots: Array, frames: Nest, actions: Array, rewards: Array, terminated: Array, truncated: Array,
        behaviour: Array, propensity: Array | None,
    ) -> None:  # fmt: skip
        new = {"actions": actions, "rewards": rewards, "terminations": terminated, "truncations": truncated}
        new |= {"behaviour": behaviour} | ({} if propensity is None else {"propensity": propensity})
        if "actions" not in self.columns:
            self._allocate("", new, extra=0)
        at = self.length[slots]
        if at.max(initial=0) >= self.capacity:
            self._grow()
        for name, array in new.items():
            self.columns[name][slots, at] = array
        for path, array in leaves(frames).items():
            self.columns["frame/" + path][slots, at + 1] = array
            leaves(self.current)[path][slots] = array
        self.length[slots] += 1

    def block(self, slots: Array, seeds: Array, ticks: Array) -> Block:
        """The episodes of these slots, copied out."""
        lengths = self.length[slots]

        places = [_places(slots, lengths + extra) for extra in (0, 1)]  # one gather a column, however many episodes end

        def gather(name: str, extra: int = 0) -> Array:
            return np.asarray(self.columns[name][places[extra]])

        frames = {name.removeprefix("frame/"): gather(name, 1) for name in self.columns if name.startswith("frame/")}
        return Block(
            lengths=lengths,
            seeds=seeds,
            slots=slots.astype(np.int64),
            ticks=ticks,
            observations=unflatten(frames),
            actions=gather("actions"),
            rewards=gather("rewards"),
            terminations=gather("terminations"),
            truncations=gather("truncations"),
            behaviour=gather("behaviour"),
            propensity=gather("propensity") if "propensity" in self.columns else None,
            action_mask=gather("action_mask", 1) if "action_mask" in self.columns else None,
        )

    def _allocate(self, prefix: str, arrays: dict[str, Array], extra: int) -> None:
        for name, array in arrays.items():
            shape = (len(self.length), self.capacity + extra, *array.shape[1:])
            self.columns[prefix + name] = np.empty(shape, array.dtype)

    def _grow(self) -> None:
        for name, column in self.columns.items():
            wider = np.empty((len(column), column.shape[1] + self.capacity, *column.shape[2:]), column.dtype)
            wider[:, : column.shape[1]] = column
            self.columns[name] = wider
        self.capacity *= 2


def _places(slots: Array, lengths: Array) -> tuple[Array, Array]:
    """Where the first so many entries of these slots lie, slot after slot."""
    ends = np.cumsum(lengths)
    return np.repeat(slots, lengths), np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)


@dataclass(frozen=True, eq=False)
class Played:
    """One episode a slot, judged."""

    starts: Nest  # [V, ...] start frames
    returns: Array  # [V] undiscounted, up to the time limit
    discounted: Array  # [V] discounted; play goes on beyond the time limit until what is left weighs less than `tail`
    lengths: Array  # [V] steps up to the time limit
    terminated: Array  # [V] bool: ended by itself, not by the time limit
    success: Array | None  # [V] bool where the environment tells it
    tail: Array  # [V] weight gamma^t of what was not played any more; 0 where the episode terminated
    legal: Array | None = None  # [V, A] bool: what was legal in the start frames, where the environment tells it


def play(
    slots: Slots, actor: Actor, seeds: Array, limit: int | None, gamma: float | Array, tail: float = 1e-3
) -> Played:
    """Play one episode in every slot from these reset seeds.

    A time limit cuts the return but not the value that a Q-function predicts, so for the discounted return play goes
    on beyond the limit until gamma^t < tail. With gamma = 1 it stops at the limit. Gamma is one number, or one for each
    slot [V].
    """
    every = all_slots(slots)
    count = slots.count
    starts = frames = slots.reset(every, seeds)
    told = legal_actions(slots)
    legal = None if told is None else told.copy()
    gammas = np.broadcast_to(np.asarray(gamma, np.float64), count)  # [V]
    horizon = np.array([_horizon(limit, g, tail) for g in gammas.tolist()])  # [V]
    returns, discounted, weight = np.zeros(count), np.zeros(count), np.ones(count)
    lengths, success = np.zeros(count, np.int64), None
    terminated, playing = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    streams, fresh, tick = Streams(int(seeds[0])), np.ones(count, np.bool_), 0
    current = unflatten({path: array.copy() for path, array in leaves(frames).items()})
    within = np.ones(count, np.bool_)  # before the time limit
    while playing.any():
        acted = actor.act(current, fresh, streams.at(tick), _legal(slots, playing))
        now = every[playing]
        frames, rewards, ends, cuts, wins = slots.step(now, acted.actions[now])
        returns[now] += np.where(within[now], rewards, 0.0)
        lengths[now] += within[now]
        discounted[now] += weight[now] * rewards
        weight[now] *= np.where(ends, 0.0, gammas[now])
        if wins is not None:
            success = np.zeros(count, np.bool_) if success is None else success
            success[now] |= wins & within[now]
        terminated[now] |= ends & within[now]
        tick += 1
        fresh = np.zeros(count, np.bool_)
        within[now] &= ~(ends | cuts)
        if limit is not None and tick >= limit:
            within[:] = False
        playing[now[ends | cuts]] = False
        playing[tick >= horizon] = False
        for path, array in leaves(frames).items():
            leaves(current)[path][now] = array
    return Played(starts, returns, discounted, lengths, terminated, success, weight, legal)


def _horizon(limit: int | None, gamma: float, tail: float) -> int:
    """Steps after which play stops: what comes later weighs less than `tail`, or is beyond the time limit."""
    if gamma < 1:
        return max(limit or 1, math.ceil(math.log(tail) / math.log(gamma)) if gamma > 0 else 1)
    if limit is None:
        raise UserError("with gamma = 1 and no time limit an episode may never end; name one by --max-steps")
    return limit
