"""Slots: each plays what a single environment with its seed would, and nothing else."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.car_on_the_hill import CarOnTheHillSlots
from fqi.environments.cartpole import CartPoleSlots
from fqi.environments.make import make_single, make_slots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.nest import Nest, leaves, take
from fqi.slots import Slots

RECORDS = [
    {"id": "CartPole-v1", "kwargs": {}},
    {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}},
    {"id": "fqi/CarOnTheHill-v0", "kwargs": {"start": "bottom"}},
    {"id": "fqi/CarOnTheHill-v0", "kwargs": {"start": "uniform"}},
    {"id": "fqi/CarOnTheHill-v0", "kwargs": {"start": "grid"}},
    {"id": "MountainCar-v0", "kwargs": {}},
    {"id": "Pendulum-v1", "kwargs": {"g": 5.0}},
    {"id": "fqi/Pendulum-v0", "kwargs": {}},
    {"id": "fqi/Discrete-v0", "kwargs": {"env": "MountainCarContinuous-v0", "actions": [3]}},
    {"id": "fqi/Corridor-v0", "kwargs": {"length": 50, "contexts": 3}},
    {"id": "fqi/NfqPole-v0", "kwargs": {"noise": 20.0}},
    {"id": "fqi/CartPolePixels-v0", "kwargs": {"size": 9, "show": "pair"}},
    {"id": "fqi/Bicycle-v0", "kwargs": {}},
    {"id": "fqi/LeftRight-v0", "kwargs": {"start": "uniform"}},
    {"id": "fqi/NfqMountainCar-v0", "kwargs": {}},
    {"id": "fqi/NfqRegulator-v0", "kwargs": {"spread": 1.0}},
    {"id": "fqi/Pacman-v0", "kwargs": {"food": 1}},
    {"id": "fqi/Grasp-v0", "kwargs": {"size": 16, "objects": 3}},
    {"id": "fqi/Grasp-v0", "kwargs": {"attempts": 3, "turns": 2, "noise": 0.0, "objects": 1}},
    {"id": "FrozenLake-v1", "kwargs": {"map_name": "4x4"}},
    {"id": "Blackjack-v1", "kwargs": {}},
]


def assert_same(found: Nest, expected: Any) -> None:
    parts = expected if isinstance(expected, tuple) else (expected,)
    for array, part in zip(leaves(found).values(), parts, strict=True):
        np.testing.assert_array_equal(array, part)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r['id']}-{r['kwargs']}")
def test_slots_equal_single_environments_step_by_step(record: dict[str, Any]) -> None:
    """Random subsets step, ended ones start again with a fresh seed, and some are restarted in mid-episode."""
    count, rng = 5, np.random.default_rng(1)
    slots, singles = make_slots(record, count), [make_single(record) for _ in range(count)]
    space = slots.observation_space
    assert (space, slots.action_space) == (singles[0].observation_space, singles[0].action_space)
    slots.action_space.seed(1)
    next_seed, waiting, ends = 100, set(range(count)), 0
    for _ in range(120):
        if waiting:
            chosen = np.array(sorted(waiting))
            seeds = np.arange(next_seed, next_seed + len(chosen))
            next_seed += len(chosen)
            frames = slots.reset(chosen, seeds)
            for row, (slot, seed) in enumerate(zip(chosen.tolist(), seeds.tolist(), strict=True)):
                frame, _ = singles[slot].reset(seed=seed)
                assert_same(take(frames, np.array(row)), frame)
            waiting = set()
        chosen = rng.permutation(count)[: rng.integers(1, count + 1)]
        actions = np.array([slots.action_space.sample() for _ in chosen])
        frames, rewards, terminations, truncations, success = slots.step(chosen, actions)
        assert rewards.dtype == np.float64
        assert terminations.dtype == truncations.dtype == np.bool_
        for row, (slot, action) in enumerate(zip(chosen.tolist(), actions, strict=True)):
            given = int(action) if isinstance(slots.action_space, gym.spaces.Discrete) else action
            frame, reward, terminated, truncated, info = singles[slot].step(given)
            assert_same(take(frames, np.array(row)), frame)
            assert (rewards[row], terminations[row], truncations[row]) == (reward, terminated, truncated)
            if "is_success" in info:
                assert success is not None
                assert success[row] == info["is_success"]
            else:
                assert success is None
            if terminated or truncated or rng.random() < 0.02:
                waiting.add(slot)
                ends += 1
    assert ends > 1
    slots.close()


def test_the_fast_slots_are_chosen() -> None:
    assert isinstance(make_slots({"id": "CartPole-v1", "kwargs": {}}, 2), CartPoleSlots)
    assert isinstance(make_slots({"id": "CartPole-v0"}, 2), CartPoleSlots)
    assert isinstance(make_slots({"id": "fqi/CarOnTheHill-v0"}, 2), CarOnTheHillSlots)
    assert isinstance(make_slots({"id": "CartPole-v1", "kwargs": {"render_mode": None}}, 2), SingleSlots)


def test_cartpole_starts_equal_the_published_environment() -> None:
    seeds = np.array([0, 1, 12345, 2**31, 2**40 + 3])
    env = gym.make("CartPole-v1")
    expected = [env.reset(seed=seed)[0] for seed in seeds.tolist()]
    np.testing.assert_array_equal(CartPoleSlots(5).reset(np.arange(5), seeds), expected)


def test_no_time_limit_cuts_an_episode() -> None:
    slots, only = make_slots({"id": "MountainCar-v0", "max_episode_steps": 3}, 1), np.array([0])
    slots.reset(only, only)
    for _ in range(300):  # the registered limit is 200
        _, _, terminations, truncations, _ = slots.step(only, np.array([1]))
        assert not terminations[0]
        assert not truncations[0]


@pytest.mark.parametrize("id", ["CartPole-v1", "fqi/CarOnTheHill-v0", "MountainCar-v0"])
def test_no_fake_transition(id: str) -> None:
    """Past an end there is no step: not before the first reset, and not after a termination."""
    slots, both = make_slots({"id": id}, 2), np.arange(2)
    with pytest.raises(gym.error.ResetNeeded):
        slots.step(both, both)
    living, before = both, slots.reset(both, both)
    for _ in range(200):
        frames, _, terminations, _, _ = slots.step(living, push(id, before))
        before, living = take(frames, ~terminations), living[~terminations]
        if len(living) < 2:
            break
    ended = np.setdiff1d(both, living)
    assert len(ended) > 0
    with pytest.raises(gym.error.ResetNeeded, match=f"slot {ended[0]} "):
        slots.step(both, both)
    fresh = slots.reset(ended, ended)
    np.testing.assert_array_equal(fresh, make_slots({"id": id}, 2).reset(ended, ended))
    slots.step(both, both)


def push(id: str, frames: Nest) -> Any:
    """Actions that soon end an episode: on a hill with the speed, on the pole always the same."""
    assert not isinstance(frames, dict)
    right = 2 if id == "MountainCar-v0" else 1
    return np.where((frames[:, 1] >= 0) | (id == "CartPole-v1"), right, 0)


class Pair(gym.Env[Any, Any]):
    """A nest of frames; says `success` at its end alone, after three steps."""

    observation_space = gym.spaces.Dict(
        {"image": gym.spaces.Box(0, 255, (2, 2), np.uint8), "rest": gym.spaces.Tuple((gym.spaces.Discrete(9),))}
    )
    action_space = gym.spaces.Discrete(2, start=3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.image = 0, np.zeros((2, 2), np.uint8)
        return {"image": self.image, "rest": (0,)}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert type(action) is int
        self.time += 1
        self.image[:] = self.time  # the same array each time: slots must copy it
        over = self.time == 3
        return {"image": self.image, "rest": (self.time,)}, 0.5, over, False, {"success": True} if over else {}


def test_nests_are_stacked_and_copied_and_success_is_found() -> None:
    slots: Slots = SingleSlots(2, Pair)
    both = np.arange(2)
    first = slots.reset(both, both)
    second = slots.step(both, np.array([3, 4]))[0]
    assert list(leaves(second)) == ["image", "rest/0"]
    np.testing.assert_array_equal(leaves(first)["image"], np.zeros((2, 2, 2)))
    np.testing.assert_array_equal(leaves(second)["image"], np.ones((2, 2, 2)))
    np.testing.assert_array_equal(leaves(second)["rest/0"], [1, 1])
    assert slots.step(both, np.array([3, 3]))[4] is None
    slots.reset(np.array([1]), np.array([1]))
    success = slots.step(both, np.array([3, 3]))[4]
    assert success is not None
    assert success.tolist() == [True, False]


def test_ragged_observations_are_refused() -> None:
    class Words(Pair):
        observation_space = gym.spaces.Text(5)  # type: ignore[assignment]

    with pytest.raises(UserError, match="Text"):
        SingleSlots(1, Words)
