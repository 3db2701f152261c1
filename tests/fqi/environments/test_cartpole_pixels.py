"""CartPole in images: Gymnasium's dynamics, and what the picture must show."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.cartpole_pixels import Setting, advance, picture, program
from fqi.environments.make import environment_record, make_slots
from fqi.errors import UserError


def test_dynamics_are_gymnasiums_with_its_other_integrator() -> None:
    env: Any = gym.make("CartPole-v1").unwrapped
    env.kinematics_integrator = "semi-implicit"
    env.reset(seed=0)
    world = program(Setting())
    states, rng = world.start(np.array([7])), np.random.default_rng(0)
    env.state = states[:, 0]
    for _ in range(200):
        action = int(rng.integers(2))
        _, reward, terminated, _, _ = env.step(action)
        states, rewards, terminations = world.step(states, np.array([action]))
        np.testing.assert_allclose(states[:, 0], env.state, rtol=1e-9, atol=1e-12)
        assert (rewards[0], terminations[0]) == (reward, terminated)
        if terminated:
            break
    assert terminated


def test_a_picture_by_hand() -> None:
    """10 rows of 20 columns over 5 m: 4 columns a metre. Rows are .116 m high; the cart fills the lowest 1.38."""
    image = picture(np.array([0.0]), np.array([0.0]), 10)[0]
    # The cart is .5 m = 2 columns wide: columns 9 and 10 at 120. The pole is 1.25 columns wide, half in each.
    np.testing.assert_allclose(image[9], [0] * 9 + [120, 120] + [0] * 9, atol=1e-3)
    np.testing.assert_allclose(image[4], [0] * 9 + [0.625 * 255] * 2 + [0] * 9, atol=1e-3)
    moved = picture(np.array([1.0]), np.array([0.0]), 10)[0]
    np.testing.assert_allclose(moved[:, 4:], image[:, :-4], atol=1e-3)  # four columns to the right
    leaning = picture(np.array([0.0]), np.array([0.2]), 10)[0]
    right = 10 + np.tan(0.2) * (8.5 * 0.116 - 0.16) * 4 + 0.625  # 11.295: the pole's right edge in row 1, 8.5 rows high
    expected = np.array([11 - (right - 1.25), right - 11]) * 255
    np.testing.assert_allclose(leaning[1], [0] * 10 + expected.tolist() + [0] * 8, atol=1e-3)


def test_channels_show_the_motion() -> None:
    states = np.array([[0.3, 0.0], [1.0, 0.0], [0.05, 0.1], [-0.5, 0.0]])  # the first moves, the second rests
    both, pair, change = (program(Setting(show=show)).frames(states) for show in ("both", "pair", "difference"))
    np.testing.assert_array_equal(both[:, 0], pair[:, 0])
    np.testing.assert_array_equal(both[:, 1:], change)
    now, before = pair[:, 0].astype(int), pair[:, 1].astype(int)
    np.testing.assert_array_equal(change[:, 0], np.clip(128 + 2 * (now - before), 0, 255))
    assert (change[1] == 128).all()
    assert np.ptp(change[0]) > 50


def test_before_is_the_frame_before() -> None:
    world = program(Setting(show="pair"))
    states = world.start(np.arange(50))
    for step in range(10):
        after = world.step(states, np.full(50, step % 2))[0]
        np.testing.assert_allclose(
            world.frames(after)[:, 1].astype(int), world.frames(states)[:, 0].astype(int), atol=1
        )  # the place is reckoned back, so a level may round otherwise
        states = after


def test_neighbouring_states_look_different() -> None:
    """What a linear balancing law must tell apart: .02 m, .2 m/s, .005 rad and .05 rad/s."""
    here = np.array([[0.1], [0.1], [0.01], [0.1]])
    base = program(Setting()).frames(here).astype(int)
    for row, change in enumerate((0.02, 0.2, 0.005, 0.05)):
        there = here.copy()
        there[row] += change
        assert np.abs(program(Setting()).frames(there).astype(int) - base).max() >= 5


def test_a_linear_law_balances() -> None:
    states = program(Setting()).start(np.arange(100))
    for _ in range(500):
        place, speed, angle, rate = states
        states = advance(states, (place + speed + 10 * angle + 2 * rate > 0).astype(np.int64))
        assert (np.abs(states[0]) < 2.4).all()
        assert (np.abs(states[2]) < 0.2).all()
    assert environment_record("fqi/CartPolePixels-v0")["max_episode_steps"] == 500


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"size": 4}, "size of fqi/CartPolePixels-v0 must be .* from 8 to 128"), ({"show": "all"}, "must be one of both")],
)
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_slots({"id": "fqi/CartPolePixels-v0", "kwargs": kwargs}, 1)
