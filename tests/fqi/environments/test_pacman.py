"""Pacman: its maze, its rules step by step, and the features of a frame worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fqi.environments.make import make_slots
from fqi.environments.pacman import DISTANCE, NEXT, Setting, eating, features, program
from fqi.errors import UserError
from fqi.nest import Array

# The cells by number:   0  1  2  3  4
#                        5  #  6  #  7
#                        8  9 10 11 12
#                       13  # 14  # 15
#                       16 17 18 19 20


def states(place: int, ghost: int, food: list[int]) -> Array:
    column = np.zeros((25, 1), np.int64)
    column[0], column[1] = place, ghost
    column[2:-2][food] = 1
    return column


def test_the_maze() -> None:
    assert NEXT[0].tolist() == [0, 1, 5, 0]  # up is a wall, right, down, left is a wall
    assert NEXT[10].tolist() == [6, 11, 14, 9]
    assert NEXT[6].tolist() == [2, 6, 10, 6]
    assert (DISTANCE[0, 20], DISTANCE[0, 10], DISTANCE[5, 6]) == (8, 4, 4)
    np.testing.assert_array_equal(DISTANCE, DISTANCE.T)


def test_steps_by_hand() -> None:
    world = program(Setting(chase=1.0))
    assert world.success is not None
    # Pacman eats in cell 1 and the ghost comes two cells down its way, from 4 to 3.
    after, rewards, ends = world.step(states(0, 4, [1, 20]), np.array([1]))
    assert (after[0, 0], after[1, 0], rewards[0], ends[0]) == (1, 3, 9.0, False)
    assert np.flatnonzero(after[2:-2, 0]).tolist() == [20]
    # Into the ghost, beside the ghost, into a wall beside the ghost: caught each time, whatever was to eat.
    for place, ghost, action in ((0, 1, 1), (0, 3, 1), (0, 1, 0)):
        after, rewards, ends = world.step(states(place, ghost, [1, 20]), np.array([action]))
        caught = ghost != 3 or after[1, 0] == after[0, 0]
        assert (bool(ends[0]), bool(world.success(after)[0])) == (caught, False)
    assert world.step(states(0, 1, [1, 20]), np.array([1]))[1][0] == -51.0
    # The last piece wins before the ghost moves.
    after, rewards, ends = world.step(states(0, 2, [1]), np.array([1]))
    assert (rewards[0], ends[0], world.success(after)[0]) == (59.0, True, True)


def test_the_ghost_hunts_or_strays() -> None:
    many = np.repeat(states(16, 10, [20]), 4000, axis=1)
    many[-2] = np.arange(4000) * 12345
    for chase, expected in ((1.0, {9: 0.0, 14: 1.0}), (0.0, {6: 0.25, 9: 0.25, 11: 0.25, 14: 0.25})):
        ghosts = program(Setting(chase=chase)).step(many, np.zeros(4000, np.int64))[0][1]  # Pacman steps to cell 13
        shares = np.bincount(ghosts, minlength=21) / 4000
        if chase == 1.0:
            assert shares[9] + shares[14] == 1.0  # both are two steps from cell 13
        else:
            for cell, share in expected.items():
                assert shares[cell] == pytest.approx(share, abs=0.035)


def test_features_by_hand() -> None:
    world = program(Setting())
    # Pacman at 10, the ghost at 6 above it, food at 9 (left) and 20.
    made = features(world.frames(states(10, 6, [9, 20]))).reshape(4, 5)
    np.testing.assert_allclose(made[0], [1, 0, 0, 0.2, 0])  # up: into the ghost; food at 9 is two steps from 6
    np.testing.assert_allclose(made[1], [0, 1, 0, 0.2, 0])  # right: the ghost two steps off; 9 is two steps from 11
    np.testing.assert_allclose(made[3], [0, 1, 1, 0, 0])  # left: food there
    np.testing.assert_allclose(features(world.frames(states(0, 20, [1]))).reshape(4, 5)[:, 4], [1, 0, 0, 1])
    assert eating(world.frames(states(10, 6, [9, 20]))).tolist() == [3]
    assert np.isfinite(features(world.frames(states(0, 20, [])))).all()  # a won game


def test_starts() -> None:
    made = program(Setting(food=7)).start(np.arange(3000))
    assert (DISTANCE[made[0], made[1]] >= 3).all()
    assert (made[2:-2].sum(0) == 7).all()
    every = np.arange(3000)
    assert not made[2 + made[0], every].any()
    assert not made[2 + made[1], every].any()
    assert (np.bincount(made[0], minlength=21) > 80).all()  # of 143 on average


def test_the_scripted_policy_wins() -> None:
    slots, living, won = make_slots({"id": "fqi/Pacman-v0"}, 300), np.arange(300), 0
    frames = slots.reset(living, living)
    for _ in range(100):
        assert isinstance(frames, np.ndarray)
        frames, _, ends, _, success = slots.step(living, eating(frames))
        assert success is not None
        assert isinstance(frames, np.ndarray)
        won += int(success.sum())
        frames, living = frames[~ends], living[~ends]
        if not len(living):
            break
    assert won >= 297


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"food": 0}, "food of fqi/Pacman-v0 must be a whole number from 1 to 19"),
        ({"chase": 2}, "must be a probability"),
    ],
)
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_slots({"id": "fqi/Pacman-v0", "kwargs": kwargs}, 1)
