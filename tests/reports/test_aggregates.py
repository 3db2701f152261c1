"""Aggregates against plain loops over the published formulas, and intervals against known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from fqi.reports import aggregates
from fqi.reports.statistics import NOT_FINITE

STATISTICS = {
    "iqm": (aggregates.interquartile_mean, lambda x: trim_mean(x, 0.25, axis=None)),
    "mean": (aggregates.mean, lambda x: sum(sum(column) / len(column) for column in x.T) / x.shape[1]),
    "median": (aggregates.median, lambda x: np.median([sum(column) / len(column) for column in x.T])),
    "gap": (aggregates.optimality_gap, lambda x: 1 - sum(min(v, 1.0) for v in x.flat) / x.size),
    "profile": (
        lambda scores: aggregates.performance_profile(scores, np.array([-0.5, 0.0, 0.7])),
        lambda x: [sum(v > t for v in x.flat) / x.size for t in (-0.5, 0.0, 0.7)],
    ),
}


def columns(matrix):
    """The scores of each task from a matrix of runs and tasks."""
    return list(matrix.T)


@pytest.mark.parametrize("name", STATISTICS)
@given(runs=st.integers(2, 12), tasks=st.integers(1, 5), seed=st.integers(0, 10**6), decimals=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_each_statistic_is_the_published_one_on_the_same_resamples(name, runs, tasks, seed, decimals):
    generator = np.random.default_rng(seed)
    matrix = generator.normal(0.3, 1.0, (runs, tasks)).round(decimals)  # few decimals make ties
    statistic, published = STATISTICS[name]
    np.testing.assert_allclose(statistic(columns(matrix)), published(matrix), rtol=0, atol=1e-12)
    chosen = aggregates.resamples([runs] * tasks, generator, 7)
    drawn = aggregates.bootstrap(statistic, columns(matrix), chosen)
    for b in range(7):
        again = np.stack([matrix[chosen[t][b], t] for t in range(tasks)], 1)  # [runs, tasks]
        np.testing.assert_allclose(drawn[b], published(again), rtol=0, atol=1e-12)


@given(m=st.integers(1, 9), n=st.integers(1, 9), tasks=st.integers(1, 4), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_probability_of_improvement_counts_pairs(m, n, tasks, seed):
    generator = np.random.default_rng(seed)
    x, y = (list(generator.integers(0, 4, (tasks, size)).astype(float)) for size in (m, n))
    by_hand = [
        sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in x[t] for b in y[t]) / (m * n) for t in range(tasks)
    ]
    found = aggregates.improvement(x, y)
    assert found.value == pytest.approx(sum(by_hand) / tasks, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    back = aggregates.improvement(y, x)
    assert (1 - back.high, 1 - back.value, 1 - back.low) == pytest.approx(
        (found.low, found.value, found.high), abs=1e-6
    )


def test_worked_by_hand():
    scores = [np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 30.0, 40.0])]
    # sorted 1 2 3 4 10 20 30 40: two are cut off at each end, and 3 4 10 20 are left
    assert aggregates.interquartile_mean(scores) == 37 / 4
    assert aggregates.mean(scores) == (2.5 + 25) / 2
    assert aggregates.median(scores) == (2.5 + 25) / 2
    assert aggregates.optimality_gap([np.array([0.5, 3.0])]) == 0.25
    assert aggregates.interquartile_mean([np.array([7.0])]) == 7.0
    assert aggregates.performance_profile([np.array([0.0, 1.0])], np.array([-1.0, 0.0, 1.0])).tolist() == [
        1.0,
        0.5,
        0.0,
    ]


def test_newcombe_from_his_own_equation():
    # All of five against five: (1 - p)^2 = z^2 p (1 - p) [1 + 4 ((1 - p) / (2 - p) + p / (1 + p))] / 25
    low = aggregates.improvement([np.arange(5.0) + 9], [np.arange(5.0)]).low
    variance = low * (1 - low) * (1 + 4 * ((1 - low) / (2 - low) + low / (1 + low))) / 25
    assert (1 - low) ** 2 == pytest.approx(1.959963984540054**2 * variance, rel=1e-9)
    assert 0.6 < low < 0.7


def test_seeds_that_do_not_overlap_are_not_certainty():
    for seeds in (1, 2, 5):
        found = aggregates.improvement([np.arange(seeds) + 100.0], [np.arange(seeds) + 0.0])
        assert found.value == found.high == 1
        assert found.low < 0.7


def test_one_seed_has_no_interval_and_equal_seeds_one_without_width():
    one = aggregates.estimate(aggregates.mean, [np.array([3.0])], np.random.default_rng(0))
    assert one.value == 3
    assert math.isnan(one.low)
    assert one.method == aggregates.ONE_SEED
    same = aggregates.estimate(aggregates.interquartile_mean, [np.full(5, 0.1)] * 3, np.random.default_rng(0))
    assert same.value == same.low == same.high == 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_leave_no_number(bad):
    scores = [np.array([1.0, bad])]
    found = aggregates.estimate(aggregates.interquartile_mean, scores, np.random.default_rng(0))
    assert math.isnan(found.value)
    assert found.method == NOT_FINITE
    assert math.isnan(aggregates.improvement(scores, [np.array([1.0, 2.0])]).value)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one score"):
        aggregates.estimate(aggregates.mean, [np.array([])], np.random.default_rng(0))


def test_learners_of_different_numbers_of_seeds():
    scores = [np.arange(3.0), np.arange(8.0)]
    found = aggregates.estimate(aggregates.interquartile_mean, scores, np.random.default_rng(0))
    assert found.low < found.value < found.high
    assert (found.seeds, found.tasks) == (3, 2)


def test_the_same_seed_gives_the_same_interval():
    scores = [np.random.default_rng(1).normal(size=6)]
    first, second = (
        aggregates.estimate(aggregates.interquartile_mean, scores, np.random.default_rng(4)) for _ in range(2)
    )
    assert first == second


def test_a_band_stays_between_0_and_1():
    share, low, high = aggregates.profile_band([np.arange(6.0)], np.linspace(-1, 7, 9), np.random.default_rng(0), 200)
    assert ((low >= 0) & (low <= share) & (share <= high) & (high <= 1)).all()
    assert low[3] < share[3] < high[3]


REPEATS = 1500
# Half a percent of standard error at 1,500 repeats: what lies within two of them of 93 to 97 % is as good as within.
SLACK = 0.012


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("tasks", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["normal", "skewed", "ceiling"])
def test_intervals_of_the_iqm_hold_the_truth(kind, tasks, seeds):
    draw = {
        "normal": lambda g, size: g.normal(0.0, 1.0, size),
        "skewed": lambda g, size: np.exp(g.normal(0.0, 1.0, size)),
        "ceiling": lambda g, size: np.minimum(500.0, g.normal(480.0, 60.0, size)),
    }[kind]
    truth = float(aggregates.interquartile_mean([draw(np.random.default_rng(0), 1_000_000)]))
    generator, hits = np.random.default_rng(3), 0
    for _ in range(REPEATS):
        scores = list(draw(generator, (tasks, seeds)))
        chosen = aggregates.resamples([seeds] * tasks, generator, 200)
        drawn = aggregates.bootstrap(aggregates.interquartile_mean, scores, chosen)
        low, high = aggregates.widened(aggregates.interquartile_mean(scores), drawn, scores)
        hits += low <= truth <= high
    assert 0.93 - SLACK <= hits / REPEATS <= 0.97 + SLACK


@pytest.mark.parametrize("chance", [0.5, 0.92])
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_of_the_probability_of_improvement_hold_the_truth(chance, seeds):
    shift = {0.5: 0.0, 0.92: 1.9870830}[chance]  # sqrt(2) times the normal quantile
    generator, hits = np.random.default_rng(5), 0
    for _ in range(REPEATS):
        found = aggregates.improvement([generator.normal(shift, 1, seeds)], [generator.normal(0, 1, seeds)])
        hits += found.low <= chance <= found.high
    assert 0.93 - SLACK <= hits / REPEATS <= 0.97 + SLACK
