"""Regression rows by hand: n-step returns, discounts and next frames."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fqi.errors import UserError
from fqi.transitions import stacked, transitions
from tests.fqi.small import log_of
from tests.strategies import logs

# Steps 0 1 2 3 (terminated) | 4 5 6 (truncated) | 7 (terminated); frames 0-4 | 5-8 | 9-10.
THREE = log_of(([1, 2, 3, 4], "terminated"), ([5, 6, 7], "truncated"), ([8], "terminated"))


def test_one_step_by_hand():
    rows = transitions(THREE, 0.5)
    assert len(rows) == 8
    assert rows.frame.tolist() == [0, 1, 2, 3, 5, 6, 7, 9]
    assert rows.next_frame.tolist() == [1, 2, 3, 4, 6, 7, 8, 10]
    assert rows.returns.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    # 0 where the episode terminated; the truncated one bootstraps from its final frame 8.
    assert rows.discount.tolist() == [0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5, 0]


def test_three_steps_by_hand():
    rows = transitions(THREE, 0.5, n=3)
    # step 0: 1 + 2/2 + 3/4 = 2.75, then .125 V(frame 3)
    # step 1: 2 + 3/2 + 4/4 = 4.5, terminated on the way
    # step 2: 3 + 4/2 = 5; step 3: 4
    # step 4: 5 + 6/2 + 7/4 = 9.75, .125 V(frame 8); step 5: 6 + 7/2 = 9.5, .25 V(8); step 6: 7, .5 V(8); step 7: 8
    assert rows.returns.tolist() == [2.75, 4.5, 5, 4, 9.75, 9.5, 7, 8]
    assert rows.discount.tolist() == [0.125, 0, 0, 0, 0.125, 0.25, 0.5, 0]
    assert rows.next_frame.tolist() == [3, 4, 4, 4, 8, 8, 8, 10]


def test_n_beyond_every_episode_sums_to_its_end():
    rows = transitions(THREE, 1.0, n=100)
    assert rows.returns.tolist() == [10, 9, 7, 4, 18, 13, 7, 8]
    assert rows.discount.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert rows.next_frame.tolist() == [4, 4, 4, 4, 8, 8, 8, 10]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_gamma_zero_looks_one_reward_ahead(n):
    rows = transitions(THREE, 0.0, n)
    assert rows.returns.tolist() == THREE.rewards.tolist()
    assert rows.discount.tolist() == [0] * 8


def test_gamma_one_discounts_nothing_but_ends():
    rows = transitions(THREE, 1.0)
    assert rows.discount.tolist() == [1, 1, 1, 0, 1, 1, 1, 0]


def test_terminated_and_truncated_at_once_counts_as_terminated():
    assert transitions(log_of(([1.0], "both")), 0.9).discount.tolist() == [0]


def test_actions_count_from_zero():
    log = log_of(([1, 2], "terminated"), actions=np.array([-3, -2]), action_space=gym.spaces.Discrete(2, start=-3))
    rows = transitions(log, 0.9)
    assert rows.action.tolist() == [0, 1]
    assert rows.action.dtype == np.int64


def test_returns_are_summed_in_double_precision():
    log = log_of(([0.1] * 3, "truncated"), rewards=np.full(3, 0.1, np.float32))
    assert transitions(log, 1.0, 3).returns.dtype == np.float64


@pytest.mark.parametrize(("gamma", "n", "message"), [
    (-0.1, 1, r"gamma must lie in \[0, 1\], found -0.1"),
    (1.01, 1, "gamma must lie"),
    (float("nan"), 1, "gamma must lie"),
    (0.9, 0, "n-step must be at least 1, found 0"),
])  # fmt: skip
def test_wrong_settings_are_named(gamma, n, message):
    with pytest.raises(UserError, match=message):
        transitions(THREE, gamma, n)


def test_an_empty_log_has_no_rows():
    assert len(transitions(THREE.select(np.zeros(0, np.int64)), 0.9, 2)) == 0


@settings(max_examples=60, deadline=None)
@given(logs(), st.floats(0, 1), st.integers(1, 7))
def test_any_log_agrees_with_a_plain_loop(log, gamma, n):
    rows = transitions(log, gamma, n)
    for step in range(log.steps):
        total, weight, at = 0.0, 1.0, step
        for _ in range(n):
            total += weight * float(log.rewards[at])
            weight *= gamma
            at += 1
            if log.terminations[at - 1] or log.truncations[at - 1]:
                break
        assert rows.returns[step] == pytest.approx(total, rel=1e-9, abs=1e-9)
        assert rows.discount[step] == pytest.approx(0 if log.terminations[at - 1] else weight, rel=1e-9, abs=1e-12)
        assert rows.next_frame[step] == log.frame_of_step[at - 1] + 1
    assert (np.diff(rows.frame) > 0).all()  # the scan of the log relies on it


def test_stacks_repeat_the_first_frame_of_their_own_episode():
    # Frames 0-4 | 5-8 | 9-10.
    expected = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 5, 5], [5, 5, 6], [5, 6, 7], [6, 7, 8],
                [9, 9, 9], [9, 9, 10]]  # fmt: skip
    assert stacked(THREE, 3).tolist() == expected
    assert stacked(THREE, 1)[:, 0].tolist() == list(range(11))
