"""The table: exact averages, and value iteration on models that are known."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import stack
from fqi.qfunctions.settings import TableSettings
from fqi.qfunctions.table import TableQ
from fqi.transitions import transitions
from tests.fqi.known import CPU, chain, covering, implied, iterate, model, policy_value, value_iteration


def table(log: Log) -> TableQ:
    return TableQ(TableSettings(), log.observation_space, log.action_space, [0], CPU)


def test_three_state_chain_by_hand() -> None:
    # States 0, 1, 2; action 1 moves right, action 0 left; 2 with action 1 ends with reward 1. Gamma .5.
    # Q*(2, 1) = 1, Q*(1, 1) = .5, Q*(0, 1) = .25; left: Q*(2, 0) = .5 V(1) = .25, Q*(1, 0) = .5 V(0) = .125,
    # Q*(0, 0) = .5 V(0) = .125.
    log = chain()
    q = table(log)
    iterate(q, transitions(log, 0.5), rounds=4)
    expected = torch.tensor([[0.125, 0.25], [0.125, 0.5], [0.25, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(q.values(np.arange(3))[0], expected)


def test_a_pair_is_the_mean_of_its_targets() -> None:
    log = chain(repeats=2)
    rows = transitions(log, 0.5)
    q = table(log)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    targets = torch.where(torch.arange(len(rows)) < len(rows) // 2, 1.0, 4.0)[None].double()
    assert q.fit(targets) == {"pairs": [6]}
    assert (q.values(np.arange(3)) == 2.5).all()


def test_pairs_that_were_not_seen_are_left_out_of_the_maximum() -> None:
    log = chain(only=lambda state, action: action == 0 or state == 2)
    q = table(log)
    iterate(q, transitions(log, 0.5), rounds=4)
    assert q.support(np.arange(3)).tolist() == [[True, False], [True, False], [True, True]]
    # From 1 only the left is known, and from 0 too: both are worth nothing, though the unseen right is.
    torch.testing.assert_close(q.values(np.arange(3))[0, :, 0], torch.zeros(3, dtype=torch.float64))


def test_unseen_actions_do_not_hide_losses() -> None:
    # Every step costs 1: an unseen pair, whose entry is 0, must not look better than what was seen.
    log = chain(only=lambda state, action: action == 1, reward=lambda state, action: -1.0)
    q = table(log)
    iterate(q, transitions(log, 1.0), rounds=4)
    assert q.values(np.arange(3))[0, :, 1].tolist() == [-3.0, -2.0, -1.0]


@pytest.mark.parametrize("name", ["Taxi-v4", "CliffWalking-v1", "FrozenLake-v1"])
@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_equals_value_iteration_on_the_true_model(name: str, gamma: float) -> None:
    env = gym.make(name)
    rounds = 2000 if name == "FrozenLake-v1" else 60
    log = covering(env, each=3 if name == "FrozenLake-v1" else 1)  # its three outcomes are equally likely
    q = table(log)
    iterate(q, transitions(log, gamma), rounds)
    onward, reward = model(env)
    optimal = value_iteration(onward, reward, gamma, rounds)
    assert np.abs(value_iteration(onward, reward, gamma, rounds + 1) - optimal).max() < 1e-7  # it has converged
    assert np.abs(q.values(np.arange(len(reward)))[0].numpy() - optimal).max() < 1e-6


def test_equals_value_iteration_on_the_model_that_the_log_implies() -> None:
    env = gym.make("FrozenLake-v1")
    log = covering(env, each=5, seed=0)  # frequencies far from the truth
    q = table(log)
    iterate(q, transitions(log, 0.99), rounds=2000)
    onward, reward = implied(log, 16, 4)
    assert np.abs(onward - model(env)[0]).max() > 0.1
    optimal = value_iteration(onward, reward, 0.99, 2000)
    assert np.abs(value_iteration(onward, reward, 0.99, 2001) - optimal).max() < 1e-7
    assert np.abs(q.values(np.arange(16))[0].numpy() - optimal).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "gamma", "ceiling"),
    [
        ("Taxi-v4", 1.0, 7.93),
        ("Taxi-v4", 0.99, 6.327464),
        ("CliffWalking-v1", 1.0, -13.0),
        ("CliffWalking-v1", 0.99, -12.247898),
        ("FrozenLake-v1", 0.99, 0.542026),
    ],
)
def test_policies_reach_the_ceiling(name: str, gamma: float, ceiling: float) -> None:
    env = gym.make(name)
    slippery = name == "FrozenLake-v1"
    log = covering(env, each=3 if slippery else 1)
    q = table(log)
    iterate(q, transitions(log, gamma), rounds=1000 if slippery else 60)
    reached = _return_from_starts(env, gamma, q)
    assert reached == pytest.approx(ceiling, abs=1e-6)


@pytest.mark.slow
def test_many_samples_come_close_to_the_ceiling() -> None:
    env = gym.make("FrozenLake-v1")
    log = covering(env, each=300, seed=1)  # the model is only nearly the true one
    q = table(log)
    iterate(q, transitions(log, 0.99), rounds=500)
    reached = _return_from_starts(env, 0.99, q)
    assert 0.5 < reached <= 0.542027


def _return_from_starts(env: gym.Env[Any, Any], gamma: float, q: TableQ) -> float:
    """What the greedy policy earns on the true model, over the environment's own starts."""
    onward, reward = model(env)
    greedy = q.values(np.arange(len(reward)))[0].argmax(1).numpy()
    starts = env.unwrapped.initial_state_distrib  # type: ignore[attr-defined]
    return float(starts @ policy_value(onward, reward, gamma, greedy, steps=3000))


def test_states_of_a_nest_have_one_entry_each() -> None:
    space = gym.spaces.Dict(
        {
            "a": gym.spaces.Discrete(3, start=2),
            "b": gym.spaces.MultiDiscrete(np.array([[2, 3]]), start=np.array([[1, 0]])),
            "c": gym.spaces.MultiBinary(2),
        }
    )
    q = TableQ(TableSettings(), space, gym.spaces.Discrete(2), [0], CPU)
    assert q.states == 3 * 6 * 4
    space.seed(0)
    every = {str(sample): sample for sample in (space.sample() for _ in range(2000))}
    states = q.states_of(stack(list(every.values()), space))
    assert sorted(states.tolist()) == list(range(72))


def test_states_outside_the_space_are_refused() -> None:
    q = TableQ(TableSettings(), gym.spaces.Discrete(3), gym.spaces.Discrete(2), [0], CPU)
    with pytest.raises(UserError, match=r"from 0 to 2, found 3"):
        q.values(np.array([0, 3]))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Box(0, 1, (2,)), "finitely many states, found Box"),
        (gym.spaces.MultiBinary(30), "choose another regressor"),
    ],
)
def test_spaces_without_a_table_are_refused(space: gym.Space[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TableQ(TableSettings(), space, gym.spaces.Discrete(2), [0], CPU)


def test_another_device_is_refused() -> None:
    with pytest.raises(UserError, match="on the CPU only, found the device cuda"):
        TableQ(TableSettings(), gym.spaces.Discrete(3), gym.spaces.Discrete(2), [0], torch.device("cuda"))


@pytest.mark.parametrize(
    ("pairs", "values", "message"),
    [
        ([0, 6], [1.0, 1.0], "from 0 to 5, found 6"),
        ([-1, 3], [1.0, 1.0], "from 0 to 5, found -1"),
        ([3, 3], [1.0, 1.0], "must ascend"),
        ([2, 3], [1.0], "as many values as pairs, found 1 for 2"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs: list[int], values: list[float], message: str) -> None:
    q = TableQ(TableSettings(), gym.spaces.Discrete(3), gym.spaces.Discrete(2), [0], CPU)
    with pytest.raises(UserError, match=message):
        q.restore({"pairs": torch.tensor(pairs), "values": torch.tensor(values, dtype=torch.float64)})
