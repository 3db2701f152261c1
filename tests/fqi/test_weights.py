"""Weights by hand, what every regressor makes of them, and tables whose optimum they must not move."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.linear import LinearQ
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.settings import LinearSettings, MlpSettings, TableSettings, TreesSettings
from fqi.qfunctions.table import TableQ
from fqi.qfunctions.trees import TreesQ
from fqi.scan import Scan
from fqi.settings import resolve
from fqi.transitions import transitions
from fqi.values import Value
from fqi.weights import Fixed, Prioritised, parsed, uniform, weighting
from tests.fqi.known import chain
from tests.fqi.small import log_of

CPU = torch.device("cpu")
MIXED = log_of(
    ([1, 2, 3, 4], "terminated"), ([5, 6], "truncated"),
    behaviour=np.array([0, 0, 1, 1, 2, 2], np.int32),
    behaviours=("random", "scripted,epsilon=0.1", "scripted,epsilon=0.5"),
)  # fmt: skip


def settings(**flags):
    return resolve(flags, discrete_observations=False).train


def seen(logged):
    logged = torch.tensor(logged, dtype=torch.float64)
    return Scan(logged, logged, None)


# ---- by hand


def test_priorities_by_hand():
    # Residuals 3, 1, 0, 0: mean 1, floor .01. Alpha 1: 3.01, 1.01, .01, .01 of 4.04.
    rule = Prioritised(alpha=1.0, beta=0.5, rounds=10)
    targets = torch.tensor([[3.0, -1, 2, 0]], dtype=torch.float64)
    now = seen([[0.0, 0, 2, 0]])
    weights = rule(1, targets, now)
    chance = torch.tensor([[3.01, 1.01, 0.01, 0.01]], dtype=torch.float64) / 4.04
    torch.testing.assert_close(weights.draw, chance)
    torch.testing.assert_close(weights.slope, (4 * chance) ** -0.5)
    # Half of the way to 1 after half of the rounds; from the eleventh round on the bias is undone.
    torch.testing.assert_close(rule(6, targets, now).slope, (4 * chance) ** -0.75)
    for number in (11, 500):
        undone = rule(number, targets, now)
        torch.testing.assert_close(undone.draw * undone.slope, torch.full((1, 4), 0.25, dtype=torch.float64))


def test_without_residuals_all_rows_are_alike():
    weights = Prioritised(0.6, 0.4, 10)(1, torch.zeros(2, 3), Scan(torch.zeros(2, 3), torch.zeros(2, 3), None))
    torch.testing.assert_close(weights.draw, torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(weights.slope, torch.ones(2, 3))


def test_heads_have_priorities_of_their_own():
    targets = torch.tensor([[1.0, 0], [0, 4]], dtype=torch.float64)
    both = Prioritised(0.6, 0.4, 10)(1, targets, seen([[0.0, 0], [0, 0]]))
    alone = Prioritised(0.6, 0.4, 10)(1, targets[1:], seen([[0.0, 0]]))
    assert torch.equal(both.draw[1:], alone.draw)
    assert both.draw[0, 0] > both.draw[0, 1]


def test_discounted_occupancy_by_hand():
    rule = weighting(MIXED, settings(occupancy="discounted", gamma=0.5))
    found = rule(1, torch.zeros(2, 6, dtype=torch.float64), seen([[0.0] * 6] * 2)).draw
    assert found.tolist() == [[1, 0.5, 0.25, 0.125, 1, 0.5]] * 2
    both = weighting(MIXED, settings(occupancy="discounted", gamma=0.5, behaviour_weights="random=4"))
    assert both(1, torch.zeros(1, 6), seen([[0.0] * 6])).draw.tolist() == [[4, 2, 0.25, 0.125, 1, 0.5]]
    late = weighting(log_of(([0] * 50, "truncated")), settings(occupancy="discounted", gamma=0.1))
    assert late(1, torch.zeros(1, 50), seen([[0.0] * 50])).draw.min() > 0  # rows must be drawn now and then


def test_behaviours_by_name_and_by_the_part_before_the_comma():
    rule = weighting(MIXED, settings(behaviour_weights="random=0.5, scripted=3"))
    assert isinstance(rule, Fixed)
    assert rule.each.tolist() == [0.5, 0.5, 3, 3, 3, 3]
    weights = rule(1, torch.zeros(2, 6), seen([[0.0] * 6] * 2))
    assert weights.draw.tolist() == [[0.5, 0.5, 3, 3, 3, 3]] * 2
    assert weights.slope is None
    assert weighting(MIXED, settings(behaviour_weights="random=4")).each.tolist() == [4, 4, 1, 1, 1, 1]
    assert weighting(MIXED, settings()) is uniform


def test_weights_of_behaviours_are_not_undone():
    rule = weighting(MIXED, settings(behaviour_weights="random=5", weights="prioritised", priority_beta=1.0))
    targets = torch.arange(6, dtype=torch.float64)[None]
    weights = rule(1, targets, seen([[0.0] * 6]))
    product = weights.draw * weights.slope
    torch.testing.assert_close(product / product[0, 5], torch.tensor([[5.0, 5, 1, 1, 1, 1]], dtype=torch.float64))


def test_split_heads_share_the_episodes_out():
    log = log_of(*[([1.0] * n, "truncated") for n in (3, 1, 4, 1, 5, 9, 2)])
    rule = weighting(log, settings(weights="split", ensemble=3, seeds=2, seed=5))
    own = rule(1, torch.zeros(6, 25), seen([[0.0] * 25] * 6)).draw > 0.5
    for member in range(2):
        assert (own[3 * member : 3 * member + 3].sum(0) == 1).all()  # every row is one head's
        for episode in range(7):
            rows = log.episode_of_step == episode
            assert all(own[p, rows].all() or not own[p, rows].any() for p in range(6))
        counts = [len(np.unique(log.episode_of_step[own[3 * member + h]])) for h in range(3)]
        assert sorted(counts) == [2, 2, 3]
    alone = weighting(log, settings(weights="split", ensemble=3, seed=6))
    assert torch.equal(alone.each, rule.each[3:])  # a member hangs on its own seed alone
    weighed = weighting(dataclasses.replace(MIXED), settings(weights="split", ensemble=2, behaviour_weights="random=4"))
    assert sorted(weighed.each.amax(0).tolist()) == [1, 1, 1, 1, 4, 4]
    with pytest.raises(UserError, match="each of 8 heads episodes of its own, but the log holds only 7"):
        weighting(log, settings(weights="split", ensemble=8))


@pytest.mark.parametrize(("log", "text", "message"), [
    (MIXED, "expert=2", "nobody called 'expert' acted in this log: random, scripted,epsilon=0.1"),
    (dataclasses.replace(MIXED, behaviour=None, behaviours=()), "random=2", "this log does not say who acted"),
])  # fmt: skip
def test_what_does_not_fit_the_log_is_named(log, text, message):
    with pytest.raises(UserError, match=message):
        weighting(log, settings(behaviour_weights=text))


def test_numbers_are_read():
    assert parsed("random=1,sb3:PPO:a=b.zip=2e-1") == {"random": 1, "sb3:PPO:a=b.zip": 0.2}


# ---- every regressor

BOX = gym.spaces.Box(-1, 1, (1,))
LEARNERS = {
    "table": (TableQ, TableSettings(), gym.spaces.Discrete(2)),
    "linear": (LinearQ, LinearSettings(features="raw", ridge=1e-9), BOX),
    "linear-tiles": (LinearQ, LinearSettings(features="tiles:2:2", ridge=1e-9), BOX),
    "trees": (TreesQ, TreesSettings(trees=3, jobs=1), BOX),
    "trees-frozen": (TreesQ, TreesSettings(trees=3, jobs=1, freeze_structure_after=1), BOX),
    "mlp": (Mlp, MlpSettings(width=8, depth=1, updates=300, batch=32), BOX),
}


def two_states(space, each=16):
    """Both states with both actions, `each` steps of each pair."""
    B = 4 * each
    state = np.repeat([0, 0, 1, 1], each)
    place = state if isinstance(space, gym.spaces.Discrete) else state[:, None].astype(np.float32)
    return Log(
        observations=np.repeat(place, 2, axis=0), actions=np.repeat([0, 1, 0, 1], each), rewards=np.zeros(B),
        terminations=np.ones(B, np.bool_), truncations=np.zeros(B, np.bool_), lengths=np.ones(B, np.int64),
        observation_space=space, action_space=gym.spaces.Discrete(2),
    )  # fmt: skip


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("by", ["draw", "slope", "both"])
def test_a_row_counts_as_much_as_it_weighs(name, by):
    # In every pair half of the targets are 0 and weigh 1, half are 1 and weigh 3: their mean is .75.
    kind, options, space = LEARNERS[name]
    log = two_states(space)
    rows = transitions(log, 0.9)
    q = kind(options, log.observation_space, log.action_space, (5,), CPU)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    like = q.log_values(0, 1)
    targets = torch.arange(len(rows)).remainder(2).to(like)[None]
    heavy = 1 + 2 * targets
    weights = {
        "draw": Weights(7 * heavy), "slope": Weights(torch.ones_like(heavy), 0.2 * heavy),
        "both": Weights(heavy.sqrt(), heavy.sqrt()),
    }[by]  # fmt: skip
    with torch.no_grad():
        for _ in range(2):
            q.fit(targets, weights)
        found = q.values(log.observations)[0]
        slack = 0.08 if kind is Mlp else 1e-6
        torch.testing.assert_close(found, torch.full_like(found, 0.75), atol=slack, rtol=0)
        if kind is not Mlp:
            q.fit(targets)
            torch.testing.assert_close(q.values(log.observations)[0], torch.full_like(found, 0.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "mlp"])
def test_held_out_rows_weigh_nothing(name):
    kind, options, space = LEARNERS[name]
    log = two_states(space)
    rows = transitions(log, 0.9)
    training = torch.arange(len(rows)) % 3 > 0
    q = kind(options, log.observation_space, log.action_space, (5,), CPU)
    q.bind(rows, training)
    targets = torch.where(training, 1.0, 100.0).to(q.log_values(0, 1))[None]
    q.fit(targets, Weights(torch.where(training, 1.0, 100.0).to(targets)[None]))
    found = q.values(log.observations)
    torch.testing.assert_close(found, torch.ones_like(found), atol=1e-6, rtol=0)


# ---- a table whose optimum is known


@pytest.mark.parametrize("rule", [
    Prioritised(0.6, 0.4, 5), Prioritised(1.0, 0.0, 5), Fixed(torch.linspace(0.1, 5, 18, dtype=torch.float64)),
])  # fmt: skip
def test_weights_do_not_move_what_every_row_agrees_on(rule):
    # Where the outcome of a pair is certain all of its targets are equal, whatever they weigh. Gamma .5: as in
    # test_iteration, but that left of 1 is 0 and left of 2 is 1.
    log = chain(3)
    rows = transitions(log, 0.5)
    q = TableQ(TableSettings(), log.observation_space, log.action_space, (0,), CPU)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    for _ in fitted_q_iteration(rows, q, Value(), range(1, 30), weights=rule):
        pass
    np.testing.assert_allclose(q.table, [[0.125, 0.25], [0.125, 0.5], [0.25, 1]], atol=1e-8)
