"""Known models against the optima of the literature."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.make import environment_record
from fqi.environments.models import from_table, model_of


@pytest.mark.parametrize(
    ("name", "gamma", "value"),
    [("FrozenLake-v1", 0.99, 0.542026), ("Taxi-v4", 0.99, 6.327464), ("CliffWalking-v1", 1.0, -13.0)],
)
def test_the_optimum_and_what_its_policy_is_worth(name, gamma, value):
    model = model_of(environment_record(name))
    optimum = model.optimum(gamma, 500)
    assert model.starts @ model.best(optimum) == pytest.approx(value, abs=1e-6)
    policy = np.where(model.legal, optimum, -np.inf).argmax(1)
    worth = model.worth(policy, gamma, 500)[np.arange(len(policy)), policy]
    assert model.starts @ worth == pytest.approx(value, abs=1e-6)


def test_shapes_and_ends():
    model = model_of(environment_record("FrozenLake-v1"))
    assert model.grid == (4, 4)
    assert np.flatnonzero(~model.lasting).tolist() == [5, 7, 11, 12, 15]  # the holes and the goal
    assert model.onward.sum(2).max() <= 1 + 1e-12


def test_what_has_no_model():
    assert model_of(None) is None
    assert model_of(environment_record("CartPole-v1")) is None
    assert from_table(gym.make("FrozenLake-v1", map_name=None, desc=None)) is None  # another map each time
