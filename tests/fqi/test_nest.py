"""Nests: leaves by path, in order, and back."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from hypothesis import given, settings

from fqi.nest import apply, leaf_spaces, leaves, rows, stack, take, unflatten
from tests.strategies import observation_spaces, sample

SPACE = gym.spaces.Dict([
    ("z", gym.spaces.Discrete(3)),
    ("a", gym.spaces.Tuple([gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(2)])),
])  # fmt: skip
NEST = {"z": np.array([0, 2]), "a": {"0": np.array([[0.0, 0.5], [1.0, 0.25]]), "1": np.array([1, 0])}}


def test_leaves_keep_their_order_and_paths():
    assert list(leaves(NEST)) == ["z", "a/0", "a/1"]
    assert list(leaf_spaces(SPACE)) == ["z", "a/0", "a/1"]
    assert leaf_spaces(SPACE)["a/1"] == gym.spaces.Discrete(2)


def test_a_plain_array_is_a_nest_of_one_leaf():
    array = np.arange(3)
    assert list(leaves(array)) == [""]
    assert unflatten({"": array}) is array
    assert list(leaf_spaces(gym.spaces.Discrete(2))) == [""]


def test_apply_and_take_reach_every_leaf():
    doubled = apply(lambda x: 2 * x, NEST)
    assert doubled["z"].tolist() == [0, 4]
    assert doubled["a"]["1"].tolist() == [2, 0]
    last = take(NEST, np.array([1]))
    assert last["a"]["0"].tolist() == [[1.0, 0.25]]
    assert take(NEST, slice(0, 1))["z"].tolist() == [0]
    assert rows(NEST) == 2
    assert rows(np.zeros((5, 3))) == 5


def test_stack_puts_single_observations_side_by_side():
    single = [{"z": 2, "a": (np.array([0.5, 1.0], np.float32), 1)}, {"z": 0, "a": (np.zeros(2, np.float32), 0)}]
    found = stack(single, SPACE)
    assert found["z"].tolist() == [2, 0]
    assert found["a"]["0"].tolist() == [[0.5, 1.0], [0.0, 0.0]]
    assert found["a"]["0"].dtype == np.float32
    assert found["a"]["1"].dtype == np.int64


@settings(max_examples=50, deadline=None)
@given(observation_spaces())
def test_any_nest_survives_flattening(space):
    nest = sample(space, 4, np.random.default_rng(0))
    flat = leaves(nest)
    assert list(flat) == list(leaf_spaces(space))
    again = leaves(unflatten(flat))
    assert list(again) == list(flat)
    assert all(again[path] is flat[path] for path in flat)
