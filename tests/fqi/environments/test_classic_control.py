"""The vectorised classics against Gymnasium's own, over long random play in random subsets of the slots."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from fqi.environments.make import make_single, make_slots
from fqi.environments.program import ProgramSlots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.nest import Array

RECORDS: list[dict[str, Any]] = [
    {"id": "Acrobot-v1"},
    {"id": "MountainCar-v0"},
    {"id": "MountainCar-v0", "kwargs": {"goal_velocity": 0.02}},
    {"id": "MountainCarContinuous-v0"},
    {"id": "Pendulum-v1"},
    {"id": "Pendulum-v1", "kwargs": {"g": 9.81}},
]


def named(record: dict[str, Any]) -> str:
    return f"{record['id']}{record.get('kwargs', '')}"


def actions_of(space: gym.Space[Any], rng: np.random.Generator, rows: int, kept: Array) -> Array:
    """Random actions, each kept for a while so that the links swing and the cars climb; some beyond the bounds."""
    if isinstance(space, gym.spaces.Discrete):
        new = rng.integers(space.n, size=rows)
    else:
        assert isinstance(space, gym.spaces.Box)
        new = (rng.uniform(-1.3, 1.3, (rows, 1)) * space.high).round(rng.integers(1, 9)).astype(np.float32)
    changed = rng.random(rows) < 0.1
    kept[changed] = new[changed]
    return kept


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_long_play_equals_the_original(record: dict[str, Any]) -> None:
    count, rng = 40, np.random.default_rng(5)
    slots, single = make_slots(record, count), SingleSlots(count, lambda: make_single(record))
    assert isinstance(slots, ProgramSlots)
    assert (slots.observation_space, slots.action_space) == (single.observation_space, single.action_space)
    every, seeds = np.arange(count), rng.integers(2**53, size=count)
    np.testing.assert_array_equal(slots.reset(every, seeds), single.reset(every, seeds))
    kept = actions_of(slots.action_space, rng, count, np.zeros((count, *slots.action_space.shape), np.float32))  # type: ignore[misc]
    kept = kept.astype(slots.action_space.dtype)
    ends = 0
    for _ in range(800):
        chosen = every if rng.random() < 0.5 else rng.permutation(count)[: rng.integers(1, count)]
        actions = actions_of(slots.action_space, rng, count, kept)[chosen]
        found, expected = slots.step(chosen, actions), single.step(chosen, actions)
        for name, array, original in zip(("frames", "rewards", "ends", "cuts"), found[:4], expected[:4], strict=True):
            assert isinstance(array, np.ndarray)
            assert isinstance(original, np.ndarray)
            assert array.dtype == original.dtype
            np.testing.assert_array_equal(array, original, name)
        ended = chosen[expected[2]]
        ends += len(ended)
        if len(ended):
            again = rng.integers(2**53, size=len(ended))
            np.testing.assert_array_equal(slots.reset(ended, again), single.reset(ended, again))
    assert ends > 3 or record["id"] == "Pendulum-v1"


def test_pendulum_pays_by_the_same_power_of_any_torque() -> None:
    """20,000 torques: some 14 of their squares round unlike a plain product."""
    count, rng = 20_000, np.random.default_rng(2)
    torques = rng.uniform(-2, 2, (count, 1)).astype(np.float32)
    slots, every = make_slots({"id": "Pendulum-v1"}, count), np.arange(count)
    slots.reset(every, np.zeros(count, np.int64))
    env = PendulumEnv()
    env.reset(seed=0)
    state = env.state
    expected = np.empty(count)
    for row, torque in enumerate(torques):
        env.state = state
        expected[row] = env.step(torque)[1]
    np.testing.assert_array_equal(slots.step(every, torques)[1], expected)


def test_what_they_do_not_know_is_looped_over_or_refused() -> None:
    for record in (
        {"id": "Acrobot-v1", "kwargs": {"render_mode": None}},
        {"id": "MountainCarContinuous-v0", "kwargs": {"goal_velocity": 0.01}},
    ):
        assert isinstance(make_slots(record, 2), SingleSlots)
    with pytest.raises(UserError, match="Pendulum-v1 could not be made: g must be a number"):
        make_slots({"id": "Pendulum-v1", "kwargs": {"g": "ten"}}, 2)
    with pytest.raises(UserError, match="goal_velocity must be a number"):
        make_slots({"id": "MountainCar-v0", "kwargs": {"goal_velocity": True}}, 2)
