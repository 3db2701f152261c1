"""Frames as features, column by column."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings

from fqi.encoding import encode, scaled_columns, width
from fqi.errors import UserError
from tests.strategies import observation_spaces, sample


def test_vectors_are_laid_flat():
    space = gym.spaces.Box(-1, 1, (2, 2))
    frames = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert encode(frames, space).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert width(space) == 4
    assert scaled_columns(space).all()


def test_a_number_without_a_shape_is_one_column():
    assert encode(np.array([0.5, -1], np.float32), gym.spaces.Box(-1, 1, ())).tolist() == [[0.5], [-1]]


def test_categories_are_one_hot_from_their_start():
    space = gym.spaces.Discrete(3, start=-1)
    assert encode(np.array([-1, 1, 0]), space).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert not scaled_columns(space).any()


def test_several_categories_stand_side_by_side():
    space = gym.spaces.MultiDiscrete([2, 3], start=np.array([0, 10]))
    assert encode(np.array([[1, 10], [0, 12]]), space).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    assert width(space) == 5


def test_a_nest_is_encoded_leaf_by_leaf():
    space = gym.spaces.Dict([("n", gym.spaces.Discrete(2)), ("x", gym.spaces.Box(0, 9, (1,)))])
    frames = {"x": np.array([[7.0]], np.float32), "n": np.array([1])}  # the space's order counts, not the dict's
    assert encode(frames, space).tolist() == [[0, 1, 7]]
    assert scaled_columns(space).tolist() == [False, False, True]


def test_bytes_become_numbers():
    assert encode(np.array([[255]], np.uint8), gym.spaces.Box(0, 255, (1,), np.uint8), np.float64).tolist() == [[255]]


def test_what_has_no_encoding_is_refused_by_name():
    space = gym.spaces.Dict({"words": gym.spaces.Text(5)})
    with pytest.raises(UserError, match=r"observations/words: Text.* has no encoding"):
        width(space)


@settings(max_examples=50, deadline=None)
@given(observation_spaces())
def test_any_frames_give_rows_of_the_width_and_never_alias(space):
    frames = sample(space, 3, np.random.default_rng(0))
    found = encode(frames, space)
    assert found.shape == (3, width(space)) == (3, len(scaled_columns(space)))
    assert found.dtype == np.float32
    assert found.flags.writeable
