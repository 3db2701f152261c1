"""The fold of rounds, on a chain whose optimal Q is known."""

from __future__ import annotations

import dataclasses
import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi import scan
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.qfunctions.contract import QFunction
from fqi.scan import Scanner, Table
from fqi.transitions import transitions
from fqi.values import VALUE_RULES, Value


class Tabular(QFunction):
    """A table for H equal heads, each with a constant error of its own on every fit; it notes what it is asked."""

    def __init__(self, states, actions, errors=(0.0,), known=None):
        self.heads, self.actions, self.errors, self.known = len(errors), actions, torch.tensor(errors), known
        self.table = torch.zeros(self.heads, states, actions, dtype=torch.float64)
        self.fits, self.asked = [], []

    def bind(self, rows, training):
        self.rows, self.states = rows, torch.from_numpy(rows.log.observations.copy())
        self.pair = self.states[rows.frame] * self.actions + torch.from_numpy(rows.action)

    def fit(self, targets, weights=None):
        self.fits.append(targets.clone())
        for head in range(self.heads):
            for pair in self.pair.unique():
                state, action = divmod(int(pair), self.actions)
                self.table[head, state, action] = targets[head, self.pair == pair].mean() + self.errors[head]
        return {"number": list(range(self.heads))}

    def log_values(self, start, stop):
        self.asked.append((start, stop))
        return self.table[:, self.states[start:stop]]

    def log_support(self, start, stop):
        return None if self.known is None else self.known[self.states[start:stop]]

    def log_chances(self, start, stop):
        return torch.full((stop - start, self.actions), 1 / self.actions, dtype=torch.float64)

    def values(self, frames, heads=slice(None)):
        return self.table[heads][:, torch.from_numpy(frames)]

    def checkpoint(self):
        return {"table": self.table}

    def restore(self, tensors):
        self.table = tensors["table"]


def chain(mask=None):
    """States 0, 1, 2; action 1 goes right, action 0 stays; right of 2 is the end, which pays 1. Every pair once, in
    one episode and six: 0 stay, 0 right, 1 stay, 1 right, 2 stay, 2 right (the end)."""
    return Log(
        observations=np.array([0, 0, 1, 1, 2, 2, 0]),
        actions=np.array([0, 1, 0, 1, 0, 1]),
        rewards=np.array([0.0, 0, 0, 0, 0, 1]),
        terminations=np.arange(6) == 5,
        truncations=np.zeros(6, np.bool_),
        lengths=np.array([6]),
        observation_space=gym.spaces.Discrete(3),
        action_space=gym.spaces.Discrete(2),
        action_mask=mask,
    )


def run(log, q, gamma=0.5, rounds=range(1, 5), rule="max", members=1, n=1, past=(), **looks):
    rows = transitions(log, gamma, n)
    value = Value(VALUE_RULES[rule], seeds=tuple(range(members)), **looks)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    return [
        dataclasses.replace(done, targets=done.targets.clone())
        for done in fitted_q_iteration(rows, q, value, rounds, past=past)
    ]


def test_the_optimal_q_of_the_chain():
    # Gamma .5: Q*(2, right) = 1, Q*(2, stay) = .5; Q*(1, right) = .5 V(2) = .5, Q*(1, stay) = .25;
    # Q*(0, right) = .5 V(1) = .25, Q*(0, stay) = .125.
    q = Tabular(3, 2)
    run(chain(), q)
    assert q.table[0].tolist() == [[0.125, 0.25], [0.25, 0.5], [0.5, 1]]


def test_each_round_is_one_backup_from_the_frozen_q():
    # Round 1: rewards alone. Round 2: 2-stay and 1-right see V(2) = 1. Round 3: 1-stay and 0-right see V(1) = .5.
    q = Tabular(3, 2)
    rounds = run(chain(), q, rounds=range(1, 4))
    assert [done.number for done in rounds] == [1, 2, 3]
    assert [done.targets.tolist() for done in rounds] == [
        [[0, 0, 0, 0, 0, 1]],
        [[0, 0, 0, 0.5, 0.5, 1]],
        [[0, 0.25, 0.25, 0.5, 0.5, 1]],
    ]
    for before, after in itertools.pairwise(rounds):
        assert torch.equal(before.next_targets, after.targets)
        # Every pair stands in one row, so that the fit is exact.
        assert torch.equal(after.seen.logged, after.targets)
    assert [done.fit for done in rounds] == [{"number": [0]}] * 3


def test_two_steps_reach_twice_as_far():
    # Row 3 (1 right) with n = 2 follows the log: 0 + .5 * 0 (2 stay) and then .25 V(2); row 4: 0 + .5 * 1, the end.
    q = Tabular(3, 2)
    (first,) = run(chain(), q, rounds=range(1, 2), n=2)
    assert first.targets.tolist() == [[0, 0, 0, 0, 0.5, 1]]


def test_gamma_zero_and_one():
    q = Tabular(3, 2)
    run(chain(), q, gamma=0.0)
    assert q.table[0].tolist() == [[0, 0], [0, 0], [0, 1]]
    q = Tabular(3, 2)
    run(chain(), q, gamma=1.0, rounds=range(1, 6))
    assert (q.table == 1).all()


def test_rounds_begin_where_they_are_told():
    whole, half = Tabular(3, 2), Tabular(3, 2)
    expected = run(chain(), whole)
    run(chain(), half, rounds=range(1, 3))
    rest = run(chain(), half, rounds=range(3, 5))
    assert [done.number for done in rest] == [3, 4]
    assert torch.equal(rest[0].targets, expected[2].targets)
    assert torch.equal(half.table, whole.table)


def test_no_rounds_change_nothing():
    q = Tabular(3, 2)
    assert run(chain(), q, rounds=range(1, 1)) == []
    assert q.fits == []


def test_forbidden_and_unknown_actions_do_not_bootstrap():
    mask = np.ones((7, 2), np.bool_)
    mask[4, 1] = False  # frame 4 is state 2 after row 3; its log action is stay
    q = Tabular(3, 2)
    run(chain(mask), q, rounds=range(1, 6))
    # Row 3 (1 right) sees V(frame 4) = Q(2, stay); row 4 (2 stay) leads to frame 5, where right is allowed: .5.
    # So Q(1, right) = .25, Q(1, stay) = .125, Q(0, right) = .5 * V(1): frame 2, .5 * .25 = .125; Q(0, stay) = .0625.
    assert q.table[0].tolist() == [[0.0625, 0.125], [0.125, 0.25], [0.5, 1]]
    # What the function knows nothing of is left out likewise: in state 2 only stay, worth .5 V(2) = .5 * itself = 0.
    known = torch.ones(3, 2, dtype=torch.bool)
    known[2, 1] = False
    q = Tabular(3, 2, known=known)
    run(chain(), q)
    assert q.table[0].tolist() == [[0, 0], [0, 0], [0, 1]]
    # Both together: in frame 4 only stay is allowed and only right is known, so that it is worth 0.
    q = Tabular(3, 2, known=known.flip(1) | torch.tensor([[True], [True], [False]]))
    rounds = run(chain(mask), q)
    assert rounds[-1].targets.tolist() == [[0, 0, 0, 0, 0.5, 1]]


def test_ensembles_take_their_own_members_heads_together():
    # Heads that err by +1, -1 (member 0) and +10, 0 (member 1) on every fit. After round 1, Q(2, ·) = (0, 1) + error.
    errors = (1.0, -1.0, 10.0, 0.0)
    expected = {"max": [1, 0, 5.5, 0.5], "mean": [0.5, 0.5, 3, 3], "min": [0, 0, 0.5, 0.5]}
    for rule, values in expected.items():
        q = Tabular(3, 2, errors)
        rounds = run(chain(), q, rounds=range(1, 3), rule=rule, members=2)
        assert rounds[1].targets[:, 3].tolist() == values  # row 3, 1 right: .5 V(2)
        assert rounds[0].targets.shape == (4, 6)


def test_slices_of_the_scan_do_not_matter(monkeypatch):
    log = chain()
    log = log.select(np.zeros(5, np.int64))  # 35 frames
    results = []
    for size in (1, 2, 3, 7, 35, 100):
        monkeypatch.setattr(scan, "SCAN", size)
        q = Tabular(3, 2, (0.5, -0.5))
        done = run(log, q, rule="min")[-1]
        results.append(torch.cat([done.seen.logged, done.seen.next_values, done.next_targets]))
        spans = [(a, b) for a, b in q.asked if (a, b) != (0, 1)] if size > 1 else q.asked
        assert max(b - a for a, b in spans) <= size
        assert max(b for _, b in spans) == 35
    assert all(torch.equal(results[0], other) for other in results)


def test_the_q_function_is_frozen_while_targets_are_made():
    # It is asked for values only between fits: the whole log once before the first, and once after each.
    q = Tabular(3, 2)
    order = []
    q.fit = lambda targets, weights: order.append("fit") or {}
    values = q.log_values
    q.log_values = lambda start, stop: order.append("values") or values(start, stop)
    run(chain(), q, rounds=range(1, 4))
    text = "".join("F" if word == "fit" else "v" for word in order)
    assert text.count("F") == 3
    assert all(text.split("F"))


def test_precision_follows_the_regressor():
    rows = transitions(chain(), 0.3)
    for dtype in (torch.float32, torch.float64):
        table = Table.of(rows, like=torch.zeros(1, dtype=dtype))
        assert table.returns.dtype == table.discounts.dtype == dtype
        assert table.frame.dtype == torch.int64


def test_the_scan_gathers_the_right_values():
    q = Tabular(3, 2)
    rows = transitions(chain(), 0.5)
    q.bind(rows, torch.ones(6, dtype=torch.bool))
    q.table[0] = torch.tensor([[1.0, 2], [3, 4], [6, 5]])
    seen = Scanner(Table.of(rows, like=q.table), q, Value())(1)
    assert seen.logged.tolist() == [[1, 2, 3, 4, 6, 5]]
    # Next frames 1-6 are states 0 1 1 2 2 0.
    assert seen.next_values.tolist() == [[2, 4, 4, 6, 6, 2]]


@pytest.mark.parametrize("rule", VALUE_RULES)
def test_rounds_of_seeds_equal_rounds_alone(rule):
    # Members of one population do not influence each other; what is drawn at random hangs on their seeds alone.
    together = Tabular(3, 2, (0.3, -0.1, 0.0, 0.2))
    run(chain(), together, rule=rule, members=2)
    for member, errors in enumerate([(0.3, -0.1), (0.0, 0.2)]):
        alone = Tabular(3, 2, errors)
        rows = transitions(chain(), 0.5)
        alone.bind(rows, torch.ones(len(rows), dtype=torch.bool))
        for _ in fitted_q_iteration(rows, alone, Value(VALUE_RULES[rule], seeds=(member,)), range(1, 5)):
            pass
        assert torch.equal(alone.table, together.table[2 * member : 2 * member + 2])


# ---- rules that look back


def test_looking_back_a_round_spreads_rewards_at_half_the_pace():
    # Q*: (.125, .25), (.25, .5), (.5, 1), as above. Round 2 has no round before round 1's: the newest Q values itself,
    # so that row 3 (1 right) sees V(2) = 1. Round 3 chooses by Q2 and values by Q1, which knows only 2 right.
    q = Tabular(3, 2)
    rounds = run(chain(), q, rounds=range(1, 20), rule="double-previous")
    assert rounds[1].targets.tolist() == [[0, 0, 0, 0.5, 0.5, 1]]
    assert rounds[2].targets.tolist() == [[0, 0, 0, 0.5, 0.5, 1]]
    assert rounds[3].targets.tolist() == [[0, 0.25, 0.25, 0.5, 0.5, 1]]
    assert q.table[0].tolist() == [[0.125, 0.25], [0.25, 0.5], [0.5, 1]]


def test_the_mean_of_the_last_rounds_by_hand():
    # Mean of two: round 2 sees Q1 alone, V(2) = 1. Round 3 sees (Q1 + Q2) / 2: Q(1, right) = .25, Q(2, .) = (.25, 1):
    # so V(1) = .25, V(2) = 1.
    q = Tabular(3, 2)
    rounds = run(chain(), q, rounds=range(1, 60), average=2)
    assert rounds[1].targets.tolist() == [[0, 0, 0, 0.5, 0.5, 1]]
    assert rounds[2].targets.tolist() == [[0, 0.125, 0.125, 0.5, 0.5, 1]]
    torch.testing.assert_close(q.table[0], torch.tensor([[0.125, 0.25], [0.25, 0.5], [0.5, 1]], dtype=torch.float64))


@pytest.mark.parametrize("looks", [{"average": 3}, {"rule": "double-previous"}, {"rule": "double-previous", "size": 2}])
@pytest.mark.parametrize("half", [1, 2, 5])
def test_what_lay_before_a_break_can_be_handed_back(looks, half, monkeypatch):
    looks = dict(looks)
    monkeypatch.setattr(scan, "SCAN", looks.pop("size", 100))
    whole, broken = Tabular(3, 2, (0.1, -0.2)), Tabular(3, 2, (0.1, -0.2))
    expected = run(chain(), whole, rounds=range(1, 9), **looks)
    kept = []
    for number in range(1, half + 1):
        run(chain(), broken, rounds=range(number, number + 1), past=kept[1:], **looks)
        kept.insert(0, scan.log_values(broken, 7).clone())
    rest = run(chain(), broken, rounds=range(half + 1, 9), past=kept[1:], **looks)
    for before, after in zip(expected[half:], rest, strict=True):
        assert torch.equal(before.targets, after.targets)
    assert torch.equal(whole.table, broken.table)
