"""Networks made of modules and of other networks: gradients against autograd, symmetries, and what is refused."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from fqi.errors import UserError
from fqi.networks.convolutions import Convolutional, image_stack, shifted
from fqi.networks.encodings import Dueling, Pairs, PerAction
from fqi.networks.fused import Fused, Parts
from fqi.networks.modules import FromModule
from fqi.networks.perceptrons import Dense
from fqi.networks.qmap import QMap


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def image(*shape):
    return image_stack(gym.spaces.Box(0, 255, shape, np.uint8))


def plain(space_columns, outputs):
    return nn.Sequential(nn.Linear(space_columns, 6), nn.Tanh(), nn.Linear(6, outputs))


def squashed():
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3), nn.Tanh())


PARTS = Parts((image(1, 6, 5),), 3, (4, 2))
ARCHITECTURES = {
    "inputs": (Pairs(Dense((4 + 3, 6, 1)), 3), 4),
    "networks": (PerAction(Dense((4, 6, 1)), 3), 4),
    "dueling": (Dueling(Dense((4, 6, 4))), 4),
    "module": (FromModule(partial(plain, 4, 3), 4, 3, "plain"), 4),
    "squashed": (FromModule(squashed, 4, 3, "squashed"), 4),
    "fused": (FromModule(partial(Fused, PARTS, [6], 3, 2, 4, True), PARTS.columns, 3, "fused"), PARTS.columns),
    "qmap": (FromModule(partial(QMap, image(1, 6, 5), 2, 1, 2, 0.5), 30, 60, "map"), 30),
}


def made(name, seeds=(1, 2)):
    architecture, columns = ARCHITECTURES[name]
    network = architecture.over(torch.zeros(len(seeds), architecture.parameters))
    network.initialise([torch.Generator().manual_seed(s) for s in seeds])
    inputs = torch.rand(len(seeds), 5, columns, generator=torch.Generator().manual_seed(0))
    if name == "fused":
        inputs[:, :, -2:] = torch.tensor([3.0, 1.0])
    return architecture, network, inputs


def shaken(network):
    network.rescale(torch.ones(len(network.flat)))
    network.flat.add_(0.3 * torch.rand(network.flat.shape, generator=torch.Generator().manual_seed(3)) - 0.1)
    return network


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_begin_at_zero_and_can_be_rescaled(name):
    _, network, inputs = made(name)
    assert (network.outputs(inputs) == 0).all()
    before = shaken(network).outputs(inputs)
    assert before.std() > 0
    network.rescale(torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(network.outputs(inputs), before * torch.tensor([2.0, 0.5])[:, None, None])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_slopes(name):
    """Against differences of the outputs themselves, along random directions."""
    architecture, network, inputs = made(name)
    activations = shaken(network).forward(inputs)
    torch.testing.assert_close(activations[-1], network.outputs(inputs))
    slope = torch.randn(activations[-1].shape, generator=torch.Generator().manual_seed(4))
    network.backward(activations, slope)
    double = architecture.over(network.flat.double())
    for seed in range(3):
        way = torch.randn(network.flat.shape, generator=torch.Generator().manual_seed(seed)).double()
        way[:, network.gradient.abs().sum(0) == 0] = 0  # padding, and gains that are not learned
        moved = [architecture.over(double.flat + sign * 1e-5 * way).outputs(inputs.double()) for sign in (1, -1)]
        difference = ((moved[0] - moved[1]) / 2e-5 * slope).sum((1, 2))
        torch.testing.assert_close((network.gradient * way).sum(1), difference, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bits_do_not_depend_on_neighbours(name):
    _, both, inputs = made(name)
    _, one, _ = made(name, (2,))
    assert torch.equal(one.flat[0], both.flat[1])
    shaken(both)
    one.flat.copy_(both.flat[1:])
    torch.testing.assert_close(one.outputs(inputs[1:])[0], both.outputs(inputs)[1])


def test_dueling_by_hand():
    network = Dueling(Dense((1, 4))).over(torch.zeros(1, 16))
    network.streams.layers[0][1].copy_(torch.tensor([[[10.0, 1, 2, 6]]]))  # the value, and advantages of mean 3
    assert network.outputs(torch.zeros(1, 1, 1)).tolist() == [[[8, 9, 13]]]


def test_one_network_for_each_action_learns_from_its_own_rows_alone():
    _, network, inputs = made("networks")
    activations = shaken(network).forward(inputs)
    slope = torch.zeros_like(activations[-1])
    slope[:, :, 1] = 1
    network.backward(activations, slope)
    own = network.gradient.view(2, 3, -1).abs().sum(2) > 0
    assert own.tolist() == [[False, True, False]] * 2


def test_a_turned_image_has_turned_values():
    stack = image(1, 8, 8)
    torch.manual_seed(0)  # an image and weights of this test alone
    network = QMap(stack, 3, 1, rotations=4, turn=1.0)
    x = torch.rand(2, 1, 8, 8)
    maps = network(x.flatten(1)).view(2, 4, 8, 8)
    turned = network(torch.rot90(x, 1, (2, 3)).flatten(1)).view(2, 4, 8, 8)
    torch.testing.assert_close(turned, torch.rot90(maps.roll(-1, 1), 1, (2, 3)))
    separate = QMap(stack, 3, 1, rotations=4)
    assert separate(x.flatten(1)).shape == (2, 256)


def test_a_pixel_is_valued_by_what_is_around_it():
    torch.manual_seed(0)
    network = QMap(image(1, 24, 24), 2, 1)
    x = torch.zeros(1, 1, 24, 24)
    y = x.clone()
    y[0, 0, 2, 3] = 255.0
    changed = (network(x.flatten(1)) != network(y.flatten(1))).view(24, 24)
    assert changed[2, 3]
    assert not changed[16:, 16:].any()


@pytest.mark.parametrize("shape", [(3, 6, 7), (6, 7, 3), (2, 6, 7, 3)])
def test_images_are_moved_and_their_edges_drawn_out(shape):
    stack = image(*shape)
    pixels = torch.arange(int(np.prod(shape)), dtype=torch.uint8).repeat(40, 1)
    found = shifted(stack, pixels, 2, torch.Generator().manual_seed(0))
    before, after = stack.images(pixels[:1])[0], stack.images(found)
    moves = {}
    for row in after:
        fits = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if torch.equal(row, _moved(before, i, j))]
        assert len(fits) == 1
        moves[fits[0]] = True
    assert len(moves) > 10
    assert Convolutional(stack, (stack.pixels, 4, 2), shift=2).varies


def _moved(image, i, j):
    height, width = image.shape[1:]
    rows, columns = (torch.arange(n).add(k).clamp(0, n - 1) for n, k in ((height, i), (width, j)))
    return image[:, rows][:, :, columns]


def test_modules_that_cannot_be_learned_are_refused():
    for make, said in (
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), "keeps .*running_mean.* take layer norm"),
        (lambda: nn.Flatten(), "no parameters to learn"),
        (lambda: nn.Linear(4, 2), r"must return outputs \(3, 3\), found \(3, 2\)"),
    ):
        with pytest.raises(UserError, match=said):
            FromModule(make, 4, 3, "own")


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    made("module")
    assert torch.equal(torch.random.get_rng_state(), before)
