"""Continuous actions made discrete: which action stands for what, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.discrete import DiscreteActions, DiscreteActionsSlots, grid
from fqi.environments.make import environment_record, make_single, make_slots
from fqi.environments.program import ProgramSlots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError

DISCRETE = "fqi/Discrete-v0"


def test_points_are_evenly_spaced_in_every_dimension() -> None:
    torque = gym.spaces.Box(-2, 2, (1,), np.float32)
    np.testing.assert_array_equal(grid(torque, 5, "P"), [[-2], [-1], [0], [1], [2]])
    assert grid(torque, 5, "P").dtype == np.float32
    plane = gym.spaces.Box(np.array([0.0, -1.0]), np.array([1.0, 1.0]), dtype=np.float64)
    np.testing.assert_array_equal(grid(plane, [2, 3], "P"), [[0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]])
    assert grid(gym.spaces.Box(-1, 1, (2, 2)), 2, "P").shape == (16, 2, 2)


def test_it_is_vectorised_where_the_inner_one_is() -> None:
    slots = make_slots({"id": "fqi/Pendulum-v0"}, 3)
    assert isinstance(slots, DiscreteActionsSlots)
    assert isinstance(slots._inner, ProgramSlots)
    assert slots.action_space == gym.spaces.Discrete(5)
    looped = make_slots({"id": DISCRETE, "kwargs": {"env": "Pendulum-v1", "actions": 3, "kwargs": {"g": 5.0}}}, 3)
    assert isinstance(looped, DiscreteActionsSlots)
    assert looped.action_space == gym.spaces.Discrete(3)
    with_rendering = {"env": "Pendulum-v1", "actions": 3, "kwargs": {"render_mode": None}}
    slow = make_slots({"id": DISCRETE, "kwargs": with_rendering}, 3)
    assert isinstance(slow, DiscreteActionsSlots)
    assert isinstance(slow._inner, SingleSlots)


def test_a_torque_by_its_number_equals_the_torque() -> None:
    record, plain = {"id": "fqi/Pendulum-v0", "kwargs": {"actions": 9}}, {"id": "Pendulum-v1"}
    every = np.arange(9)
    discrete, continuous = make_slots(record, 9), make_slots(plain, 9)
    np.testing.assert_array_equal(discrete.reset(every, every), continuous.reset(every, every))
    torques = np.array([-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2], np.float32)[:, None]
    np.testing.assert_array_equal(discrete.step(every, every)[0], continuous.step(every, torques)[0])


def test_gymnasium_makes_it_with_the_limit_of_200() -> None:
    env = gym.make("fqi/Pendulum-v0")
    assert isinstance(env.unwrapped, DiscreteActions)
    env.reset(seed=0)
    cuts = [env.step(2)[3] for _ in range(200)]
    assert cuts == [False] * 199 + [True]
    with pytest.raises(gym.error.InvalidAction, match="below 5"):
        env.unwrapped.step(np.int64(5))
    env.close()


def test_the_record_takes_the_limit_of_the_environment_within() -> None:
    kwargs = {"env": "MountainCarContinuous-v0", "actions": 3}
    assert environment_record(DISCRETE, kwargs) == {"id": DISCRETE, "kwargs": kwargs, "max_episode_steps": 999}
    assert environment_record("fqi/Pendulum-v0")["max_episode_steps"] == 200


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, 'needs kwargs such as {"env": "Pendulum-v1", "actions": 5}'),
        ({"actions": 5}, "got env None"),
        ({"env": 3, "actions": 5}, "got env 3"),
        ({"env": "os:Pendulum-v1", "actions": 5}, "would import a module"),
        ({"env": "Pend-v1", "actions": 5}, "there is no environment 'Pend-v1'"),
        ({"env": "Pendulum-v1", "actions": 5, "kwargs": [1]}, "named by an id and kwargs"),
        ({"env": DISCRETE, "actions": 5}, "not itself"),
        ({"env": "fqi/Discrete", "actions": 5}, "not itself"),
        ({"env": "fqi/Pendulum-v0", "actions": 5}, "fqi/Pendulum-v0 has no continuous actions"),
        ({"env": "CartPole-v1", "actions": 5}, r"CartPole-v1 has no continuous actions to make discrete \(found Disc"),
        ({"env": "Pendulum-v1"}, "at least 2"),
        ({"env": "Pendulum-v1", "actions": 1}, r"at least 2, or a list of such \(got 1\)"),
        ({"env": "Pendulum-v1", "actions": 2.5}, "at least 2"),
        ({"env": "Pendulum-v1", "actions": True}, "at least 2"),
        ({"env": "Pendulum-v1", "actions": [3, 3]}, "have 1 dimensions, but numbers are given for 2"),
        ({"env": "Pendulum-v1", "actions": 10**9}, "a grid of 1000000000 actions is too large for Pendulum-v1"),
        ({"env": "Pendulum-v1", "actions": 5, "wheels": 1}, "could not be made with kwargs"),
    ],
)
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    for trusted in (False, True):  # the environment within is never trusted
        with pytest.raises(UserError, match=words):
            make_slots({"id": DISCRETE, "kwargs": kwargs}, 2, trusted=trusted)
    with pytest.raises(UserError, match=words):
        make_single({"id": DISCRETE, "kwargs": kwargs})


def test_spaces_that_have_no_grid() -> None:
    with pytest.raises(UserError, match="without bounds"):
        grid(gym.spaces.Box(-np.inf, 1, (1,)), 3, "P")
    with pytest.raises(UserError, match="no continuous actions"):
        grid(gym.spaces.Box(0, 255, (1,), np.uint8), 3, "P")
    with pytest.raises(UserError, match="a grid of 59049 actions"):
        grid(gym.spaces.Box(-1, 1, (10,)), 3, "P")
