"""A population: its gradients against autograd, and that its networks mind nobody."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.networks.perceptrons import Perceptrons, parameters
from fqi.networks.population import Population

SPACE = gym.spaces.Box(-np.inf, np.inf, (3,))


def fitted(seeds, steps=20):
    """Networks that regress a sum, each on rows drawn by its own generator."""
    population = Population(SPACE, 2, seeds, width=16, depth=2)
    with torch.no_grad():
        population.standardise(torch.stack([torch.randn(64, 3, generator=g) for g in population.generators]) * 5 + 2)
        for _ in range(steps):
            features = torch.stack([torch.randn(32, 3, generator=g) for g in population.generators])
            activations = population.forward(features)
            slope = (activations[-1] - features.sum(2, keepdim=True)) / 32
            population.learn(activations, slope, 0.01, 1.0)
    return population


def test_a_networks_bits_do_not_depend_on_its_neighbours():
    many = fitted([5, 6, 7])
    for index, seed in enumerate([5, 6, 7]):
        alone = fitted([seed])
        assert torch.equal(alone.flat[0], many.flat[index])
        assert torch.equal(alone.centre[0], many.centre[index])


def test_gradients_equal_autograds():
    population = fitted([1, 2])
    features, wanted = torch.randn(2, 10, 3), torch.randn(2, 10, 2)
    x = (features - population.centre) / population.spread
    leaves = [t.detach().clone().requires_grad_() for layer in population.network.layers for t in layer]
    for weight, bias in zip(leaves[::2], leaves[1::2], strict=True):
        x = torch.baddbmm(bias, x, weight.transpose(1, 2))
        if weight is not leaves[-2]:
            x = x.relu()
    (x - wanted).square().sum().div(2).backward()
    with torch.no_grad():
        activations = population.forward(features)
        population.network.backward(activations, activations[-1] - wanted)
    for (weight, bias), g, h in zip(population.network.layer_gradients, leaves[::2], leaves[1::2], strict=True):
        torch.testing.assert_close(weight, g.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bias, h.grad, rtol=1e-4, atol=1e-5)


def test_a_member_is_asked_alone_and_a_checkpoint_taken_back():
    population = fitted([1, 2])
    features = torch.randn(5000, 3)
    both = population.outputs(features)
    torch.testing.assert_close(population.member(1).outputs(features)[0], both[1])
    other = Population(SPACE, 2, [8, 9], width=16, depth=2)
    other.restore({name: tensor.clone() for name, tensor in population.checkpoint().items()})
    assert torch.equal(other.outputs(features), both)
    with pytest.raises(UserError, match="finite"):
        other.restore(population.checkpoint() | {"weights": torch.full_like(population.flat, torch.nan)})


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_no_layer_is_so_narrow_that_a_network_minds_its_neighbours(inputs, outputs):
    sizes = (inputs, 64, 64, outputs)
    generators = [torch.Generator().manual_seed(p) for p in range(3)]
    flat = torch.randn(3, parameters(sizes), generator=generators[0])
    features, slope = torch.randn(3, 32, inputs), torch.randn(3, 32, outputs)
    many = Perceptrons(sizes, flat)
    activations = many.forward(features)
    many.backward(activations, slope)
    for p in range(3):
        alone = Perceptrons(sizes, flat[p : p + 1].clone())
        found = alone.forward(features[p : p + 1].clone())
        alone.backward(found, slope[p : p + 1].clone())
        assert all(torch.equal(one[0], of_many[p]) for one, of_many in zip(found, activations, strict=True))
        assert torch.equal(alone.gradient[0], many.gradient[p])
