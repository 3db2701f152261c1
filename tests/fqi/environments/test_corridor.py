"""The corridor: its rules, and its exact regret against sums by hand, full dynamic programming and simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.corridor import ACTIONS, every_frame, leaving_and_returning, regret, right_actions
from fqi.environments.make import environment_record, make_single, make_slots
from fqi.errors import UserError
from fqi.nest import Array
from fqi.scripted import corridor


def table_policy(contexts: int, seed: int, wrong: float) -> Callable[[Array], Array]:
    """A fixed table [2, N] that errs in about this share of the frames."""
    rng, frames = np.random.default_rng(seed), every_frame(contexts)
    table = np.where(rng.random(2 * contexts) < wrong, rng.integers(ACTIONS, size=2 * contexts), corridor(frames))
    return lambda frames: table[frames[:, 0] * contexts + frames[:, 1]]


def test_a_few_steps_by_hand() -> None:
    slots, only = make_slots({"id": "fqi/Corridor-v0"}, 1), np.array([0])
    frames = slots.reset(only, only)
    seen = []
    for right in (True, False, False, True, True):
        assert isinstance(frames, np.ndarray)
        action = corridor(frames) if right else np.array([5]) * (frames[:, 0] == 0)  # 5 on the lane, 0 off it: wrong
        lane = int(frames[0, 0])
        frames, rewards, terminations, truncations, success = slots.step(only, action)
        assert isinstance(frames, np.ndarray)
        seen.append((lane, float(rewards[0]), int(frames[0, 0])))
        assert not terminations[0]
        assert not truncations[0]
        assert success is None
    # lane before, reward, lane after: off it from the second action on, back by the fourth
    assert seen == [(0, 0.0, 0), (0, 0.0, 1), (1, -1.0, 1), (1, -1.0, 0), (0, 0.0, 0)]


def test_the_tables() -> None:
    contexts = np.arange(10_000)
    on_lane, off_lane = right_actions(np.zeros(10_000, bool), contexts), right_actions(np.ones(10_000, bool), contexts)
    np.testing.assert_allclose(np.bincount(on_lane, minlength=6) / 10_000, [0.25] * 4 + [0, 0], atol=0.02)
    np.testing.assert_allclose(np.bincount(off_lane, minlength=6) / 10_000, [0] * 4 + [0.5, 0.5], atol=0.02)
    # The tables never change: data that was collected once stays right.
    assert on_lane[:12].tolist() == [3, 1, 0, 2, 3, 3, 3, 2, 1, 1, 1, 2]
    assert off_lane[:12].tolist() == [4, 4, 5, 4, 5, 4, 5, 5, 4, 5, 4, 5]


def test_contexts_are_drawn_evenly_and_anew() -> None:
    slots, every = make_slots({"id": "fqi/Corridor-v0", "kwargs": {"contexts": 5}}, 2000), np.arange(2000)
    frames = slots.reset(every, every)
    pairs = np.zeros((5, 5))
    for _ in range(20):
        after = slots.step(every, np.zeros(2000, np.int64))[0]
        assert isinstance(frames, np.ndarray)
        assert isinstance(after, np.ndarray)
        np.add.at(pairs, (frames[:, 1], after[:, 1]), 1)
        frames = after
    np.testing.assert_allclose(pairs / pairs.sum(), 0.04, atol=0.005)  # five standard errors


@pytest.mark.parametrize(
    ("policy", "length", "expected"),
    [
        (lambda f: corridor(f), 50, 0.0),
        (lambda f: np.full(len(f), 5) * (f[:, 0] == 0), 4, 3.0),  # leaves at once, never returns: 0 + 1 + 1 + 1
        (lambda f: np.where(f[:, 0] == 1, corridor(f), 5), 5, 2.0),  # leaves and returns in turn: 0 + 1 + 0 + 1 + 0
        (lambda f: np.full((len(f), 6), 1 / 6), 3, 5 / 3),  # leaves with 5/6, returns with 1/6: 0 + 5/6 + 5/6
        (lambda f: corridor(f), 1, 0.0),
    ],
)
def test_regret_by_hand(policy: Callable[[Array], Array], length: int, expected: float) -> None:
    assert regret(policy, length, contexts=7) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_regret_equals_dynamic_programming_over_lanes_and_contexts(seed: int) -> None:
    N, T = 6, 30
    policy = table_policy(N, seed, 0.4)
    frames = every_frame(N)
    correct = (policy(frames) == corridor(frames)).reshape(2, N)
    value = np.zeros((2, N))  # expected cost to go from (lane, context)
    for _ in range(T):
        ahead = value.mean(1)  # the next context is drawn evenly
        value = np.array([[0.0], [1.0]]) + np.where(correct, ahead[0], ahead[1])
    assert regret(policy, T, N) == pytest.approx(value[0].mean(), abs=1e-12)


def test_regret_equals_simulation() -> None:
    N, T, count = 20, 25, 4000
    policy = table_policy(N, 3, 0.3)
    slots, every = (
        make_slots({"id": "fqi/Corridor-v0", "kwargs": {"length": T, "contexts": N}}, count),
        np.arange(count),
    )
    frames, paid = slots.reset(every, every), np.zeros(count)
    for _ in range(T):
        assert isinstance(frames, np.ndarray)
        frames, rewards, *_ = slots.step(every, policy(frames))
        paid -= rewards
    assert regret(policy, T, N) > 1
    assert abs(paid.mean() - regret(policy, T, N)) < 4 * paid.std() / np.sqrt(count)


def test_who_never_saw_the_way_back_pays_quadratically_who_knows_it_linearly() -> None:
    N = 1000
    lost = np.arange(N) < 1  # one context in a thousand goes wrong

    def clone(frames: Array) -> Array:
        return np.where((frames[:, 0] == 1) | lost[frames[:, 1]], (corridor(frames) + 1) % 4, corridor(frames))

    def recovering(frames: Array) -> Array:
        return np.where((frames[:, 0] == 0) & lost[frames[:, 1]], 5, corridor(frames))

    assert leaving_and_returning(clone, N) == (0.001, 0.0)
    assert leaving_and_returning(recovering, N) == (0.001, 1.0)
    assert regret(clone, 40, N) / regret(clone, 20, N) == pytest.approx(4.1, abs=0.1)  # 40 * 39 / (20 * 19), nearly
    assert regret(recovering, 40, N) / regret(recovering, 20, N) == pytest.approx(39 / 19, abs=0.01)


def test_the_length_is_the_records_limit() -> None:
    assert environment_record("fqi/Corridor-v0")["max_episode_steps"] == 100
    assert environment_record("fqi/Corridor-v0", {"length": 400})["max_episode_steps"] == 400


def test_a_single_environment() -> None:
    env = gym.make("fqi/Corridor-v0")
    first, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    assert env.observation_space.contains(first)
    env.reset()
    with pytest.raises(gym.error.InvalidAction, match="Discrete"):
        env.unwrapped.step(np.int64(6))
    assert sum(not env.step(0)[3] for _ in range(100)) == 99
    env.close()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"length": 0}, "length .* from 1 to 1000000"), ({"contexts": 2.0}, "contexts"), ({"length": True}, "True")],
)
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    record = {"id": "fqi/Corridor-v0", "kwargs": kwargs}
    for make in (lambda: make_slots(record, 1), lambda: make_single(record)):
        with pytest.raises(UserError, match=words):
            make()
    if "length" in kwargs:
        with pytest.raises(UserError, match=words):
            environment_record("fqi/Corridor-v0", kwargs)


def test_a_policy_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"gives 6 actions or probabilities of shape \(6, 6\) for 6 frames"):
        regret(lambda frames: np.zeros((len(frames), 2)), 5, contexts=3)
