"""Car-on-the-Hill: its equations, its ends, its starts and its known optimum."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import fqi.environments
from fqi.environments.car_on_the_hill import CarOnTheHillSlots, advance, literature_states, outcome
from fqi.environments.make import make_single
from fqi.environments.optima import car_on_the_hill, car_on_the_hill_literature
from fqi.errors import UserError

ID = "fqi/CarOnTheHill-v0"


def car(**kwargs: Any) -> gym.Env[Any, Any]:
    return make_single({"id": ID, "kwargs": kwargs})


def test_registered_once_and_conforms_to_gymnasium() -> None:
    assert fqi.environments
    assert gym.spec(ID).max_episode_steps == 500
    check_env(gym.make(ID, disable_env_checker=True).unwrapped)


def test_one_control_step_follows_the_equations_of_the_paper() -> None:
    # Written out again with powers and a branch, for one car on either side of the foot.
    for position, speed, action in [(-0.5, 0.0, 0), (-0.5, 0.0, 1), (-0.05, 1.5, 1), (0.4, -2.0, 0), (0.9, 2.9, 1)]:
        p, s, u = position, speed, -4.0 + 8.0 * action
        for _ in range(100):
            first = 2 * p + 1 if p < 0 else (1 + 5 * p**2) ** -1.5
            second = 2.0 if p < 0 else -15 * p * (1 + 5 * p**2) ** -2.5
            p, s = p + 0.001 * s, s + 0.001 * (u - 9.81 * first - s**2 * first * second) / (1 + first**2)
        np.testing.assert_allclose(advance(np.array([[position, speed]]), np.array([action])), [[p, s]], rtol=1e-12)


def test_many_cars_move_with_the_same_bits_as_one() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.uniform((-1, -3), (1, 3), (200, 2)), rng.integers(0, 2, 200)
    one_by_one = [advance(states[i : i + 1], actions[i : i + 1])[0] for i in range(200)]
    np.testing.assert_array_equal(advance(states, actions), one_by_one)


def test_frames_lie_inside_the_observation_space() -> None:
    corners = literature_states()
    after = np.concatenate([advance(corners, np.full(289, action)) for action in (0, 1)])
    space = car().observation_space
    assert all(space.contains(frame) for frame in after.astype(np.float32))


@pytest.mark.parametrize(
    ("state", "goal", "crashed"),
    [
        ((1.0, 3.0), False, False),  # on the limits, not beyond
        ((1.01, 2.9), True, False),
        ((1.01, 3.01), False, True),  # too fast is a crash even at the top
        ((-1.01, 0.0), False, True),
        ((0.0, -3.01), False, True),
    ],
)
def test_outcome(state: tuple[float, float], goal: bool, crashed: bool) -> None:
    found_goal, found_crashed = outcome(np.array([state]))
    assert (found_goal[0], found_crashed[0]) == (goal, crashed)


def test_rewards_and_success_at_either_end() -> None:
    env = car()
    env.reset(options={"state": (0.9, 2.0)})
    _, reward, terminated, truncated, info = env.step(1)
    assert (reward, terminated, truncated, info["is_success"]) == (1.0, True, False, True)
    env.reset(options={"state": (-0.9, -2.0)})
    _, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated, info["is_success"]) == (-1.0, True, False, False)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


def test_starts() -> None:
    np.testing.assert_array_equal(car().reset(seed=3)[0], np.array([-0.5, 0.0], np.float32))
    grid = car(start="grid")
    frames = [grid.reset(seed=seed)[0] for seed in range(289)]
    np.testing.assert_array_equal(frames, literature_states())  # eighths are exact in float32
    uniform = car(start="uniform")
    drawn = np.array([uniform.reset(seed=seed)[0] for seed in range(500)])
    assert (np.abs(drawn) <= (1, 3)).all()
    np.testing.assert_allclose(drawn.std(axis=0), np.array([1, 3]) / np.sqrt(3), rtol=0.1)
    np.testing.assert_array_equal(uniform.reset(seed=7)[0], drawn[7])


@pytest.mark.parametrize("options", [{"state": (1.5, 0.0)}, {"state": (0.0, np.nan)}, {"state": 1.0}, {"start": 1}])
def test_reset_refuses_what_no_episode_can_start_from(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        car().reset(options=options)


def test_unknown_start_is_refused() -> None:
    with pytest.raises(UserError, match="bottom, uniform, grid"):
        CarOnTheHillSlots(1, start="top")


def test_random_episodes_have_the_known_length_and_luck() -> None:
    # Over many sets of 1,000 episodes: 59,976 steps on average with a deviation of 1,188, and 14.6 goals with 3.1.
    rng = np.random.default_rng(0)
    slots, living, steps, goals = CarOnTheHillSlots(1000), np.arange(1000), 0, 0
    slots.reset(living, living)
    while len(living):
        steps += len(living)
        _, rewards, terminations, _, _ = slots.step(living, rng.integers(0, 2, len(living)))
        goals += int((rewards == 1).sum())
        living = living[~terminations]
    assert 57_000 < steps < 63_000
    assert 6 <= goals <= 24


@pytest.mark.slow
def test_optimum_over_the_literature_states() -> None:
    best = car_on_the_hill_literature()
    assert best.values.mean() == pytest.approx(0.35276, abs=5e-6)
    assert (int(best.reaches_goal.sum()), int((~best.reaches_goal).sum())) == (241, 48)
    assert int(best.steps.max()) == 22
    assert (best.values[~best.reaches_goal] < 0).all()  # they crash whatever they do, at best after six steps
    assert int(best.steps[~best.reaches_goal].max()) == 6
    # By hand: at (1, 0.375) full force reaches the goal at once; at (-1, -3) nothing prevents the crash.
    np.testing.assert_array_equal(best.values[[16 * 17 + 9, 0]], [1.0, -1.0])


def test_optimum_from_the_bottom_is_reached_by_a_real_sequence() -> None:
    best = car_on_the_hill(np.array([[-0.5, 0.0]]))
    assert best.steps[0] == 19
    assert best.values[0] == pytest.approx(0.95**18)
    assert car_on_the_hill(np.array([[-0.5, 0.0]]), gamma=1.0).values[0] == 1.0


def test_short_optima_equal_an_exhaustive_search() -> None:
    states, best, some = literature_states(), car_on_the_hill_literature(), slice(2, 289, 9)
    for state, steps, reaches in zip(states[some], best.steps[some], best.reaches_goal[some], strict=True):
        living, lived = state[None], 0
        for step in range(1, min(int(steps), 9) + 1):
            living = advance(np.repeat(living, 2, axis=0), np.tile([0, 1], len(living)))
            goal, crashed = outcome(living)
            lived = step
            assert goal.any() == (reaches and step == steps)
            living = living[~(goal | crashed)]
        if not reaches:
            assert lived == steps
            assert len(living) == 0
