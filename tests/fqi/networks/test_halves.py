"""Products in bfloat16: near those in float32, with weights, gradients and outputs that are float32."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from fqi.errors import UserError
from fqi.networks.convolutions import Convolutional, image_stack
from fqi.networks.modules import FromModule
from fqi.networks.perceptrons import Dense
from fqi.training import configure, train
from tests.fqi.training_kit import config_of, walks

LOG = walks(12)


def plain(columns, outputs):
    return nn.Sequential(nn.Linear(columns, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs))


def architecture(kind, halves):
    match kind:
        case "dense":
            return Dense((6, 32, 32, 3), halves)
        case "deep":
            return Dense((6, 32, 32, 32, 3), halves)
        case "module":
            return FromModule(partial(plain, 6, 3), 6, 3, "plain", halves=halves)
    stack = image_stack(gym.spaces.Box(0, 255, (2, 10, 10), np.uint8))
    return Convolutional(stack, (stack.pixels, 16, 3), 0, halves)


@pytest.mark.parametrize("kind", ["dense", "deep", "module", "convolutions"])
def test_values_and_gradients_are_near_those_of_float32(kind):
    exact, short = (architecture(kind, halves) for halves in (False, True))
    generator = torch.Generator().manual_seed(0)
    flat = torch.zeros(2, exact.parameters)
    exact.over(flat).initialise([generator, generator])
    flat += 0.05 * torch.randn(flat.shape, generator=generator)
    inputs = torch.randn(2, 64, 6, generator=generator)
    if kind == "convolutions":
        inputs = torch.randn(2, 64, 200, generator=generator)
    slope, found = torch.randn(2, 64, 3, generator=generator), []
    for one in (exact, short):
        network = one.over(flat.clone())
        activations = network.forward(inputs)
        network.backward(activations, slope)
        assert (activations[-1].dtype, network.gradient.dtype) == (torch.float32, torch.float32)
        assert torch.equal(network.outputs(inputs), activations[-1])
        found.append((activations[-1], network.gradient))
    (values, gradient), (near, slopes) = found
    assert 0 < (values - near).abs().max() < 0.03 * values.abs().max()
    assert torch.nn.functional.cosine_similarity(gradient, slopes).min() > 0.999


def test_a_run_says_its_precision_and_learns_nearly_the_same(tmp_path):
    found = {}
    for precision in ("float32", "bf16"):
        run = train(LOG, config_of(LOG, iterations=4, updates=40, precision=precision, depth=2), tmp_path / precision)
        assert run.config.regressor.precision == precision
        q = run.build()
        run.load(q, 4)
        found[precision] = q.values(LOG.observations)
    difference = (found["float32"] - found["bf16"]).abs().mean()
    assert 0 < difference < 0.1 * found["float32"].abs().mean()


def test_what_has_no_such_products_refuses():
    with pytest.raises(UserError, match="one such layer; give depth 2 or more"):
        config_of(LOG, precision="bf16", depth=1)
    with pytest.raises(UserError, match="NVIDIA's GPUs, and not of a CPU"):
        config_of(LOG, precision="tf32", device="cpu")
    with pytest.raises(UserError, match=r"precision belongs to .* no effect on linear"):
        configure(LOG, flags={"regressor": "linear", "precision": "bf16"})


def test_tf32_is_refused_where_training_would_be_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="would train on the CPU"):
        train(LOG, config_of(LOG, precision="tf32", device="auto"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
