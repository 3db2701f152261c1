"""Environments set to frames go on as the episode did from which the frames were taken."""

from __future__ import annotations

import numpy as np
import pytest

from fqi.environments.make import make_slots
from fqi.environments.placing import PlacedSlots, certain, placer
from fqi.errors import UserError

KINDS = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1",
         "fqi/CarOnTheHill-v0", "fqi/Pendulum-v0", "CliffWalking-v1", "Taxi-v4"]  # fmt: skip


def actions(slots, count, seed=0):
    slots.action_space.seed(seed)
    return np.array([slots.action_space.sample() for _ in range(count)])


@pytest.mark.parametrize("name", KINDS)
def test_play_goes_on_from_a_frame(name):
    every, record = np.arange(30), {"id": name, "kwargs": {}}
    first = make_slots(record, 30)
    first.reset(every, every)
    for step in range(3):
        frames = first.step(every, actions(first, 30, step))[0]
    placed = PlacedSlots(make_slots(record, 30), frames, name)
    np.testing.assert_array_equal(placed.reset(every, every + 100), frames)
    chosen = actions(first, 30, 9)
    mine, theirs = placed.step(every, chosen), first.step(every, chosen)
    np.testing.assert_allclose(mine[0], theirs[0], atol=2e-6)
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-4)
    assert certain(first) == (name not in ("CliffWalking-v1", "Taxi-v4"))
    if name == "Taxi-v4":
        np.testing.assert_array_equal(placed.legal, first.legal)
    placed.close()


def test_mujoco_is_set_by_positions_and_speeds():
    pytest.importorskip("mujoco")
    every, record = np.arange(2), {"id": "InvertedPendulum-v5", "kwargs": {}}
    first = make_slots(record, 2)
    first.reset(every, every)
    frames = first.step(every, np.full((2, 1), 0.5, np.float32))[0]
    placed = PlacedSlots(make_slots(record, 2), frames, "InvertedPendulum-v5")
    placed.reset(every, every)
    push = np.full((2, 1), -0.5, np.float32)
    np.testing.assert_allclose(placed.step(every, push)[0], first.step(every, push)[0], atol=1e-5)
    first.close()
    placed.close()


def test_hidden_states_are_refused():
    slots = make_slots({"id": "fqi/Corridor-v0", "kwargs": {}}, 1)  # the frame does not show the episode's key
    assert placer(slots) is None
    with pytest.raises(UserError, match="cannot be set to a logged frame"):
        PlacedSlots(slots, np.zeros((1, 2), np.int64), "fqi/Corridor-v0")
