"""Reacher: each move turns its joints, the goal ends the episode, and the scripted arm reaches it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from fqi.environments import reacher
from fqi.environments.make import make_slots
from fqi.environments.reacher import MOVE, MOVES, NEAR, Reacher, reaching
from fqi.errors import UserError

needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="mujoco is not installed")


def test_there_are_eight_different_moves() -> None:
    assert sorted(map(tuple, MOVES.tolist())) == [
        (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1),
    ]  # fmt: skip


@needs_mujoco
def test_moves_turn_the_joints() -> None:
    env = Reacher()
    for action, move in enumerate(MOVES):
        frame, _ = env.reset(seed=1)
        after, reward, terminated, truncated, info = env.step(np.int64(action))
        before, now = (np.arctan2(f[2:4], f[:2]) for f in (frame, after))
        np.testing.assert_allclose(now - before, MOVE * move, atol=0.015)  # a twelfth is left for later
        assert reward == pytest.approx(-float(np.hypot(*after[8:10])), abs=1e-6)
        assert (terminated, truncated) == (info["is_success"], False)
    env.close()


@needs_mujoco
def test_the_scripted_arm_reaches_the_goal() -> None:
    slots, living = make_slots({"id": "fqi/Reacher-v0"}, 6), np.arange(6)
    frames = slots.reset(living, living)
    for _ in range(60):
        assert isinstance(frames, np.ndarray)
        frames, rewards, ends, _, success = slots.step(living, reaching(frames))
        assert success is not None
        np.testing.assert_array_equal(ends, success)
        np.testing.assert_array_equal(ends, -rewards <= NEAR)
        assert isinstance(frames, np.ndarray)
        frames, living = frames[~ends], living[~ends]
        if not len(living):
            break
    assert not len(living)
    slots.close()


def test_without_mujoco_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reacher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs MuJoCo, which is not installed: pip install 'fqi\[mujoco\]'"):
        make_slots({"id": "fqi/Reacher-v0"}, 1)
