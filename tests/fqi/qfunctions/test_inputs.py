"""Inputs of a regression: the same numbers however they are asked for, and no byte twice."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.qfunctions.inputs import BLOCK, GATHERED, ColumnEncoder, Columns, ImageEncoder, Images
from fqi.spaces import stacked
from fqi.transitions import transitions
from tests.fqi.small import log_of

CPU = torch.device("cpu")
IMAGES = gym.spaces.Box(0, 255, (3, 2), np.uint8)


def image_log():
    """Episodes of 2 and 3 steps: the frames 0, 1, 2 and 3, 4, 5, 6; frame f has the bytes 6 f, 6 f + 1, …"""
    frames = np.arange(7 * 6, dtype=np.uint8).reshape(7, 3, 2)
    return log_of(([0, 0], "truncated"), ([0, 0, 0], "terminated"), observations=frames, observation_space=IMAGES)


def bound(stack):
    log = image_log()
    rows = transitions(log, 0.9, stack=stack)
    encoder = ImageEncoder(stacked(IMAGES, stack), CPU, centred=False)
    return log, rows, encoder.bound(rows, torch.ones(len(rows), dtype=torch.bool))


def test_stacks_are_gathered_from_frames_that_are_kept_once():
    log, rows, inputs = bound(3)
    assert (len(inputs), inputs.columns) == (7, 18)
    assert inputs.bytes.shape == (7, 6)
    assert inputs.bytes.data_ptr() == log.observations.__array_interface__["data"][0]  # the log's own memory
    first = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [3, 3, 3], [3, 3, 4], [3, 4, 5], [4, 5, 6]]
    expected = torch.tensor([[f * 6 + i for f in stack for i in range(6)] for stack in first]) / 255
    assert torch.equal(inputs.between(0, 7), expected)
    assert torch.equal(inputs.at(torch.tensor([6, 0, 6])), expected[[6, 0, 6]])
    assert torch.equal(inputs.packed(torch.tensor([5, 2])).at(torch.tensor([0, 1, 1])), expected[[5, 2, 2]])
    assert torch.equal(ImageEncoder(stacked(IMAGES, 3), CPU, centred=False)(rows.observations()), expected)


def test_one_frame_is_a_stack_of_one():
    log, rows, inputs = bound(1)
    assert torch.equal(inputs.between(2, 5), torch.from_numpy(log.observations.reshape(7, 6).copy())[2:5] / 255)
    assert rows.observations() is not None
    assert np.shares_memory(rows.observations(), log.observations)


@pytest.mark.parametrize(("batch", "side", "batches"), [(32, 10, BLOCK), (256, 84, 2), (4096, 84, 1)])
def test_large_images_are_gathered_a_few_batches_at_once(batch, side, batches):
    pixels, index = torch.zeros(2, side * side, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64)
    images = Images(pixels, index, torch.zeros(side * side), torch.ones(1))
    assert images.block(batch) == batches
    assert images.block(batch) in (1, BLOCK) or 4 * images.block(batch) * batch * images.columns <= GATHERED


def test_columns_are_padded_to_cache_lines_and_standardised_by_the_training_rows():
    log = log_of(([0, 0], "truncated"), ([0, 0, 0], "terminated"))  # the frame f is the number f
    rows = transitions(log, 0.9)
    training = torch.tensor([True, True, False, False, False])  # the frames 0 and 1: mean .5, spread .5
    encoder = ColumnEncoder(log.observation_space, CPU)
    inputs = encoder.bound(rows, training)
    assert isinstance(inputs, Columns)
    assert len(inputs) == 16
    assert inputs.between(0, 7)[:7, 0].tolist() == [-1, 1, 3, 5, 7, 9, 11]
    assert encoder(np.array([[2.0]], np.float32)).tolist() == [[3]]
    assert {name: t.tolist() for name, t in encoder.tensors().items()} == {"input_centre": [0.5], "input_spread": [0.5]}


def test_pixels_are_centred_each_by_itself_and_spread_together_by_the_training_rows():
    log = image_log()
    rows = transitions(log, 0.9)
    training = torch.tensor([True, True, False, False, False])  # the frames 0 and 1: each pixel 3 from its mean
    encoder = ImageEncoder(IMAGES, CPU, centred=True)
    inputs = encoder.bound(rows, training)
    scale = {name: tensor.tolist() for name, tensor in encoder.tensors().items()}
    assert scale == {"input_centre": [3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "input_spread": [3.0]}
    assert torch.equal(inputs.between(0, 3), torch.tensor([[-1.0] * 6, [1.0] * 6, [3.0] * 6]))
    assert torch.equal(encoder(rows.observations()), inputs.between(0, 7))
