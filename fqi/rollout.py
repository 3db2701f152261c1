"""Playing episodes in slots: without end for a log (`episodes`), or one each from given seeds to be judged (`play`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fqi.behaviour import Acted, Actor
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
    tick, last = int(opened.min()), int(opened.max())
    record = _Record(slots.count, tick)
    streams = Streams(seed)
    seeds = np.zeros(slots.count, np.int64)
    while True:
        fresh = opened == tick
        if fresh.any():
            new = every[fresh]
            seeds[new] = streams.episode_seeds(new, tick)
            record.begin(new, slots.reset(new, seeds[new]), legal_actions(slots))
        playing = None if tick >= last else opened <= tick  # None: all of them
        acted = actor.act(record.current, fresh, streams.at(tick), _legal(slots, playing))
        now = every if playing is None else every[playing]
        frames, rewards, terminated, truncated, _ = slots.step(now, _part(acted.actions, playing))
        if limit is not None and tick + 1 - record.oldest >= limit:
            truncated = truncated | (~terminated & (tick + 1 - _part(opened, playing) >= limit))
        record.add(playing, opened, acted, frames, rewards, terminated, truncated, legal_actions(slots))
        ended = now[terminated | truncated]
        tick += 1
        if len(ended):
            yield record.block(ended, seeds[ended], opened[ended])
            opened[ended] = tick


def _part(array: Array, playing: Array | None) -> Array:
    """What concerns the slots that play, of one row for each slot."""
    return array if playing is None else array[playing]


def _legal(slots: Slots, playing: Array | None) -> Array | None:
    """[V, A] what may be played; where nothing is played, anything."""
    legal = legal_actions(slots)
    return legal if legal is None or playing is None else legal | ~playing[:, None]


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
    """What every slot did in the last ticks, back to when the longest open episode began: columns [T, V, ...] in which
    tick t has row t modulo T. They grow as needed.

    A tick is written by a slice a column, and an episode is cut out when it ends. The frames of the next tick are
    written with a tick, so that those of a slot that is reset then take the place of its last ones.
    """

    def __init__(self, count: int, tick: int) -> None:
        self.count, self.tick, self.held = count, tick, 64  # V, t, T
        self.oldest = tick  # no open episode began before this tick
        self.columns: dict[str, Array] = {}
        self.current: Nest = np.zeros(0)  # [V, ...] the frame in which each slot acts next

    def begin(self, slots: Array, frames: Nest, legal: Array | None) -> None:
        """These slots were reset."""
        found, here = leaves(frames), self.tick % self.held
        if not self.columns:  # those that wait for their turn stand in any frame that is one
            self._allocate({"frame/" + path: np.repeat(array[:1], self.count, 0) for path, array in found.items()})
            self._allocate({} if legal is None else {"action_mask": legal})
        for path, array in found.items():
            self.columns["frame/" + path][here, slots] = array
        if legal is not None:
            self.columns["action_mask"][here, slots] = legal[slots]
        self._show()

    def add(
        self, playing: Array | None, opened: Array, acted: Acted, frames: Nest, rewards: Array, terminated: Array,
        truncated: Array, legal: Array | None,
    ) -> None:  # fmt: skip
        """What the slots that play did in this tick, and what they came to; None: all slots play."""
        new = {"actions": acted.actions, "behaviour": acted.behaviour}
        new |= {} if acted.propensity is None else {"propensity": acted.propensity}
        own = {"rewards": rewards, "terminations": terminated, "truncations": truncated}  # of those that play
        if "actions" not in self.columns:
            self._allocate({name: np.zeros_like(array) for name, array in new.items()})
            self._allocate({name: np.zeros((self.count, *a.shape[1:]), a.dtype) for name, a in own.items()})
        if self.tick + 1 - self.oldest >= self.held:
            self._make_room(opened)
        here, there = self.tick % self.held, (self.tick + 1) % self.held
        for name, array in new.items():
            self.columns[name][here] = array
        for name, array in own.items():
            if playing is None:
                self.columns[name][here] = array
            else:
                self.columns[name][here, playing] = array
        for path, array in leaves(frames).items():
            column = self.columns["frame/" + path]
            if playing is None:
                column[there] = array
            else:
                column[there] = column[here]
                column[there, playing] = array
        if legal is not None:
            self.columns["action_mask"][there] = legal
        self.tick += 1
        self._show()

    def block(self, slots: Array, seeds: Array, ticks: Array) -> Block:
        """The episodes of these slots, which began at these ticks and have just ended, copied out."""
        lengths = self.tick - ticks
        last = np.cumsum(lengths + 1) - 1  # where each episode's last frame will lie
        which = np.repeat(np.arange(len(slots)), lengths + 1)
        when = np.arange(last[-1] + 1) + (self.tick - last)[which]
        frames = when % self.held * self.count + slots[which]  # where the episodes' frames lie
        stepped = np.ones(len(frames), np.bool_)
        stepped[last] = False
        steps = frames[stepped]

        def gather(name: str, places: Array = steps) -> Array:
            column = self.columns[name]
            return column.reshape(self.held * self.count, *column.shape[2:]).take(places, 0)

        seen = {n.removeprefix("frame/"): gather(n, frames) for n in self.columns if n.startswith("frame/")}
        return Block(
            lengths=lengths,
            seeds=seeds,
            slots=slots.astype(np.int64),
            ticks=ticks,
            observations=unflatten(seen),
            actions=gather("actions"),
            rewards=gather("rewards"),
            terminations=gather("terminations"),
            truncations=gather("truncations"),
            behaviour=gather("behaviour"),
            propensity=gather("propensity") if "propensity" in self.columns else None,
            action_mask=gather("action_mask", frames) if "action_mask" in self.columns else None,
        )

    def _show(self) -> None:
        here = self.tick % self.held
        frames = {n.removeprefix("frame/"): c[here] for n, c in self.columns.items() if n.startswith("frame/")}
        self.current = unflatten(frames)

    def _allocate(self, arrays: dict[str, Array]) -> None:
        """Columns for arrays of one row for each slot, with these in the present tick."""
        for name, array in arrays.items():
            self.columns[name] = np.empty((self.held, *array.shape), array.dtype)
            self.columns[name][self.tick % self.held] = array

    def _make_room(self, opened: Array) -> None:
        """Forget what ended; where an open episode began too long ago for what is held, hold twice as much."""
        self.oldest = min(int(opened.min()), self.tick)
        if self.tick + 1 - self.oldest < self.held:
            return
        kept = np.arange(self.oldest, self.tick + 1)
        for name, column in self.columns.items():
            self.columns[name] = np.empty((2 * self.held, *column.shape[1:]), column.dtype)
            self.columns[name][kept % (2 * self.held)] = column[kept % self.held]
        self.held *= 2


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
