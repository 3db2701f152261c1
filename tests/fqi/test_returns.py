"""Returns by hand, against a plain loop, and on a chain whose optimal Q is known."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqi.errors import UserError
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.qfunctions.settings import TableSettings
from fqi.qfunctions.table import TableQ
from fqi.returns import BOOTSTRAP, Trace, prepared
from fqi.scan import Scan, Table, greedy_chances
from fqi.settings import resolve
from fqi.transitions import transitions
from fqi.values import Value
from tests.fqi.small import log_of
from tests.strategies import logs

# Steps 0 1 2 3 (terminated) | 4 5 6 (truncated) | 7 (terminated); frames 0-4 | 5-8 | 9-10.
THREE = log_of(([1, 2, 3, 4], "terminated"), ([5, 6, 7], "truncated"), ([8], "terminated"),
               propensity=np.array([0.5, 0.5, 0.25, 1, 0.5, 0.5, 0.5, 1]))  # fmt: skip
# V of the frames after steps 0 … 7, and whether the greedy policy would take the logged actions.
V = torch.tensor([[10.0, 20, 30, 99, 40, 50, 60, 99]], dtype=torch.float64)
GREEDY = torch.tensor([[0.0, 1, 0, 1, 0, 1, 0.5, 0]], dtype=torch.float64)


def train_settings(**flags):
    return resolve({"gamma": 0.5, **flags}, discrete_observations=True).train


def targets(log, values, greedy, **flags):
    rows, returns = prepared(log, train_settings(**flags))
    table = Table.of(rows, like=values)
    return returns(table, Scan(values, values, greedy if returns.asks_greedy else None)), returns


def test_cut_by_hand():
    # Row 0: 1 + .5 (step 1 is greedy: 2 + .5 (step 2 is not: V = 20)) = 1 + .5 * 12 = 7. Row 1: 2 + .5 * 20 = 12.
    # Row 2: 3 + .5 (step 3 is greedy and ends: 4) = 5; row 3: 4.
    # Row 4: 5 + .5 (6 + .5 (step 6 is one of two equally good: 7 + .5 * 60 = 37)) = 5 + .5 * 24.5 = 17.25; row 5: 24.5;
    # row 6: 37, cut by the time limit; row 7 ends: 8.
    found, _ = targets(THREE, V, GREEDY, n_step=3, n_step_rule="cut")
    assert found.tolist() == [[7, 12, 5, 4, 17.25, 24.5, 37, 8]]


def test_two_steps_of_cut_by_hand():
    # Row 4: 5 + .5 (step 5: 6 + .5 * 50 = 31) = 20.5; the others reach no further than before.
    found, _ = targets(THREE, V, GREEDY, n_step=2, n_step_rule="cut")
    assert found.tolist() == [[7, 12, 5, 4, 20.5, 24.5, 37, 8]]


def test_importance_by_hand():
    # Weights greedy / propensity: 0 2 0 1 0 2 1 0, up to 3. One step: 6 12 18 4 25 31 37 8.
    # Row 0: 1 + .5 (-1 * V 10 + 2 * 12) = 8. Row 2: 5. Row 5: 6 + .5 * 37 = 24.5, row 4: 5 + .5 (-40 + 2 * 24.5) = 9.5.
    found, _ = targets(THREE, V, GREEDY, n_step=3, n_step_rule="importance", importance_cap=3.0)
    assert found.tolist() == [[8, 12, 5, 4, 9.5, 24.5, 37, 8]]
    # Up to 1.5: row 0: 1 + .5 (-.5 * 10 + 1.5 * 12) = 7.5; row 4: 5 + .5 (-.5 * 40 + 1.5 * 24.5) = 13.375.
    found, _ = targets(THREE, V, GREEDY, n_step=3, n_step_rule="importance", importance_cap=1.5)
    assert found.tolist() == [[7.5, 12, 5, 4, 13.375, 24.5, 37, 8]]


def test_estimated_propensities_take_the_place_of_the_logs():
    flags = {"n_step": 3, "n_step_rule": "importance", "importance_cap": 3.0}
    told, _ = targets(THREE, V, GREEDY, **flags)
    silent = dataclasses.replace(THREE, propensity=None)
    rows, returns = prepared(silent, train_settings(**flags, propensities="estimated"))
    assert returns.asks_chance
    chance = torch.from_numpy(THREE.propensity.astype(np.float64))
    assert torch.equal(returns(Table.of(rows, like=V), Scan(V, V, GREEDY, chance=chance)), told)
    # A pair that was never counted has a probability of 0: the cap holds, and 0 / 0 is 0.
    nothing = returns(Table.of(rows, like=V), Scan(V, V, GREEDY, chance=torch.zeros(8, dtype=torch.float64)))
    assert torch.isfinite(nothing).all()


def test_lambda_returns_by_hand():
    # Lambda .5, every action followed: row 2: 3 + .5 (.5 * 30 + .5 * 4) = 11.5; row 1: 2 + .5 (.5 * 20 + .5 * 11.5)
    # = 9.875; row 0: 1 + .5 (.5 * 10 + .5 * 9.875) = 5.96875.
    found, _ = targets(THREE, V, None, n_step=9, trace_decay=0.5)
    assert found[0, :4].tolist() == [5.96875, 9.875, 11.5, 4]


def test_a_cap_of_one_is_cut_and_a_decay_of_zero_is_one_step():
    cut, _ = targets(THREE, V, GREEDY, n_step=3, n_step_rule="cut")
    # Where several actions are equally good, importance gives each its share, cut follows any.
    certain = (GREEDY == 1).to(V)
    assert torch.equal(
        targets(THREE, V, certain, n_step=3, n_step_rule="cut")[0],
        targets(THREE, V, certain, n_step=3, n_step_rule="importance", importance_cap=1.0)[0],
    )
    one, _ = targets(THREE, V, GREEDY, n_step=3, n_step_rule="cut", trace_decay=0.0)
    assert one.tolist() == [[6, 12, 18, 4, 25, 31, 37, 8]]
    assert not torch.equal(one, cut)


def test_what_is_ignored_costs_nothing():
    for n in (1, 4):
        rows, returns = prepared(THREE, train_settings(n_step=n))
        assert returns is BOOTSTRAP
        assert rows.returns.tolist() == transitions(THREE, 0.5, n).returns.tolist()


def plain(log, n, gamma, V, c, i):
    """The target of row i by the definition: V and c by row."""
    end = log.terminations[i] or log.truncations[i]
    if log.terminations[i]:
        return float(log.rewards[i])
    if end or n == 1:
        return float(log.rewards[i]) + gamma * V[i]
    later = plain(log, n - 1, gamma, V, c, i + 1)
    return float(log.rewards[i]) + gamma * ((1 - c[i + 1]) * V[i] + c[i + 1] * later)


@settings(max_examples=80, deadline=None)
@given(
    logs(observations=st.just(gym.spaces.Discrete(3)), actions=st.just(gym.spaces.Discrete(4))),
    st.sampled_from(["ignore", "cut", "importance"]), st.integers(2, 7), st.floats(0, 1), st.floats(0, 1),
    st.floats(0.1, 5), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_log_agrees_with_a_plain_loop(log, rule, n, decay, gamma, cap, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, log.steps, generator=generator, dtype=torch.float64)
    greedy = torch.randint(0, 3, (2, log.steps), generator=generator).double() / 2
    flags = {"n_step": n, "n_step_rule": rule, "trace_decay": decay, "gamma": gamma}
    if rule == "importance":
        flags["importance_cap"] = cap
        if log.propensity is None:
            with pytest.raises(UserError, match="this log has none"):
                targets(log, values, greedy, **flags)
            return
    if rule == "ignore" and decay == 1:
        return  # tests of transitions
    found, _ = targets(log, values, greedy, **flags)
    for head in range(2):
        g = greedy[head].numpy()
        c = {
            "ignore": lambda g=g: np.ones(log.steps),
            "cut": lambda g=g: (g > 0).astype(float),
            "importance": lambda g=g: np.minimum(cap, g / log.propensity),
        }[rule]()
        expected = [plain(log, n, gamma, values[head].numpy(), decay * c, i) for i in range(log.steps)]
        np.testing.assert_allclose(found[head].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_decay_of_one_agrees_with_the_rows_that_sum_ahead():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 11, generator=generator, dtype=torch.float64)  # V of every frame
    for n in (2, 3, 9):
        rows = transitions(THREE, 0.5, n)
        table = Table.of(rows, like=frames)
        expected = BOOTSTRAP(table, Scan(frames, frames[:, table.next_frame], None))
        single = Table.of(transitions(THREE, 0.5), like=frames)
        values = frames[:, single.next_frame]
        goes_on = torch.tensor([True, True, True, False, True, True, False, False])
        found = Trace(goes_on, n, 1.0)(single, Scan(values, values, None))
        torch.testing.assert_close(found, expected)


def test_greedy_chances_are_the_members_own():
    # Two members of two heads. Member 0: means (2, 2, 1): a tie; member 1: means (0, 1, 5).
    values = torch.tensor([[[1.0, 3, 1]], [[3.0, 1, 1]], [[0.0, 2, 4]], [[0.0, 0, 6]]])
    assert greedy_chances(values, None, 2)[:, 0].tolist() == [[0.5, 0.5, 0]] * 2 + [[0, 0, 1]] * 2
    allowed = torch.tensor([[True, False, True]])
    assert greedy_chances(values, allowed, 2)[:, 0].tolist() == [[1, 0, 0]] * 2 + [[0, 0, 1]] * 2
    assert greedy_chances(values, torch.zeros(1, 3, dtype=torch.bool), 2)[:, 0].tolist() == [[0, 0, 0]] * 4


# ---- on a chain: states 0, 1, 2; action 1 goes right and right of 2 ends and pays 1; action 0 goes left


def wanderings(episodes=40, right=0.5, seed=0, limit=12):
    generator = np.random.default_rng(seed)
    frames, actions, rewards, ends, cuts, lengths = [], [], [], [], [], []
    for _ in range(episodes):
        state, steps, over = 0, 0, False
        frames.append(state)
        while not over and steps < limit:
            action = int(generator.random() < right)
            over = state == 2 and action == 1
            state, steps = min(max(state + 2 * action - 1, 0), 2), steps + 1
            frames.append(state)
            actions.append(action)
            rewards.append(float(over))
            ends.append(over)
            cuts.append(not over and steps == limit)
        lengths.append(steps)
    taken = np.array(actions)
    return Log(
        observations=np.array(frames), actions=taken, rewards=np.array(rewards), terminations=np.array(ends),
        truncations=np.array(cuts), lengths=np.array(lengths), observation_space=gym.spaces.Discrete(3),
        action_space=gym.spaces.Discrete(2), propensity=np.where(taken == 1, right, 1 - right),
    )  # fmt: skip


# Gamma .5: Q*(2, right) = 1; Q*(1, right) = .5; Q*(0, right) = .25; left is half of the state to the left's best.
OPTIMAL = [[0.125, 0.25], [0.125, 0.5], [0.25, 1]]


def fitted(log, rounds, **flags):
    rows, returns = prepared(log, train_settings(**flags))
    q = TableQ(TableSettings(), log.observation_space, log.action_space, (0,), torch.device("cpu"))
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    for _ in fitted_q_iteration(rows, q, Value(), range(1, rounds + 1), returns=returns):
        pass
    return q.table


@pytest.mark.parametrize("flags", [
    {"n_step_rule": "cut"}, {"n_step_rule": "cut", "trace_decay": 0.8}, {"n_step_rule": "importance"},
    {"n_step_rule": "importance", "importance_cap": 1.3},
])  # fmt: skip
@pytest.mark.parametrize("right", [0.3, 0.7])
def test_cut_and_importance_find_the_optimum_whatever_was_played(flags, right):
    found = fitted(wanderings(right=right), 80, n_step=4, **flags)
    np.testing.assert_allclose(found, OPTIMAL, atol=1e-9)


def test_ignoring_what_was_played_does_not():
    found = fitted(wanderings(right=0.3), 80, n_step=4)
    assert found[0, 1] < 0.2 < OPTIMAL[0][1]
    assert found[1, 1] < 0.4 < OPTIMAL[1][1]


def test_further_looks_spread_a_reward_faster():
    # After one round one step knows only the last one's reward; with traces of four all three greedy steps know it.
    log = wanderings(right=0.7)
    assert fitted(log, 1)[0, 1] == 0
    one, far = fitted(log, 2)[0, 1], fitted(log, 2, n_step=4, n_step_rule="cut")[0, 1]
    assert one == 0 < far
