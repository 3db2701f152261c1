"""Inputs on a common scale."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.networks.standards import Brightness, measured, standards

PARTS = gym.spaces.Dict([
    ("eye", gym.spaces.Box(0, 255, (2, 2), np.uint8)),
    ("feel", gym.spaces.Box(-9, 900, (2,))),
    ("kind", gym.spaces.Discrete(2)),
])  # fmt: skip


def features() -> torch.Tensor:
    """Four pixels, of which one varies much, one little and two not at all; two columns, one constant; a category."""
    return torch.tensor([[0, 10, 128, 0, 1, 300, 1, 0], [8, 12, 128, 0, 3, 300, 0, 1]], dtype=torch.float32)


def test_what_never_changes_becomes_0_and_pixels_share_one_spread() -> None:
    centre, spread = standards(features(), PARTS)
    assert centre.tolist() == [[4, 11, 128, 0, 2, 300, 0, 0]]
    together = pytest.approx((17 / 4) ** 0.5)
    assert spread.tolist() == [[together, together, 1, 1, 1, 1, 1, 1]]


def test_piece_by_piece_is_all_at_once() -> None:
    drawn = np.random.default_rng(0).integers(0, 200, (50, 8)).astype(np.float32)
    drawn[:, 5] = 300
    centre, spread = standards(torch.from_numpy(drawn), PARTS)
    pieces = measured(iter(np.split(drawn, [7, 30])), PARTS)
    torch.testing.assert_close(pieces[0].float(), centre[0])
    torch.testing.assert_close(pieces[1].float(), spread[0])


def test_the_scale_of_images_is_that_of_all_pieces_together() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 12), np.uint8))
    centre, spread = Brightness(torch.split(pixels, 7)).scale()
    torch.testing.assert_close(centre, pixels.float().mean(0))
    assert spread == pytest.approx(float((pixels - pixels.float().mean(0)).square().mean().sqrt()))
    assert Brightness([pixels[:1]]).scale()[1] == 1  # an image that never changes
