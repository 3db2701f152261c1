"""Scripted experts: hand-checked actions, the returns they promise, and what they refuse."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from fqi.environments.make import environment_record, make_slots
from fqi.errors import UserError
from fqi.nest import Array
from fqi.scripted import EXPERTS, expert, expert_for


def returns(name: str, episodes: int) -> Array:
    """Undiscounted returns of the seeds 0, 1, … under the environment's registered limit."""
    record = environment_record(expert(name).environments[0])
    slots, living, totals = make_slots(record, episodes), np.arange(episodes), np.zeros(episodes)
    expert(name).check_fits(slots.observation_space, slots.action_space)
    frames = slots.reset(living, living)
    for _ in range(record["max_episode_steps"]):
        assert not isinstance(frames, dict)
        frames, rewards, terminations, truncations, _ = slots.step(living, expert(name).act(frames))
        totals[living] += rewards
        going = ~(terminations | truncations)
        assert not isinstance(frames, dict)
        frames, living = frames[going], living[going]
        if not len(living):
            break
    return totals


@pytest.mark.parametrize(
    ("name", "episodes", "least"),
    [
        ("cartpole", 500, 499.9),
        ("mountaincar", 400, -101.0),
        ("acrobot", 200, -80.0),
        ("pendulum", 200, -165.0),
        ("discrete-pendulum", 200, -165.0),
        ("nfq-pole", 100, 0.0),
    ],
)
def test_mean_return(name: str, episodes: int, least: float) -> None:
    assert returns(name, episodes).mean() >= least


@pytest.mark.parametrize(
    ("name", "frame", "action"),
    [
        ("cartpole", [0, 0, 0.1, 0], 1),  # the pole leans right: push right
        ("cartpole", [0, 0, 0.01, -0.2], 0),  # it already swings back faster than it leans: push left
        ("mountaincar", [-0.5, 0.01], 2),  # at the foot, with the speed
        ("mountaincar", [-0.5, -0.01], 0),
        ("acrobot", [1, 0, 1, 0, 0, 1], 2),  # with the second link's turning
        ("acrobot", [1, 0, 1, 0, 0, -1], 0),
        ("pendulum", [1, 0, 0], [0.0]),  # upright and at rest: no torque
        ("pendulum", [-1, 0, 1], [2.0]),  # hanging: full torque with the swing
        ("pendulum", [-1, 0, -1], [-2.0]),
        ("discrete-pendulum", [1, 0, 0], 2),  # upright and at rest: the torque 0 is number 2 of five
        ("discrete-pendulum", [-1, 0, 1], 4),
        ("lunarlander", [0, 1, 0, -1, 0, 0, 0, 0], 2),  # falls too fast: up
        ("lunarlander", [0, 1, 0, -0.5, 0.5, 0, 0, 0], 3),  # leans to the left and sinks slowly: turn
        ("lunarlander", [0, 0, 0, 0, 0, 0, 1, 1], 0),  # stands
        ("nfq-pole", [0.1, 0], 2),
        ("nfq-pole", [0.1, -1], 0),
        ("nfq-pole", [0.01, 0], 1),
    ],
)
def test_actions(name: str, frame: list[float], action: int | list[float]) -> None:
    np.testing.assert_allclose(expert(name).act(np.array([frame], np.float32))[0], action, atol=1e-6)


@pytest.mark.parametrize("name", EXPERTS)
def test_a_frame_gets_the_same_action_in_any_batch(name: str) -> None:
    found = expert(name)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(300, *found.observation_shape)).astype(np.float32)
    actions = found.act(frames)
    assert actions.dtype == found.action_space.dtype
    assert all(found.action_space.contains(action) for action in actions)
    np.testing.assert_array_equal(actions, np.concatenate([found.act(frames[i : i + 1]) for i in range(300)]))
    assert len(found.act(frames[:0])) == 0


def test_registry() -> None:
    for name, found in EXPERTS.items():
        assert found.name == name
        for id in found.environments:
            assert expert_for(id) is found
            env = gym.make(environment_record(id)["id"]) if id != "CartPole-v0" else None
            if env is not None:
                found.check_fits(env.observation_space, env.action_space)
    assert expert_for("FrozenLake-v1") is None


def test_refusals() -> None:
    with pytest.raises(
        UserError,
        match="choose one of cartpole, mountaincar, acrobot, pendulum, discrete-pendulum, corridor, nfq-pole",
    ):
        expert("lander")
    other = gym.make("MountainCar-v0")
    with pytest.raises(UserError, match="'cartpole' is for CartPole-v1"):
        expert("cartpole").check_fits(other.observation_space, other.action_space)
