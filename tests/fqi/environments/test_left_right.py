"""Left or right: its steps, its noise, and its optimum by two other ways."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from fqi.environments.make import make_slots
from fqi.environments.optima import left_right
from fqi.errors import UserError


def test_noise_rewards_and_ends() -> None:
    count = 40_000
    slots, every = make_slots({"id": "fqi/LeftRight-v0"}, count), np.arange(count)
    first = slots.reset(every, every)
    np.testing.assert_array_equal(first, np.full((count, 1), 5, np.float32))
    frames, rewards, terminations, truncations, _ = slots.step(every, every % 2)
    assert isinstance(frames, np.ndarray)
    place = frames[:, 0]
    for action, mean in ((0, 3.0), (1, 7.0)):
        moved = place[every % 2 == action]
        assert moved.mean() == pytest.approx(mean, abs=0.04)  # five standard errors
        assert moved.std() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(rewards, 50.0 * (place < 0) + 100.0 * (place > 10))
    np.testing.assert_array_equal(terminations, (place < 0) | (place > 10))
    assert terminations.any()
    assert not truncations.any()


def test_the_optimum_solves_bellmans_equation() -> None:
    """Against Gauss and Legendre's integration in place of the trapezoid rule, at places off the grid."""
    places, q = left_right()
    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes, weights = 5 * (nodes + 1), 5 * weights
    ahead = np.interp(nodes, places, q.max(0))
    for place in (0.33, 2.5, 5.0, 9.1):
        for action, mean in enumerate((place - 2, place + 2)):
            inside = (norm.pdf(nodes - mean) * weights) @ ahead
            expected = 50 * norm.cdf(-mean) + 100 * norm.sf(10 - mean) + 0.75 * inside
            assert np.interp(place, places, q[action]) == pytest.approx(expected, abs=0.02)


def test_the_figures_of_the_docstring_and_a_simulation() -> None:
    places, q = left_right()
    np.testing.assert_allclose(q[:, 200], [33.820, 56.046], atol=1e-3)
    better = places[np.argmax(q[1] > q[0])]
    assert better == pytest.approx(2.527, abs=0.025)
    count = 20_000
    slots, living = make_slots({"id": "fqi/LeftRight-v0"}, count), np.arange(count)
    place, weight, gained = slots.reset(living, living), 1.0, np.zeros(count)
    while len(living):
        assert isinstance(place, np.ndarray)
        place, rewards, ends, _, _ = slots.step(living, (place[:, 0] > 2.527).astype(np.int64))
        gained[living] += weight * rewards
        weight *= 0.75
        assert isinstance(place, np.ndarray)
        place, living = place[~ends], living[~ends]
    assert abs(gained.mean() - 56.046) < 4 * gained.std() / np.sqrt(count)


def test_refusals() -> None:
    with pytest.raises(UserError, match="start of fqi/LeftRight-v0 must be one of middle, uniform"):
        make_slots({"id": "fqi/LeftRight-v0", "kwargs": {"start": "left"}}, 1)
