"""NFQ's mountain car and regulator, and the bicycle: steps by hand, ends and costs."""

from __future__ import annotations

import numpy as np
import pytest

from fqi.environments.bicycle import FALLEN, accelerations, riding
from fqi.environments.make import environment_record, make_slots
from fqi.environments.nfq_control import drive
from fqi.environments.optima import nfq_mountain_car
from fqi.errors import UserError
from fqi.nest import Array


def placed(id: str, states: Array, actions: Array) -> tuple[Array, Array, Array, Array]:
    """A step from these frames [B, S]: what is seen, rewards, terminations, success."""
    slots = make_slots({"id": id}, len(states))
    every = np.arange(len(states))
    slots.reset(every, every)
    place = getattr(slots, "place")  # noqa: B009 (not every kind of slots has it)
    place(every, states)
    frames, rewards, terminations, _, success = slots.step(every, actions)
    assert isinstance(frames, np.ndarray)
    assert success is not None
    return frames, rewards, terminations, success


def test_mountain_car_costs_and_ends() -> None:
    states = np.array([[0.65, 2.0], [-0.97, -2.0], [-0.5, 0.0]], np.float32)  # to the goal, off the edge, neither
    frames, rewards, terminations, success = placed("fqi/NfqMountainCar-v0", states, np.array([1, 0, 1]))
    assert rewards.tolist() == [0.0, -1.0, -0.01]
    assert terminations.tolist() == [True, True, False]
    assert success.tolist() == [True, False, False]
    # At the bottom the slope is 0, so a push of 4 gives 4 m/s² for .05 s, a little less further up.
    np.testing.assert_allclose(frames[2], [-0.5 + 0.5 * 4 * 0.05**2, 0.2], atol=2e-3)


def test_mountain_car_optimum_is_played() -> None:
    best = nfq_mountain_car(np.array([[0.7, 0.0], [0.6, 0.0], [0.5, 0.0]]))
    assert best.steps.tolist() == [1, 7, 12]
    np.testing.assert_allclose(best.values, [0.0, -0.06, -0.11])
    state, steps = np.array([[0.6, 0.0]]), 0
    while state[0, 0] < 0.7:  # straight up is the best there
        state, steps = drive(state, np.array([1])), steps + 1
    assert steps == 7


def test_regulator_costs_and_ends() -> None:
    states = np.array([[0.0, 0, 0, 0], [0.2, 0, 0, 0], [0, 0, 0.2, 0], [2.399, 5, 0, 0], [0, 0, 0.69, 2]], np.float32)
    _, rewards, terminations, success = placed("fqi/NfqRegulator-v0", states, np.ones(5, np.int64))
    assert rewards.tolist() == [0.0, -0.01, -0.01, -1.0, -1.0]
    assert terminations.tolist() == [False, False, False, True, True]
    assert success.tolist() == [True, False, False, False, False]


def test_regulator_starts() -> None:
    for kwargs, spread in (({}, 2.3), ({"spread": 1.0}, 1.0)):
        frames = make_slots({"id": "fqi/NfqRegulator-v0", "kwargs": kwargs}, 2000).reset(*[np.arange(2000)] * 2)
        assert isinstance(frames, np.ndarray)
        assert spread * 0.99 < np.abs(frames[:, 0]).max() <= spread
        assert 0.295 < np.abs(frames[:, 2]).max() <= np.float32(0.3)
    with pytest.raises(UserError, match="spread of fqi/NfqRegulator-v0 must be a length"):
        make_slots({"id": "fqi/NfqRegulator-v0", "kwargs": {"spread": 3}}, 1)


def test_bicycle_accelerations_by_hand() -> None:
    """Upright with the handlebars straight nothing pulls but the rider's shift and the torque."""
    still = np.zeros((4, 1))
    tilt, steer = accelerations(still, np.array([2.0]), np.array([0.02]))
    inertia = 13 / 3 * 15 * 0.94**2 + 60 * 1.24**2
    lean = np.arctan(0.02 / 0.94)
    np.testing.assert_allclose(tilt, 75 * 0.94 * 9.82 * np.sin(lean) / inertia, rtol=1e-12)
    np.testing.assert_allclose(steer, 2 / (0.5 * 1.7 * 0.34**2), rtol=1e-12)
    # Steering by .1 rad throws it outwards: v² (Md r (1/rf + 1/rb) + M h / rCM), radii by their definitions.
    v, turned = 10 / 3.6, np.array([[0.0], [0.0], [0.1], [0.0]])
    front, back, mass = 1.11 / np.sin(0.1), 1.11 / np.tan(0.1), np.hypot(1.11 - 0.66, 1.11 / np.tan(0.1))
    outwards = v**2 * (1.7 * 0.34 * (1 / front + 1 / back) + 75 * 0.94 / mass)
    np.testing.assert_allclose(accelerations(turned, np.zeros(1), np.zeros(1))[0], -outwards / inertia, rtol=1e-12)
    mirrored = accelerations(-turned, np.zeros(1), np.zeros(1))[0]
    np.testing.assert_allclose(mirrored, outwards / inertia, rtol=1e-12)


def test_bicycles_fall_by_chance_and_the_scripted_rider_does_not() -> None:
    count, rng = 300, np.random.default_rng(0)
    slots, living, steps = make_slots({"id": "fqi/Bicycle-v0"}, count), np.arange(count), 0
    slots.reset(living, living)
    while len(living):
        steps += len(living)
        frames, rewards, ends, _, _ = slots.step(living, rng.integers(9, size=len(living)))
        assert isinstance(frames, np.ndarray)
        np.testing.assert_array_equal(ends, np.abs(frames[:, 0]) > np.float32(FALLEN))
        np.testing.assert_array_equal(rewards, -ends.astype(np.float64))
        living = living[~ends]
    assert 75 < steps / count < 105
    every = np.arange(20)
    slots = make_slots({"id": "fqi/Bicycle-v0"}, 20)
    seen = slots.reset(every, every)
    for _ in range(1000):
        assert isinstance(seen, np.ndarray)
        seen, _, ends, _, _ = slots.step(every, riding(seen))
        assert not ends.any()
    assert environment_record("fqi/Bicycle-v0")["max_episode_steps"] == 50_000
