"""Slopes against autograd, batches that are each seed's own, and policies by hand."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.baselines.likelihood import (
    Choice,
    Continuous,
    Gaussian,
    Mean,
    Rows,
    Scale,
    Softmax,
    fit,
    new_population,
    objective,
)
from fqi.baselines.settings import CloneSettings
from fqi.errors import UserError
from fqi.networks.population import Population

PLANE = gym.spaces.Box(-np.inf, np.inf, (2,))


@pytest.mark.parametrize(("goal", "width"), [(Choice(3), 3), (Mean(2), 2), (Gaussian(2), 4)])
@pytest.mark.parametrize("some_illegal", [False, True])
def test_slopes_equal_autograds(goal, width, some_illegal):
    torch.manual_seed(0)
    outputs = torch.randn(2, 5, width, requires_grad=True)
    wanted = torch.randn(2, 5, 2) if width != 3 else torch.tensor([[0, 1, 2, 1, 0]] * 2)
    legal = None
    if some_illegal and width == 3:
        legal = torch.ones(2, 5, 3, dtype=torch.bool)
        legal[:, 0, 2] = legal[:, 1, 0] = False
    goal.losses(outputs, wanted, legal).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(goal.slope(outputs, wanted, legal), outputs.grad)


def test_losses_by_hand():
    thirds, ruled_out = torch.zeros(1, 3), torch.tensor([[True, True, False]])
    one = torch.tensor([1])
    assert Choice(3).losses(thirds, one, None).tolist() == pytest.approx([np.log(3)])
    assert Choice(3).losses(thirds, one, ruled_out).tolist() == pytest.approx([np.log(2)])
    assert Choice(3).slope(thirds, one, ruled_out).tolist() == [[0.5, -0.5, 0.0]]
    assert Mean(2).losses(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]]), None).tolist() == [4.5]
    # A standard normal at its mean, and one spread away from it.
    for x, expected in ((0.0, 0.5 * np.log(2 * np.pi)), (1.0, 0.5 * np.log(2 * np.pi) + 0.5)):
        found = Gaussian(1).losses(torch.zeros(1, 2), torch.tensor([[x]]), None)
        assert found.tolist() == pytest.approx([expected])


def test_a_spread_beyond_its_bounds_can_only_come_back():
    outputs = torch.tensor([[0.0, -9.0], [0.0, -9.0], [0.0, 9.0], [0.0, 9.0]])
    wanted = torch.tensor([[0.0], [5.0], [0.0], [1e9]])  # too wide yet, too narrow, too wide, too narrow yet
    by_spread = Gaussian(1).slope(outputs, wanted, None)[:, 1]
    assert by_spread[0] == 0  # would become narrower
    assert by_spread[1] < 0  # grows
    assert by_spread[2] > 0  # shrinks
    assert by_spread[3] == 0  # would become wider


def test_a_seed_draws_every_row_once_before_any_twice_and_minds_nobody():
    """The last batch's rows are told by what the network is given: each row is a number of its own."""

    def seen(seeds, counts):
        settings = CloneSettings(batch=32, width=4, depth=1)
        table = Rows(torch.arange(400.0).reshape(200, 2), torch.arange(200), torch.zeros(200, dtype=torch.int64), None)
        population = new_population(PLANE, Choice(2), settings, seeds)
        rows, forward = [], population.forward
        population.forward = lambda inputs: rows.append(inputs[:, :, 0] / 2) or forward(inputs)
        with torch.no_grad():
            fit(population, Choice(2), table, [torch.arange(n) for n in counts], settings, 9)
        return torch.cat(rows, 1), population.flat

    rows, flat = seen([3, 4], [96, 200])
    for start in (0, 96, 192):
        assert sorted(rows[0, start : start + 96].tolist()) == list(range(96))
    assert sorted(rows[1, :200].tolist()) == list(range(200))
    alone, alone_flat = seen([4], [200])
    assert torch.equal(alone[0], rows[1])
    assert torch.equal(alone_flat[0], flat[1])


def test_policies_by_hand():
    population = Population(PLANE, 3, [0], width=4, depth=1)
    population.network.layers[-1][1][0, 0] = torch.tensor([0.0, np.log(2.0), 0.0])
    frames = np.zeros((2, 2), np.float32)
    assert Softmax(population, 0, "greedy").probabilities(frames).tolist() == [[0, 1, 0]] * 2
    assert Softmax(population, 0, "sample").probabilities(frames)[1].tolist() == pytest.approx([0.25, 0.5, 0.25])
    with pytest.raises(UserError, match="Discrete"):
        Softmax(population, 0, "greedy").actions(frames, np.random.default_rng(0))


def test_continuous_actions_have_their_scale_and_keep_within_the_box():
    space = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 9], np.float32))
    population = Population(PLANE, 4, [0], width=4, depth=1)
    population.network.layers[-1][1][0, 0] = torch.tensor([3.0, 1.0, 0.0, 0.0])
    scale = Scale(np.array([0.5, 4.0], np.float32), np.array([2.0, 3.0], np.float32))
    frames, draws = np.zeros((500, 2), np.float32), np.random.default_rng(0)
    certain = Continuous(population, 0, "greedy", space, scale).actions(frames, draws)
    assert certain[0].tolist() == [1.0, 7.0]  # 0.5 + 3 * 2 clipped, 4 + 1 * 3
    drawn = Continuous(population, 0, "sample", space, scale).actions(frames, draws)
    assert drawn.dtype == np.float32
    assert space.contains(drawn.min(0))
    assert space.contains(drawn.max(0))
    assert abs(drawn[:, 1].mean() - 6.7) < 0.4  # a spread of 3 about 7, what is above 9 cut: 7 - 0.3
    with pytest.raises(UserError, match="Discrete"):
        Continuous(population, 0, "greedy", space, scale).probabilities(frames)


def test_the_scale_of_a_constant_action_is_one():
    scale = Scale.of(np.array([[1.0, 7.0], [3.0, 7.0]]))
    assert scale.centre.tolist() == [2, 7]
    assert scale.spread.tolist() == [1, 1]
    assert scale.standardised(np.array([[5.0, 7.0]])).tolist() == [[3, 0]]


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (gym.spaces.Discrete(2), {"head": "mean"}, "cloning: head mean is for continuous actions"),
        (gym.spaces.Box(-1, 1, (2,)), {"act": "sample"}, "give head gaussian"),
        (gym.spaces.Box(-1, 1, (2,)), {"act": "sample", "head": "mean"}, "give head gaussian"),
        (gym.spaces.MultiDiscrete([2, 2]), {}, "needs Discrete actions or a Box"),
        (gym.spaces.Box(0, 9, (2,), np.int32), {}, "needs Discrete actions or a Box"),
    ],
)
def test_options_without_effect_are_refused(space, options, message):
    with pytest.raises(UserError, match=message):
        objective(space, CloneSettings(**options), "cloning")


def test_images_get_the_network_of_the_literature_and_columns_that_of_fqi():
    image = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    nature = new_population(image, Choice(6), CloneSettings(), [0])
    # 32 8x8x4, 64 4x4x32, 64 3x3x64, 3136 x 512, 512 x 6, and biases
    assert nature.flat.shape == (1, 8224 + 32832 + 36928 + 1606144 + 3078 + 10)  # the last ten fill a cache line
    assert nature.sizes == (84 * 84 * 4, 512, 6)
    assert new_population(PLANE, Choice(6), CloneSettings(), [0]).sizes == (2, 64, 64, 6)
    assert new_population(PLANE, Choice(6), CloneSettings(width=8, depth=1), [0]).sizes == (2, 8, 6)
