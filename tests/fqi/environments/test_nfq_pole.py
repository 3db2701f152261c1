"""NFQ's pole: its equation by hand, its integration against fine steps, its noise, its ends."""

from __future__ import annotations

import numpy as np
import pytest

from fqi.environments.make import environment_record, make_slots
from fqi.environments.nfq_pole import FALLEN, acceleration, advance
from fqi.environments.noise import keys, uniform
from fqi.errors import UserError


def test_accelerations_by_hand() -> None:
    # Upright under 50 N: -(1/10) 50 / (4/3 .5 - (1/10) 2 .5) = -5 / (17/30) = -150/17.
    # Level (pi/2) at rest: 9.8 / (2/3) = 14.7, whatever the force; sin(2 pi/2) and the cosine vanish.
    # At pi/4 with 2 rad/s: (9.8/sqrt 2 - .1 4 / 2) / (2/3 - .1/2).
    found = acceleration(np.array([0.0, np.pi / 2, np.pi / 4]), np.array([0.0, 3.0, 2.0]), np.array([50.0, -50.0, 0.0]))
    np.testing.assert_allclose(found, [-150 / 17, 14.7, (9.8 / np.sqrt(2) - 0.2) / (2 / 3 - 0.05)], rtol=1e-12)


def test_a_step_is_near_the_exact_solution() -> None:
    rng = np.random.default_rng(0)
    angle, rate, force = rng.uniform(-1.5, 1.5, 500), rng.uniform(-3, 3, 500), rng.uniform(-60, 60, 500)
    fine = angle.copy(), rate.copy()
    for _ in range(10_000):  # the midpoint rule
        middle = fine[0] + 0.5e-5 * fine[1], fine[1] + 0.5e-5 * acceleration(*fine, force)
        fine = fine[0] + 1e-5 * middle[1], fine[1] + 1e-5 * acceleration(*middle, force)
    found = advance(angle, rate, force)
    assert np.abs(found[0] - fine[0]).max() < 2e-4
    assert np.abs(found[1] - fine[1]).max() < 2e-3


def test_the_noise_is_even_and_unrelated() -> None:
    key = keys(np.arange(20_000))
    drawn = np.stack([uniform(key, np.full(20_000, tick), stream) for tick in (0, 1) for stream in (0, 1)])
    np.testing.assert_allclose(drawn.mean(1), 0.5, atol=0.01)  # five standard errors
    np.testing.assert_allclose(drawn.var(1), 1 / 12, atol=0.003)
    np.testing.assert_allclose(np.corrcoef(drawn) - np.eye(4), 0, atol=0.036)
    assert (drawn >= 0).all()
    assert (drawn < 1).all()


def test_a_fall_terminates_and_costs_one() -> None:
    slots, every = make_slots({"id": "fqi/NfqPole-v0", "kwargs": {"noise": 0.0}}, 40), np.arange(40)
    slots.reset(every, every)
    for _ in range(10):
        frames, rewards, terminations, truncations, success = slots.step(every, np.full(len(every), 2))
        assert isinstance(frames, np.ndarray)
        np.testing.assert_array_equal(terminations, np.abs(frames[:, 0]) > FALLEN)
        np.testing.assert_array_equal(rewards, np.where(terminations, -1.0, 0.0))
        assert not truncations.any()
        assert success is None
        every = every[~terminations]
    assert not len(every)  # pushed one way all the time, every pole falls within a second


def test_random_episodes_last_as_the_docstring_says() -> None:
    count, rng = 4000, np.random.default_rng(0)
    slots, living, steps = make_slots({"id": "fqi/NfqPole-v0"}, count), np.arange(count), 0
    slots.reset(living, living)
    while len(living):
        steps += len(living)
        living = living[~slots.step(living, rng.integers(3, size=len(living)))[2]]
    assert steps / count == pytest.approx(8.9, abs=0.3)


def test_the_record() -> None:
    assert environment_record("fqi/NfqPole-v0")["max_episode_steps"] == 3000  # 300 s


@pytest.mark.parametrize("noise", [-1.0, True, "much", float("nan")])
def test_refusals(noise: object) -> None:
    with pytest.raises(UserError, match="noise of fqi/NfqPole-v0 must be a force from 0 to 1000 N"):
        make_slots({"id": "fqi/NfqPole-v0", "kwargs": {"noise": noise}}, 1)
