"""Steps played again from logged frames: what follows is what was logged."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.states import Replayer, replayer
from fqi.errors import UserError
from fqi.nest import Array
from tests.datasets.helpers import played

# Rounding to float32 is one part in 2^24 of a number: 1e-6 of the largest is more than ten such errors.
VECTORS = [
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Acrobot-v1",
    "Pendulum-v1",
    "fqi/CarOnTheHill-v0",
]
TABLES = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4"]


@pytest.mark.parametrize("env_id", VECTORS)
def test_vectors_follow_as_they_were_logged(env_id: str) -> None:
    log = played(env_id, 600, seed=3)
    frames, frame = np.asarray(log.observations), log.frame_of_step
    found = replayer(log.environment).outcomes(frames[frame], log.actions)
    scale = np.abs(frames).max(axis=0)
    assert (np.abs(found.frames[0] - frames[frame + 1]) <= 1e-6 * scale).all()
    np.testing.assert_allclose(found.rewards[0], log.rewards, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.terminations[0], log.terminations)
    assert found.possible.all()


@pytest.mark.parametrize("env_id", TABLES)
def test_tables_hold_what_was_logged(env_id: str) -> None:
    log = played(env_id, 600, seed=3)
    frames, frame = np.asarray(log.observations), log.frame_of_step
    found = replayer(log.environment).outcomes(frames[frame], log.actions)
    same = (found.frames == frames[frame + 1]) & (found.rewards == log.rewards)
    assert (same & (found.terminations == log.terminations) & found.possible).any(axis=0).all()


def one(environment: dict[str, Any], frame: Any, action: Any) -> tuple[Array, float, bool]:
    """What follows one step."""
    known: Replayer = replayer(environment)
    found = known.outcomes(np.array([frame], known.observation_space.dtype), np.array([action]))
    return found.frames[0, 0], float(found.rewards[0, 0]), bool(found.terminations[0, 0])


def test_a_step_worked_by_hand() -> None:
    # MountainCar: at position -pi/6 the slope is cos(3p) = 0, so action 2 adds exactly .001 to the speed of 0.
    frame, reward, end = one({"id": "MountainCar-v0"}, [-np.pi / 6, 0.0], 2)
    np.testing.assert_allclose(frame, [-np.pi / 6 + 0.001, 0.001], atol=1e-7)
    assert (reward, end) == (-1.0, False)
    # Pendulum at rest upright with torque 2: speed 3 * 2 * .05 = .3, cost .001 * 4.
    frame, reward, end = one({"id": "Pendulum-v1"}, [1.0, 0.0, 0.0], [np.float32(2.0)])
    np.testing.assert_allclose(frame, [np.cos(0.015), np.sin(0.015), 0.3], atol=1e-6)
    assert (reward, end) == (pytest.approx(-0.004), False)
    # CliffWalking: from the start (36), right is the cliff: -100 and back.
    frame, reward, end = one({"id": "CliffWalking-v1"}, 36, 1)
    assert (int(frame), reward, end) == (36, -100.0, False)


def test_arguments_count() -> None:
    heavy = one({"id": "Pendulum-v1", "kwargs": {"g": 20.0}}, [0.0, 1.0, 0.0], [np.float32(0.0)])[0]
    light = one({"id": "Pendulum-v1", "kwargs": {"g": 1.0}}, [0.0, 1.0, 0.0], [np.float32(0.0)])[0]
    np.testing.assert_allclose([heavy[2], light[2]], [1.5, 0.075], atol=1e-6)  # 3 g / 2 sin(th) dt
    after = one({"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}}, [2.39, 5.0, 0.0, 0.0], 1)
    assert after[1:] == (-1.0, True)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (None, "does not name"),
        ({"id": "Blackjack-v1"}, "cannot be set to a logged frame"),
        ({"id": "module:Some-v0"}, "cannot be set to a logged frame"),
        ({"id": "Taxi-v4", "kwargs": {"fickle_passenger": True}}, "fickle"),
        ({"id": "FrozenLake-v1", "kwargs": {"map_name": None}}, "without a map"),
        ({"id": "FrozenLake-v1", "kwargs": {"desc": ["S" * 30_000]}}, "too large"),
        ({"id": "FrozenLake-v1", "kwargs": {"nope": 1}}, "could not be made"),
        ({"id": "CartPole-v1", "kwargs": {"nope": 1}}, "cannot be set"),
        ({"id": "Pendulum-v1", "kwargs": {"g": "x"}}, "cannot be played"),
    ],
)
def test_what_cannot_be_played_again_is_refused(environment: dict[str, Any] | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        replayer(environment)


def test_a_log_that_was_rendered_is_played_without_a_window() -> None:
    found = replayer({"id": "CartPole-v1", "kwargs": {"render_mode": "human"}})
    assert found.action_space == gym.spaces.Discrete(2)
