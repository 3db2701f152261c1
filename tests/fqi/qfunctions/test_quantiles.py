"""Quantile regression by hand, against autograd, and on returns whose distribution is known."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch

from fqi.log import Log
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.quantiles import middles, slope, spread
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import transitions
from tests.fqi.known import iterate


def test_slopes_by_hand():
    # Two quantiles, of shares 1/4 and 3/4, at 0 and 1; samples -1 and 3; width .5, so that every pull is a full one.
    # Quantile 0: from above 3 by 1/4, from below -1 by 3/4: slope -(1/4 - 3/4) / 2 = 1/4.
    # Quantile 1: from above 3 by 3/4, from below -1 by 1/4: slope -(3/4 - 1/4) / 2 = -1/4.
    found = slope(torch.tensor([[0.0, 1.0]]), torch.tensor([[-1.0, 3.0]]), 0.5)
    assert found.tolist() == [[0.25, -0.25]]
    # Within the width pulls are in proportion: a sample .1 above a median at 0: -.5 * .1 / .5.
    torch.testing.assert_close(slope(torch.zeros(1, 1), torch.full((1, 1), 0.1), 0.5), torch.tensor([[-0.1]]))


def test_the_slope_is_that_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    quantiles = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    wanted, width = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64), 0.3
    with torch.enable_grad():
        pull = wanted[..., None, :] - quantiles[..., None]
        huber = torch.where(pull.abs() < width, pull.square() / 2, width * (pull.abs() - width / 2)) / width
        share = middles(5, quantiles)[:, None]
        loss = (torch.where(pull > 0, share, 1 - share) * huber).mean(-1).sum()
        (wanted_slope,) = torch.autograd.grad(loss, quantiles)
    torch.testing.assert_close(slope(quantiles.detach(), wanted, width), wanted_slope)


def test_descent_finds_the_quantiles_of_samples():
    # Of 0, 1, …, 99 the quantiles at 1/8, 3/8, 5/8 and 7/8 are about 12, 37, 62, 87.
    quantiles, samples = torch.zeros(1, 4, dtype=torch.float64), torch.arange(100.0, dtype=torch.float64)[None]
    for _ in range(4000):
        quantiles -= 0.2 * slope(quantiles, samples, 0.01)
    torch.testing.assert_close(quantiles, torch.tensor([[12.0, 37, 62, 87]], dtype=torch.float64), atol=1, rtol=0)


def test_spread_by_hand():
    # Action 0: quantiles 0, 2; action 1: 1, 5, the better one: -2, 2 around its mean. Forbidden, action 0 is left.
    quantiles = torch.tensor([[[[0.0, 2], [1, 5]]]]).expand(1, 3, 2, 2)
    assert spread(quantiles, None).tolist() == [[[-2, 2]] * 3]
    allowed = torch.tensor([[True, True], [True, False], [False, False]])
    assert spread(quantiles, allowed).tolist() == [[[-2, 2], [-1, 1], [0, 0]]]


def test_a_fold_finds_the_distribution_of_returns():
    """Two states, one after the other; the first pays 0, the second -1 or 1 as often, and ends. With gamma .5 the first
    is worth 0 and its return is -.5 or .5, the second's -1 or 1: quantiles at 1/4 and 3/4 are just these."""
    frames = np.tile(np.array([[-1.0], [1.0], [1.0]], np.float32), (128, 1))
    log = Log(
        observations=frames, actions=np.tile([0, 0, 0, 0, 0, 1, 0, 1], 32), rewards=np.tile([0.0, -1, 0, 1], 64),
        terminations=np.tile([False, True], 128), truncations=np.zeros(256, np.bool_), lengths=np.full(128, 2),
        observation_space=gym.spaces.Box(-2, 2, (1,)), action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    settings = MlpSettings(width=16, depth=1, updates=300, batch=64, loss="quantile", quantiles=2, huber=0.05)
    q = Mlp(settings, log.observation_space, log.action_space, (0, 1), torch.device("cpu"))
    rows = transitions(log, 0.5)
    with torch.no_grad():
        iterate(q, rows, 3)
        found = q.runs[0][1]._outputs(q.encoder(frames[:2]))  # [P, 2, A * N]
        found = found * q.state.scale[:, None, None] + q.state.mean[:, None, None]
    expected = torch.tensor([[-0.5, 0.5], [-1, 1]]).expand(2, 2, 2)
    torch.testing.assert_close(found[:, :, :2], expected, atol=0.1, rtol=0)
    means = q.values(frames[:2])[:, :, 0]
    torch.testing.assert_close(means, torch.zeros(2, 2), atol=0.1, rtol=0)
