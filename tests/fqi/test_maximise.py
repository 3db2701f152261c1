"""The search for the best continuous action, on functions whose maximum is known."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.maximise import Cem, bounded_box, from_unit, mean, own, search, shifts, spread_points, to_unit, unmoved
from fqi.values import VALUE_RULES, Value, worth_of_best


def peak(at):
    """Values -|a - at|² of actions [M, H, B, S, K]; `at` is [H, B, K]."""
    return lambda actions: -(actions - at[None, :, :, None]).square().sum(-1)


def drawn(cem, rows, dimensions, number=1):
    return shifts(cem, 0, number, 0, rows, dimensions)


@pytest.mark.parametrize(("dimensions", "error"), [(1, 0.01), (2, 0.08), (4, 0.4)])
def test_the_top_of_a_parabola_is_found(dimensions, error):
    at = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 500, dimensions)))
    cem = Cem()
    best = search(peak(at), own, cem, drawn(cem, 500, dimensions).double())
    assert best.shape == (1, 1, 500, dimensions)
    assert (best[0] - at).norm(dim=-1).mean() < error


def test_more_iterations_come_closer():
    at = torch.from_numpy(np.random.default_rng(0).uniform(-0.9, 0.9, (1, 200, 3)))
    errors = []
    for iterations in (1, 2, 4, 8):
        cem = Cem(iterations=iterations)
        best = search(peak(at), own, cem, drawn(cem, 200, 3).double())
        errors.append(float((best[0] - at).norm(dim=-1).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def test_a_maximum_in_a_corner_is_reached_exactly():
    at = torch.full((1, 50, 2), 3.0)  # beyond the box: the best is its corner (1, 1)
    cem = Cem(iterations=5)
    assert torch.equal(search(peak(at), own, cem, drawn(cem, 50, 2)), torch.ones(1, 1, 50, 2))


def test_going_on_from_the_last_best_never_loses_it():
    at = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 100, 4)))
    cem, best, errors = Cem(), None, []
    for number in range(6):
        best = search(peak(at), own, cem, drawn(cem, 100, 4, number).double(), best)
        errors.append((best[0] - at).norm(dim=-1))
    assert all((after <= before).all() for before, after in itertools.pairwise(errors))
    assert errors[-1].mean() < errors[0].mean() / 3


def test_heads_choose_each_for_itself_or_all_as_one():
    at = torch.tensor([[[-0.5]], [[0.25]]])  # two heads, one frame
    cem = Cem(iterations=6)
    apart = search(peak(at), own, cem, drawn(cem, 1, 1))
    torch.testing.assert_close(apart[0, :, 0, 0], at[:, 0, 0], atol=0.01, rtol=0)
    together = search(peak(at), mean, cem, drawn(cem, 1, 1))  # the mean is best half-way: -0.125
    assert together.shape == (1, 1, 1, 1)
    assert abs(float(together) + 0.125) < 0.01


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Two heads, -(a + .5)² and -(a - .25)² + .1: their tops 0 and .1, and (.75)² = .5625 apart.
        ("max", [0.0, 0.1]),
        ("mean", [0.05 - 0.140625] * 2),  # the mean's top is at -.125, each (.375)² below its own
        ("clipped", [-0.4625, -0.5625]),  # at -.5 the second says .1 - .5625, at .25 the first says -.5625
        ("double", [-0.4625, -0.5625]),  # each head's choice, valued by the other
        # The lower of both is greatest where they cross: (a + .5)² = (a - .25)² - .1, a = -11.5/60.
        ("min", [-((0.5 - 11.5 / 60) ** 2)] * 2),
    ],
)
def test_value_rules_by_hand(rule, expected):
    at, lift = torch.tensor([[[-0.5]], [[0.25]]]), torch.tensor([0.0, 0.1])[None, :, None, None]

    def score(actions):
        return peak(at)(actions) + lift

    value, cem = Value(VALUE_RULES[rule]), Cem(iterations=8)
    best = search(score, value.aim(1), cem, drawn(cem, 1, 1))
    assert best.shape[1] == value.choosers(2)
    found = worth_of_best(best, score, value, 1)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected), atol=2e-3, rtol=0)


def test_a_policy_looks_at_the_frame_alone():
    at = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 40, 2)))
    cem = Cem()
    whole = search(peak(at), mean, cem, unmoved(cem, 40, 2).double())
    alone = search(peak(at[:, 7:8]), mean, cem, unmoved(cem, 1, 2).double())
    assert torch.equal(whole[:, :, 7:8], alone)


def test_draws_hang_on_seed_round_and_block_alone():
    cem = Cem()
    first = shifts(cem, 3, 5, 2, 10, 2)
    assert torch.equal(first, shifts(cem, 3, 5, 2, 10, 2))
    for other in ((4, 5, 2), (3, 6, 2), (3, 5, 3)):
        assert not torch.equal(first, shifts(cem, *other, 10, 2))


def test_points_fill_the_cube_evenly():
    points = spread_points(4096, 3)
    counts = np.histogramdd(points.numpy(), bins=8, range=[(0, 1)] * 3)[0]
    assert counts.min() >= 4  # 8 on average; of independent draws some cells would hold 1
    assert counts.max() <= 12


def test_actions_of_a_box_and_back():
    box = gym.spaces.Box(np.array([[-2.0], [0.0]], np.float32), np.array([[2.0], [10.0]], np.float32))
    actions = np.array([[[-2.0], [10.0]], [[0.0], [2.5]]], np.float32)
    unit = to_unit(actions, box)
    assert unit.tolist() == [[-1, 1], [0, -0.5]]
    np.testing.assert_array_equal(from_unit(unit, box), actions)
    assert from_unit(unit, box).dtype == np.float32


@pytest.mark.parametrize("space", [
    gym.spaces.Box(-np.inf, np.inf, (1,)),
    gym.spaces.Box(np.float32(0), np.float32(np.inf), (1,)),
    gym.spaces.Box(0, 5, (1,), np.int64),
    gym.spaces.MultiDiscrete([3, 3]),
])  # fmt: skip
def test_what_has_no_bounds_is_refused(space):
    with pytest.raises(UserError, match="bounded in each dimension"):
        bounded_box(space)
