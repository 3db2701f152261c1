"""Atari, prepared: frames, noop starts, options, refusals, and the scripted Pong."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from fqi.environments import atari
from fqi.environments.make import environment_record, make_single, make_slots
from fqi.errors import UserError

needs_ale = pytest.mark.skipif(
    importlib.util.find_spec("ale_py") is None or importlib.util.find_spec("cv2") is None,
    reason="ale-py or opencv is not installed",
)


@needs_ale
def test_frames_are_single_grey_and_the_same_for_the_same_seed() -> None:
    slots, both = make_slots({"id": "fqi/Pong-v0", "kwargs": {"sticky": 0.25}}, 2), np.arange(2)
    assert slots.observation_space.shape == (84, 84)
    assert slots.observation_space.dtype == np.uint8
    first = slots.reset(both, np.array([5, 5]))
    assert isinstance(first, np.ndarray)
    np.testing.assert_array_equal(first[0], first[1])
    for step in range(80):
        frames = slots.step(both, np.full(2, 2 + step // 8 % 2))[0]
        assert isinstance(frames, np.ndarray)
        np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != first[0]).any()
    slots.close()


@needs_ale
def test_options_reach_the_game() -> None:
    env: Any = make_single({"id": "fqi/Atari-v0", "kwargs": {"game": "Breakout", "life_loss": True, "noops": 0}})
    env.reset(seed=0)
    assert env.action_space.n == 4
    terminated, steps = False, 0
    while not terminated and steps < 300:  # serve, and let the ball fall: a life is lost within some 30 steps
        terminated = env.step(1 if steps < 2 else 0)[2]
        steps += 1
    assert terminated
    assert env.unwrapped.ale.lives() == 4
    env.close()
    record = environment_record("fqi/Pong-v0")
    assert record["max_episode_steps"] == 27_000


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "needs the kwarg game"),
        ({"game": "Chess"}, 'such as "Pong" or "SpaceInvaders" .got \'Chess\''),
        ({"game": "Pong", "sticky": 1}, "sticky of fqi/Atari-v0 must be a probability below 1"),
        ({"game": "Pong", "noops": -1}, "noops"),
        ({"game": "Pong", "life_loss": 1}, "life_loss of fqi/Atari-v0 must be true or false"),
    ],
)
@needs_ale
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_slots({"id": "fqi/Atari-v0", "kwargs": kwargs}, 1)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atari.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="'ale_py', which is not installed: pip install ale-py"):
        make_slots({"id": "fqi/Pong-v0"}, 1)


def test_pong_by_hand() -> None:
    frame = np.full((84, 84), 87, np.uint8)
    frame[40:47, 73:76] = 147  # our paddle, 7 rows around row 43
    high, level, low, moving = frame.copy(), frame.copy(), frame.copy(), frame.copy()
    for image, row in ((high, 30), (level, 43), (low, 60), (moving, 47)):
        image[row, 40] = 236
    moving[38:40, 73:76] = 147  # it looks 9 rows tall: middle 42, the ball 5 below
    nothing = frame
    found = atari.pong(np.stack((high, level, low, moving, nothing)))
    assert found.tolist() == [2, 0, 3, 0, 0]
