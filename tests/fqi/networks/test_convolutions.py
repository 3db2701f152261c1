"""Networks for images: gradients against autograd, bits that mind nobody, shapes of every kind of image."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.networks.convolutions import image_stack
from fqi.networks.population import Population


def images(*shape):
    return gym.spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels", "left"),
    [
        ((84, 84, 4), 4, 64 * 7 * 7),  # Atari: 84 -> 20 -> 9 -> 7
        ((4, 84, 84), 4, 64 * 7 * 7),
        ((36, 36, 3), 3, 64),  # 36 -> 8 -> 3 -> 1: the least that the large network takes
        ((35, 40, 3), 3, 64 * 7 * 9),  # 35 -> 16 -> 7, 40 -> 19 -> 9
        ((10, 10, 6), 6, 64 * 6 * 6),  # 10 -> 8 -> 6
        ((5, 5, 5), 5, 64),
    ],
)
def test_the_network_suits_the_image(shape, channels, left):
    stack = image_stack(images(*shape))
    assert (stack.channels, stack.features) == (channels, left)
    assert stack.channels_first == (shape == (4, 84, 84))


@pytest.mark.parametrize("space", [images(84, 84), images(4, 84, 4), gym.spaces.Box(0, 1, (84, 84, 3))])
def test_what_is_no_image_or_too_small_has_none(space):
    assert image_stack(space) is None


def fitted(seeds, shape=(12, 10, 3), steps=3):
    population = Population(images(*shape), 2, seeds, width=32, depth=1)
    with torch.no_grad():
        for _ in range(steps):
            raw = torch.stack([torch.rand(16, int(np.prod(shape)), generator=g) for g in population.generators])
            activations = population.forward(raw)
            wanted = raw.mean(2, keepdim=True)
            population.learn(activations, (activations[-1] - wanted) / 16, 0.01, 1.0)
    return population


@pytest.mark.parametrize("shape", [(12, 10, 3), (2, 36, 36)])
def test_a_networks_bits_do_not_depend_on_its_neighbours(shape):
    many = fitted([5, 6, 7], shape)
    for index, seed in enumerate([5, 6, 7]):
        assert torch.equal(fitted([seed], shape).flat[0], many.flat[index])


@pytest.mark.parametrize("shape", [(12, 10, 3), (2, 36, 36)])
def test_gradients_equal_autograds(shape):
    population = fitted([1, 2], shape)
    raw, wanted = torch.rand(2, 8, int(np.prod(shape))), torch.randn(2, 8, 2)
    with torch.no_grad():
        activations = population.forward(raw)
        population.network.backward(activations, activations[-1] - wanted)
    flat = population.flat.clone().requires_grad_()
    stack = population.stack
    for head in range(2):  # written once more, by torch's own modules' functions
        at, x = 0, ((raw[head] - population.centre[head]) / population.spread[head]).view(8, *shape)
        x = x if stack.channels_first else x.permute(0, 3, 1, 2)

        def next_parameters(*wanted, head=head):
            nonlocal at
            at += int(np.prod(wanted))
            return flat[head, at - int(np.prod(wanted)) : at].view(wanted)

        for channels, kernel, stride in stack.layers:
            weight = next_parameters(channels, x.shape[1], kernel, kernel)
            x = torch.conv2d(x, weight, next_parameters(channels), stride).relu()
        at = -(-at // 16) * 16
        x = torch.nn.functional.linear(x.flatten(1), next_parameters(32, stack.features), next_parameters(32)).relu()
        x = torch.nn.functional.linear(x, next_parameters(2, 32), next_parameters(2))
        torch.testing.assert_close(x, activations[-1][head])
        (x - wanted[head]).square().sum().div(2).backward()
    torch.testing.assert_close(population.network.gradient, flat.grad, rtol=1e-4, atol=1e-5)


def test_frames_stay_bytes_and_both_orders_of_axes_are_one_image():
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (300, 12, 10, 3), np.uint8)
    frames.flags.writeable = False
    last, first = fitted([1, 2]), Population(images(3, 12, 10), 2, [1, 2], width=32, depth=1)
    first.restore({name: tensor.clone() for name, tensor in last.checkpoint().items()})
    features = last.encode(frames)
    assert features.dtype == torch.uint8
    assert features.shape == (300, 360)
    other = first.encode(frames.transpose(0, 3, 1, 2))
    last.standardise(features)
    first.standardise(other)
    outputs = last.outputs(features)
    assert outputs.shape == (2, 300, 2)
    assert float(outputs.std()) > 0
    torch.testing.assert_close(first.outputs(other), outputs)
    assert torch.equal(last.member(1).outputs(features)[0], outputs[1])
