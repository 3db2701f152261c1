"""Intervals worked by hand, and whether they hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fqi.reports.statistics import ALONE, NOT_FINITE, OVER_EPISODES, OVER_MEMBERS, WILSON, over_members, paired, share


def test_members_are_taken_by_their_means() -> None:
    # Means 1, 2, 3: mean 2, standard deviation 1, error 1/sqrt(3), t of 2 degrees of freedom 4.302653.
    found = over_members([[0.0, 2.0], [2.0, 2.0], [2.0, 4.0]])
    reach = 4.302653 / math.sqrt(3)
    assert (found.mean, found.episodes, found.members, found.method) == (2.0, 2, 3, OVER_MEMBERS)
    assert found.low == pytest.approx(2 - reach, abs=1e-6)
    assert found.high == pytest.approx(2 + reach, abs=1e-6)


def test_one_member_is_taken_over_its_episodes() -> None:
    # 1, 2, 3, 4: mean 2.5, variance 5/3, error sqrt(5/12), t of 3 degrees of freedom 3.182446.
    found = over_members([[1, 2, 3, 4]])
    assert found.high - found.mean == pytest.approx(3.182446 * math.sqrt(5 / 12), abs=1e-6)
    assert (found.episodes, found.members, found.method) == (4, 1, OVER_EPISODES)


def test_the_side_of_rare_high_returns_reaches_further() -> None:
    # 0, 0, 0, 4: mean 1, deviations -1, -1, -1, 3: standard deviation 2, error 1, skewness 6 / 3^1.5 = 1.154701.
    found, mirrored = over_members([[0, 0, 0, 4]]), over_members([[0, 0, 0, -4]])
    t = 3.182446
    assert found.low == pytest.approx(1 - t, abs=1e-5)
    assert found.high == pytest.approx(1 + t + 1.154701 * (1 + 2 * t * t) / 12, abs=1e-4)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("chance", [0.05, 0.1, 0.9])
def test_a_hundred_episodes_with_rare_success_are_covered(chance: float) -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(1000):
        found = over_members([((rng.random(100) < chance) * 1.0).tolist()])
        held += found.low <= chance <= found.high
    assert 0.93 <= held / 1000 <= 0.98


def test_equal_values_have_no_width() -> None:
    found = over_members([[0.1] * 3, [0.1] * 3])
    assert found.mean == found.low == found.high == 0.1


def test_a_single_episode_has_no_interval() -> None:
    found = over_members([[7.0]])
    assert (found.mean, found.method) == (7.0, ALONE)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("broken", [None, float("nan"), float("inf")])
def test_values_that_are_not_finite_give_no_number(broken: float | None) -> None:
    found = over_members([[1.0, broken], [1.0, 2.0]])
    assert math.isnan(found.mean)
    assert found.method == NOT_FINITE


def test_no_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        over_members([[]])


def test_pairing_cancels_what_both_share() -> None:
    starts = [0.0, 100.0, 200.0]
    found = paired([[s + 1 for s in starts]], [starts])
    assert found.mean == found.low == found.high == 1.0


def test_a_share_of_one_member_is_never_certain() -> None:
    # Wilson for 0 of 10: 0 to z^2 / (n + z^2) = 3.841459 / 13.841459.
    found = share([[False] * 10])
    assert (found.mean, found.method) == (0.0, WILSON)
    assert found.low == pytest.approx(0.0, abs=1e-12)
    assert found.high == pytest.approx(3.841459 / 13.841459, abs=1e-6)


def test_a_share_over_members_stays_between_nothing_and_all() -> None:
    found = share([[True, True], [True, False]])
    assert (found.mean, found.low, found.high) == (0.75, 0.0, 1.0)


@pytest.mark.parametrize("members", [1, 2, 5, 10])
def test_intervals_hold_the_truth_as_often_as_they_say(members: int) -> None:
    rng = np.random.default_rng(members)
    held = 0
    for _ in range(1000):
        seeds = rng.normal(0, 1, (members, 1)) if members > 1 else 0.0
        found = over_members((10 + seeds + rng.exponential(3, (members, 40)) - 3).tolist())
        held += found.low <= 10 <= found.high
    assert 0.92 <= held / 1000 <= 0.98
