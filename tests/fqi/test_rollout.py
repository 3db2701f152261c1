"""Playing episodes: a pure function of the seed, exact after a break, honest about time limits."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from fqi.behaviour import Acted, Component, Mixture
from fqi.errors import UserError
from fqi.policies import Policy, Uniform
from fqi.rollout import Streams, episodes, play
from fqi.slots import refuse_ended


class Walks:
    """Each slot stands at seed % 5 and walks right by its action; beyond `goal` the episode terminates. The frame is
    (place, steps so far), the reward the place it came to."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self, count, goal=9, cut=None, action_space=None, nest=False, success=False):
        self.count, self.goal, self.cut, self.nest, self.success = count, goal, cut, nest, success
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.place, self.steps = np.zeros(count), np.zeros(count, np.int64)
        self.ended = np.ones(count, np.bool_)
        self.log = []

    def reset(self, slots, seeds):
        self.place[slots], self.steps[slots], self.ended[slots] = seeds % 5, 0, False
        return self._frames(slots)

    def step(self, slots, actions):
        refuse_ended(self.ended, slots)
        self.log.append(slots.tolist())
        self.place[slots] += actions.reshape(len(slots), -1).sum(1)
        self.steps[slots] += 1
        terminated = self.place[slots] > self.goal
        cut = np.zeros(len(slots), np.bool_) if self.cut is None else self.steps[slots] >= self.cut
        self.ended[slots] = terminated | cut
        wins = terminated if self.success else None
        return self._frames(slots), self.place[slots].astype(np.float64), terminated, cut, wins

    def _frames(self, slots):
        frames = np.stack([self.place[slots], self.steps[slots]], 1).astype(np.float32)
        return {"walk": frames, "slot": {"number": slots.copy()}} if self.nest else frames

    def close(self):
        pass


class Right:
    """Always action 1."""

    names = ("right",)

    def act(self, frames, fresh, draws, legal=None):
        count = len(frames["walk"]) if isinstance(frames, dict) else len(frames)
        return Acted(np.ones(count, np.int64), np.zeros(count, np.int32), np.ones(count))


class Leaning(Policy):
    """Right with a probability that depends on the place; noise around it where actions are continuous."""

    def __init__(self, factor):
        self.factor = factor

    def probabilities(self, frames):
        right = np.clip(0.2 + self.factor * frames[:, 0], 0, 1).astype(np.float64)
        return np.stack([1 - right, right], 1)

    def actions(self, frames, draws):
        return np.clip(draws.random((len(frames), 1)) + self.factor, 0, 1).astype(np.float32)


def blocks(slots, actor, count, seed=0, limit=None, opened=None):
    return list(itertools.islice(episodes(slots, actor, seed, limit, opened), count))


def columns(block):
    names = ("lengths", "seeds", "slots", "ticks", "observations", "actions", "rewards", "terminations", "truncations",
             "behaviour", "propensity")  # fmt: skip
    return {name: getattr(block, name) for name in names}


def assert_same(first, second):
    for name, column in columns(first).items():
        other = columns(second)[name]
        assert (column is None and other is None) or np.array_equal(column, other), name


def test_one_slot_by_hand():
    (block,) = blocks(Walks(1, goal=6), Right(), 1)
    start = int(block.seeds[0]) % 5
    steps = 7 - start  # until the place is 7
    assert block.lengths.tolist() == [steps]
    assert block.observations[:, 0].tolist() == list(range(start, 8))
    assert block.observations[:, 1].tolist() == list(range(steps + 1))
    assert block.rewards.tolist() == list(range(start + 1, 8))
    assert block.terminations.tolist() == [False] * (steps - 1) + [True]
    assert not block.truncations.any()
    assert (block.slots.tolist(), block.ticks.tolist()) == ([0], [0])


def test_an_episode_follows_the_other_in_each_slot():
    found = blocks(Walks(3, goal=6), Right(), 40)
    free = {0: 0, 1: 0, 2: 0}  # tick at which each slot is free
    for block in found:
        ends = block.ticks + block.lengths
        assert (ends == ends[0]).all()  # they ended in the same tick
        for slot, tick, length in zip(block.slots, block.ticks, block.lengths, strict=True):
            assert tick == free[int(slot)]
            free[int(slot)] = tick + length
    assert sum(len(block.lengths) for block in found) > 40
    seeds = np.concatenate([block.seeds for block in found])
    assert len(np.unique(seeds)) == len(seeds)


def test_the_time_limit_truncates_and_never_terminates():
    for block in blocks(Walks(2, goal=100), Right(), 5, limit=4):
        assert block.lengths.tolist() == [4, 4]
        assert not block.terminations.any()
        assert block.truncations.tolist() == [False, False, False, True] * 2


def test_a_termination_at_the_limit_stays_a_termination():
    # From place p the goal 6 is passed after 7 - p steps: exactly the limit of 5 where p is 2.
    seen = set()
    for block in blocks(Walks(8, goal=6), Right(), 30, limit=5):
        starts = np.cumsum(block.lengths + 1) - block.lengths - 1
        ends = np.cumsum(block.lengths) - 1
        for start, end, length in zip(block.observations[starts, 0], ends, block.lengths, strict=True):
            seen.add(int(start))
            assert length == min(5, 7 - start)
            assert block.terminations[end] == (start >= 2)
            assert block.truncations[end] == (start < 2)
    assert seen == {0, 1, 2, 3, 4}


def test_the_environments_own_cut_is_a_truncation():
    for block in blocks(Walks(1, goal=100, cut=3), Right(), 3, limit=10):
        assert block.lengths.tolist() == [3]
        assert block.truncations.tolist() == [False, False, True]
        assert not block.terminations.any()


def test_long_episodes_outgrow_the_first_columns():
    (block,) = blocks(Walks(1, goal=10**9), Right(), 1, limit=300)
    assert block.lengths.tolist() == [300]
    assert block.observations[:, 1].tolist() == list(range(301))
    assert len(block.actions) == 300


def test_nests_are_recorded_leaf_by_leaf():
    for block in blocks(Walks(3, goal=6, nest=True), Right(), 10):
        assert list(block.observations) == ["walk", "slot"]
        assert block.observations["slot"]["number"].tolist() == np.repeat(block.slots, block.lengths + 1).tolist()
        assert len(block.observations["walk"]) == block.lengths.sum() + len(block.lengths)


def actor(kind, space):
    if kind == "sure":
        return Right()
    mixed = [
        Component("a", Leaning(0.05), 0.1, 2),
        Component("b", Leaning(0.0), 0),
        Component("c", Uniform(space), 0.5),
    ]
    return Mixture(mixed, space, kind)


BOX = gym.spaces.Box(0, 1, (1,))
KINDS = [("sure", None), ("episode", None), ("step", None), ("episode", BOX), ("step", BOX)]


@pytest.mark.parametrize(("kind", "space"), KINDS)
def test_the_same_seed_gives_the_same_episodes(kind, space):
    made = [
        blocks(slots, actor(kind, slots.action_space), 30, seed, limit=20)
        for slots, seed in ((Walks(4, action_space=space), 3), (Walks(4, action_space=space), 3), (Walks(4), 4))
        if seed == 3 or space is None
    ]
    for first, second in zip(made[0], made[1], strict=True):
        assert_same(first, second)
    if len(made) == 3:
        assert any(not np.array_equal(a.seeds, b.seeds) for a, b in zip(made[0], made[2], strict=True))


@pytest.mark.parametrize(("kind", "space"), KINDS)
def test_going_on_after_any_break_is_exact(kind, space):
    def make():
        return Walks(4, action_space=space)

    whole = blocks(make(), actor(kind, make().action_space), 40, seed=7, limit=12)
    for taken in (1, 2, 3, 5, 8, 13, 20):
        opened = np.zeros(4, np.int64)
        for block in whole[:taken]:
            opened[block.slots] = block.ticks + block.lengths
        rest = blocks(make(), actor(kind, make().action_space), 40 - taken, seed=7, limit=12, opened=opened)
        for first, second in zip(whole[taken:], rest, strict=True):
            assert_same(first, second)


def test_slots_wait_until_their_episode_begins():
    slots = Walks(3, goal=100)
    (block,) = blocks(slots, Right(), 1, limit=3, opened=np.array([7, 5, 6]))
    # Slot 1 begins at tick 5, slot 2 at 6, slot 0 at 7; slot 1 ends first.
    assert slots.log == [[1], [1, 2], [0, 1, 2]]
    assert (block.slots.tolist(), block.ticks.tolist(), block.lengths.tolist()) == ([1], [5], [3])


def test_what_was_opened_is_not_written_to():
    opened = np.array([2, 0])
    blocks(Walks(2), Right(), 5, opened=opened)
    assert opened.tolist() == [2, 0]


def test_streams_are_functions_of_seed_and_tick():
    one, other = Streams(1), Streams(1)
    expected = [one.at(t).random(5).tolist() for t in range(4)]
    for tick in (2, 0, 3, 1, 1):
        assert other.at(tick).random(5).tolist() == expected[tick]
    assert len({tuple(row) for row in expected}) == 4
    assert Streams(2).at(0).random(5).tolist() != expected[0]
    # What was left of a tick's numbers does not spill into the next: neither whole buffers nor half words.
    other.at(0).integers(0, 10, 3, dtype=np.uint32)
    assert other.at(1).random(5).tolist() == expected[1]
    assert other.at(1).integers(0, 2**32, 3, dtype=np.uint32).tolist() == Streams(1).at(1).integers(
        0, 2**32, 3, dtype=np.uint32).tolist()  # fmt: skip


def test_episode_seeds_are_exact_in_json_and_differ():
    streams = Streams(0)
    seeds = np.concatenate([streams.episode_seeds(np.arange(50), tick) for tick in range(50)])
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert seeds.max() < 2**53
    assert len(np.unique(seeds)) == 2500
    alone = streams.episode_seeds(np.array([7]), 3)
    assert alone[0] == seeds[3 * 50 + 7]


# ---- play: seeds 0 and 3 stand at places 0 and 3


def test_returns_by_hand():
    # Goal 4, from 0: rewards 1 2 3 4 5, from 3: 4 5, both terminate. Gamma .5:
    # 1 + 1 + .75 + .5 + .3125 = 3.5625 and 4 + 2.5 = 6.5.
    played = play(Walks(2, goal=4), Right(), np.array([0, 3]), limit=10, gamma=0.5)
    assert played.returns.tolist() == [15, 9]
    assert played.discounted.tolist() == [3.5625, 6.5]
    assert played.lengths.tolist() == [5, 2]
    assert played.terminated.tolist() == [True, True]
    assert played.tail.tolist() == [0, 0]
    assert played.starts[:, 0].tolist() == [0, 3]
    assert played.success is None


def test_the_limit_ends_the_return_but_not_the_discounted_one():
    # From 0 with limit 2: return 1 + 2 = 3. Discounted with gamma .5 goes on for as long as .5^t >= 1e-3: 10 steps.
    played = play(Walks(1, goal=10**6), Right(), np.array([0]), limit=2, gamma=0.5)
    assert played.returns.tolist() == [3]
    assert played.lengths.tolist() == [2]
    assert played.terminated.tolist() == [False]
    expected = sum((t + 1) * 0.5**t for t in range(10))
    assert played.discounted[0] == pytest.approx(expected, rel=1e-12)
    assert played.tail.tolist() == [0.5**10]
    # The whole sum is 1 / (1 - .5)^2 = 4; what was left out is .5^10 (11 + 12/2 + 13/4 + …) = .5^10 * 24.
    assert 4 - played.discounted[0] == pytest.approx(24 * 0.5**10)


def test_an_end_beyond_the_limit_counts_for_the_discounted_return_only():
    # From 3, goal 4: 4 then 5 and the end, with limit 1.
    played = play(Walks(1, goal=4, success=True), Right(), np.array([3]), limit=1, gamma=0.5)
    assert played.returns.tolist() == [4]
    assert played.discounted.tolist() == [6.5]
    assert played.terminated.tolist() == [False]
    assert played.success.tolist() == [False]
    assert played.tail.tolist() == [0]


def test_an_end_at_the_limit_is_an_end():
    played = play(Walks(1, goal=4, success=True), Right(), np.array([3]), limit=2, gamma=0.5)
    assert played.terminated.tolist() == [True]
    assert played.success.tolist() == [True]
    assert played.lengths.tolist() == [2]


def test_gamma_one_stops_at_the_limit():
    played = play(Walks(2, goal=4), Right(), np.array([0, 3]), limit=3, gamma=1.0)
    assert played.returns.tolist() == [6, 9]
    assert played.discounted.tolist() == [6, 9]
    assert played.tail.tolist() == [1, 0]
    assert played.terminated.tolist() == [False, True]


def test_gamma_zero_sees_one_reward():
    played = play(Walks(1, goal=4), Right(), np.array([0]), limit=3, gamma=0.0)
    assert played.discounted.tolist() == [1]
    assert played.returns.tolist() == [6]
    assert played.tail.tolist() == [0]


def test_gamma_one_without_a_limit_is_refused():
    with pytest.raises(UserError, match="may never end"):
        play(Walks(1), Right(), np.array([0]), limit=None, gamma=1.0)


def test_the_environments_own_cut_ends_play_and_leaves_a_tail():
    played = play(Walks(1, goal=100, cut=3), Right(), np.array([0]), limit=10, gamma=0.5)
    assert played.returns.tolist() == [6]
    assert played.lengths.tolist() == [3]
    assert played.tail.tolist() == [0.125]
    assert played.terminated.tolist() == [False]


def test_slots_that_ended_are_not_stepped_again():
    slots = Walks(2, goal=4)
    play(slots, Right(), np.array([0, 3]), limit=10, gamma=0.5)
    assert slots.log == [[0, 1], [0, 1], [0], [0], [0]]


def test_starts_are_kept_as_they_were_in_nests_too():
    played = play(Walks(2, goal=4, nest=True), Right(), np.array([0, 3]), limit=10, gamma=0.5)
    assert played.starts["walk"].tolist() == [[0, 0], [3, 0]]
