"""Deep Q-learning: online and on a log."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.baselines.dqn import GreedyMember, dqn, offline_dqn
from fqi.baselines.settings import DqnSettings, OfflineDqnSettings
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import leaves
from fqi.options import build
from fqi.transitions import transitions

CARTPOLE = {"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500}
SHORT = DqnSettings(n_step=1, steps=300, warmup=50, every=8, updates=4, width=16, batch=16, target_every=10, looks=2)
STATES = 4


class Corridor:
    """States 0 to 3 in slots, entered at a random one but the last: action 6 goes left, action 7 right. Each step costs
    1; the right end terminates with a reward of 10."""

    observation_space = gym.spaces.Discrete(STATES)
    action_space = gym.spaces.Discrete(2, start=6)

    def __init__(self, count):
        self.count, self.state = count, np.zeros(count, np.int64)

    def reset(self, slots, seeds):
        self.state[slots] = seeds % (STATES - 1)
        return self.state[slots]

    def step(self, slots, actions):
        assert np.isin(actions, [6, 7]).all()
        self.state[slots] = np.clip(self.state[slots] + 2 * (actions - 6) - 1, 0, STATES - 1)
        ended = self.state[slots] == STATES - 1
        return self.state[slots], np.where(ended, 10.0, -1.0), ended, np.zeros(len(slots), bool), None

    def close(self):
        pass


# With gamma .5, from the right: right of 2 ends at 10, right of 1 is -1 + .5 * 10 = 4, right of 0 is -1 + .5 * 4 = 1;
# left of 2 is -1 + .5 * 4 = 1, left of 1 is -1 + .5 * 1 = -.5, and left of 0, where the wall is, too.
BEST = np.array([[-0.5, 1], [-0.5, 4], [1, 10]])

CORRIDOR = DqnSettings(
    n_step=1, loss="huber",
    gamma=0.5, steps=1500, warmup=100, every=4, updates=4, width=32, batch=32, target_every=20, lr=0.01, looks=0,
    epsilon_end=0.5,
)  # fmt: skip


def learned_values(learned):
    return np.stack([policy.q_values(np.arange(STATES - 1)).numpy() for policy in learned.policies])


@pytest.mark.parametrize("given", [
    {},
    {"double": True},
    pytest.param({"replay": "proportional"}, marks=pytest.mark.slow),
    {"loss": "squared", "batch": 20},
    {"rung": "v2"},
    pytest.param({"rung": "v1", "steps": 4000}, marks=pytest.mark.slow),
], ids=str)  # fmt: skip
def test_values_become_the_optimal_ones(given):
    learned = dqn(Corridor(2), replace(CORRIDOR, **given), [1, 2], 50, None)
    found = learned_values(learned)
    assert (found.argmax(2) == 1).all()
    np.testing.assert_allclose(found, np.stack([BEST, BEST]), atol=0.5)


def test_a_time_limit_takes_nothing_from_the_values():
    learned = dqn(Corridor(1), CORRIDOR, [3], 1, None)  # every episode is one step long
    np.testing.assert_allclose(learned_values(learned)[0], BEST, atol=0.3)
    assert learned.logs[0].truncations.any()
    assert not (learned.logs[0].truncations & learned.logs[0].terminations).any()


def content(log):
    columns = [log.actions, log.rewards, log.propensity, log.seeds, *leaves(log.observations).values()]
    return [column.tobytes() for column in columns]


@pytest.mark.parametrize("given", [
    {},
    {"replay": "proportional", "double": True},
    {"rung": "v1"},
    {"rung": "v2", "batch": 20, "n_step": 3, "exploration_repeat": 8},
], ids=str)  # fmt: skip
def test_a_seed_does_not_depend_on_its_neighbours(given):
    settings = replace(SHORT, **given)
    many = dqn(CARTPOLE, settings, [4, 5, 6], 500, None)
    again = dqn(CARTPOLE, settings, [4, 5, 6], 500, None)
    assert torch.equal(many.population.flat, again.population.flat)
    for index, seed in enumerate([4, 5, 6]):
        alone = dqn(CARTPOLE, settings, [seed], 500, None)
        assert torch.equal(alone.population.flat[0], many.population.flat[index])
        assert torch.equal(alone.population.centre[0], many.population.centre[index])
        assert content(alone.logs[0]) == content(many.logs[index])
    assert content(many.logs[0]) != content(many.logs[1])


def test_single_environments_do_not_depend_on_their_neighbours_either():
    record = {"id": "Acrobot-v1", "kwargs": {}, "max_episode_steps": 500}
    many = dqn(record, SHORT, [4, 5], 500, None)
    alone = dqn(record, SHORT, [5], 500, None)
    assert torch.equal(alone.population.flat[0], many.population.flat[1])


def test_the_log_is_the_whole_experience_with_exact_propensities():
    learned = dqn(CARTPOLE, replace(SHORT, capacity=20), [7, 8], 30, None)
    for seed, log in zip([7, 8], learned.logs, strict=True):
        assert log.steps == learned.steps == 300
        assert log.behaviours == ("random", "dqn")
        assert log.behaviour.tolist() == [0] * 50 + [1] * 250
        assert log.environment == {**CARTPOLE, "max_episode_steps": 30}
        assert log.provenance["dqn"]["seed"] == seed
        assert json.loads(json.dumps(log.provenance)) == log.provenance
        assert log.lengths.max() <= 30
        assert (log.propensity[:50] == 0.5).all()
        # Epsilon falls from 1 to .04 over .2 * 300 = 60 steps; of two actions the best has 1 - epsilon / 2.
        epsilon = np.maximum(1 - 0.96 * np.arange(250) / 60, 0.04)
        likely = np.isclose(log.propensity[50:], 1 - epsilon / 2)
        assert (likely | np.isclose(log.propensity[50:], epsilon / 2)).all()
        assert likely[100:].mean() > 0.9
        again = gym.make("CartPole-v1")
        np.testing.assert_array_equal(again.reset(seed=int(log.seeds[0]))[0], log.observations[0])


def test_looks_make_the_curve():
    asked = []

    def judge(policies):
        asked.append(len(policies))
        return np.array([[1.0, 3.0], [5.0, 7.0]]) + len(asked)

    learned = dqn(CARTPOLE, replace(SHORT, looks=3), [7, 8], 500, judge)
    assert asked == [2, 2, 2]
    assert learned.curve[:2] == [
        {"seed": 7, "steps": 100, "updates": 4 * 6, "return": 3.0},  # at steps 56, 64, … 96
        {"seed": 8, "steps": 100, "updates": 4 * 6, "return": 7.0},
    ]
    assert learned.curve[-1] == {"seed": 8, "steps": 300, "updates": learned.updates, "return": 9.0}
    silent = dqn(CARTPOLE, SHORT, [7, 8], 500, None)
    assert not silent.curve
    assert torch.equal(silent.population.flat, learned.population.flat)  # to look changes nothing


def test_the_best_network_may_be_kept():
    weights, scores = [], iter([[0.0, 3.0], [2.0, 1.0], [1.0, 2.0]])

    def judge(policies):
        weights.append(torch.cat([policy.network.flat.clone() for policy in policies]))
        return np.array(next(scores))[:, None]

    learned = dqn(CARTPOLE, replace(SHORT, looks=3, keep="best"), [7, 8], 500, judge)
    assert torch.equal(learned.population.flat[0], weights[1][0])
    assert torch.equal(learned.population.flat[1], weights[0][1])
    assert [fact["episodes_judged"] for fact in learned.facts] == [3, 3]


def corridor_log(mask=None):
    """Every move from every state, forty times over, each an episode that is cut after its step or ends at the goal."""
    state, action = (column.ravel() for column in np.meshgrid(np.arange(3), [6, 7]))
    state, action = np.tile(state, 40), np.tile(action, 40)
    after = np.clip(state + 2 * (action - 6) - 1, 0, 3)
    ended = after == 3
    return Log(
        observations=np.stack([state, after], 1).ravel(),
        actions=action,
        rewards=np.where(ended, 10.0, -1.0),
        terminations=ended,
        truncations=~ended,
        lengths=np.ones(len(state), np.int64),
        observation_space=Corridor.observation_space,
        action_space=Corridor.action_space,
        action_mask=mask,
    )


OFFLINE = OfflineDqnSettings(
    n_step=1, loss="huber", gamma=0.5, updates=1000, width=32, batch=32, target_every=20, lr=0.01
)


@pytest.mark.parametrize("given", [{}, {"double": True}, {"replay": "proportional"}, {"rung": "v2"}], ids=str)
def test_offline_values_become_the_optimal_ones(given):
    learned = offline_dqn(corridor_log(), replace(OFFLINE, **given), [1, 2], None)
    np.testing.assert_allclose(learned_values(learned), np.stack([BEST, BEST]), atol=0.3)
    assert (learned.steps, learned.updates, learned.logs) == (0, 1000, ())


@pytest.mark.parametrize("given", [{}, {"double": True}], ids=str)
def test_offline_the_next_action_is_one_that_the_mask_allows(given):
    log = corridor_log()
    frames = log.observations
    mask = np.ones((len(frames), 2), np.bool_)
    mask[1::2] = np.stack([frames[1::2] != 3, frames[1::2] == 3], 1)  # only left, once a step is made
    learned = offline_dqn(corridor_log(mask), replace(OFFLINE, **given), [1], None)
    # Left for ever costs 1 a step: -2 by gamma .5; right of 0 and 1 is then -1 + .5 * -2, right of 2 ends at 10.
    np.testing.assert_allclose(learned_values(learned)[0], [[-2, -2], [-2, -2], [-2, 10]], atol=0.3)


def test_offline_a_seed_does_not_depend_on_its_neighbours():
    log = dqn(CARTPOLE, SHORT, [0], 500, None).logs[0]
    settings = OfflineDqnSettings(updates=150, width=16, n_step=3)
    many = offline_dqn(log, settings, [1, 2, 3], None)
    alone = offline_dqn(log, settings, [2], None)
    assert torch.equal(alone.population.flat[0], many.population.flat[1])


def test_online_rows_are_those_of_the_log():
    log = dqn(CARTPOLE, SHORT, [0], 500, None).logs[0]
    table = transitions(log, 0.99, 3)  # a log like any other: fitted Q-iteration can take it
    assert len(table) == 300


def test_progress_is_told():
    told = []
    dqn(CARTPOLE, SHORT, [0], 500, None, listen=lambda share, note: told.append((share, note)))
    assert told[-1][0] == 1
    assert "updates" in told[-1][1]
    offline_dqn(corridor_log(), OFFLINE, [1], None, listen=lambda share, note: told.append((share, note)))
    assert told[-1] == (1, "1000 updates")


def test_greedy_policies_know_no_continuous_actions():
    policy = dqn(CARTPOLE, SHORT, [0], 500, None).policies[0]
    assert isinstance(policy, GreedyMember)
    chances = policy.probabilities(np.zeros((3, 4), np.float32))
    assert chances.shape == (3, 2)
    np.testing.assert_array_equal(chances.sum(1), 1)
    with pytest.raises(UserError, match="Discrete"):
        policy.actions(np.zeros((3, 4), np.float32), np.random.default_rng(0))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: dqn(CARTPOLE, SHORT, [], 500, None), "at least one seed"),
    (lambda: dqn(CARTPOLE, replace(SHORT, steps=40), [0], 500, None), r"at least warmup \+ n-step \(51\), found 40"),
    (lambda: dqn(CARTPOLE, replace(SHORT, keep="best"), [0], 500, None), "keep best needs evaluations"),
    (lambda: dqn({"id": "Pendulum-v1"}, SHORT, [0], 200, None), "needs Discrete actions, found Box"),
    (lambda: dqn(Corridor(2), SHORT, [0], 200, None), "expected 1 slots, found 2"),
])  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(("kind", "values", "message"), [
    (DqnSettings, {"rung": "v1", "batch": 32}, "batch has an effect only with rung v2 or v3, found 'v1'"),
    (DqnSettings, {"rung": "v2", "target_every": 7}, "target-every has an effect only with rung v3, found 'v2'"),
    (DqnSettings, {"alpha": 0.5}, "alpha has an effect only with replay proportional, found 'uniform'"),
    (OfflineDqnSettings, {"rung": "v1"}, "rung must be one of v2, v3"),
    (OfflineDqnSettings, {"epsilon_end": 0.1}, "unknown option"),
])  # fmt: skip
def test_an_option_without_effect_is_refused(kind, values, message):
    with pytest.raises(UserError, match=message):
        build(kind, values, "x")
