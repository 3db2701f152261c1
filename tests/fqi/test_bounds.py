"""What could be earned: by hand on a few rewards."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest

from fqi.bounds import earnable
from fqi.log import Log


def log_of(rewards, terminated):
    """One episode with these rewards; its last step terminates or is cut."""
    N = len(rewards)
    last = np.arange(N) == N - 1
    return Log(
        observations=np.zeros((N + 1, 1), np.float32),
        actions=np.zeros(N, np.int64),
        rewards=np.array(rewards, np.float64),
        terminations=last & terminated,
        truncations=last & (not terminated),
        lengths=np.array([N]),
        observation_space=gym.spaces.Box(-1, 1, (1,)),
        action_space=gym.spaces.Discrete(2),
    )


@pytest.mark.parametrize(
    ("rewards", "terminated", "gamma", "low", "high"),
    [
        # 1 for ever is 1 / (1 - .5) = 2; the end paid 1.
        ([1, 1, 1], True, 0.5, 1, 2),
        # -1 for ever is -2; the end paid 10, at best at once.
        ([-1, -1, 10], True, 0.5, -2, 10),
        # The worst end is worse than the worst stream: -5 against -1 / (1 - .5) = -2; the best: one step of -1.
        ([-1, -1, -5], True, 0.5, -5, -1),
        # Nothing ever ended: a stream may be one step long, 1, or endless, 2.
        ([1, 1, 1], False, 0.5, 1, 2),
        ([-1, -1, -1], False, 0.5, -2, -1),
        # Mixed: -3 for ever is -6, 4 for ever is 8.
        ([-3, 4, 0], False, 0.5, -6, 8),
        # Gamma 0: one step only.
        ([-3, 4, 7], True, 0, -3, 7),
        # Gamma 1: streams do not vanish, unless they pay nothing.
        ([0, 0, 1], True, 1, 0, 1),
        ([1, 1, 1], True, 1, 1, math.inf),
        ([-1, -1, -1], False, 1, -math.inf, -1),
        # Only an end.
        ([-2], True, 0.9, -2, -2),
    ],
)
def test_bounds_by_hand(rewards, terminated, gamma, low, high):
    assert earnable(log_of(rewards, terminated), gamma) == pytest.approx((low, high))


def test_an_empty_log_earns_nothing():
    log = log_of([1.0], True).select(np.zeros(0, np.int64))
    assert earnable(log, 0.9) == (0.0, 0.0)


def test_values_after_any_number_of_rounds_lie_within():
    # A stream of k steps of reward r is worth r (1 - gamma^k) / (1 - gamma): between r and r / (1 - gamma).
    low, high = earnable(log_of([-2, 3, 3], False), 0.9)
    for k in range(1, 200):
        weight = (1 - 0.9**k) / (1 - 0.9)
        assert low <= -2 * weight + 1e-9
        assert 3 * weight <= high + 1e-9
