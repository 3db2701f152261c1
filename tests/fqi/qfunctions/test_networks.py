"""Regressors made of networks, from a log to a run: what they need, what they refuse, and that going on is exact."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.datasets.collect import Request, collect
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.imports import trust
from fqi.policies import Greedy
from fqi.qfunctions.cnn import Cnn
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.own import Own
from fqi.qfunctions.settings import CnnSettings, MlpSettings, OwnSettings, UnetSettings
from fqi.qfunctions.unet import Unet
from fqi.reports.evaluation import evaluate, start_seeds
from fqi.run import Run
from fqi.training import configure, resume, train
from tests.fqi.training_kit import assert_same, walks

CPU = torch.device("cpu")
THREE = gym.spaces.Discrete(3)
SMALL = {"iterations": 3, "updates": 4, "batch": 16, "gamma": 0.9, "workers": 1, "ensemble": 2, "holdout": 0.1}


def seen(log):
    """The walks as images of 1 x 6 x 5 bytes."""
    place = np.clip((np.asarray(log.observations)[:, 0] + 2) * 60, 0, 255).astype(np.uint8)
    frames = np.broadcast_to(place[:, None, None, None], (len(place), 1, 6, 5)).copy()
    frames[:, 0, 0] = np.arange(5)
    return dataclasses.replace(log, observations=frames, observation_space=gym.spaces.Box(0, 255, (1, 6, 5), np.uint8))


@pytest.mark.parametrize(
    "flags",
    [
        {"regressor": "cnn", "dense": 8, "shift": 1, "stack": 3},
        {"regressor": "multimodal", "encoder": 4, "width": 8},
    ],
)
def test_a_run_goes_on_exactly_and_plays(flags, tmp_path):
    log = seen(walks(6))
    whole = train(log, configure(log, flags=SMALL | flags), tmp_path / "whole")
    half = train(log, configure(log, flags=SMALL | flags | {"iterations": 2}), tmp_path / "half")
    assert_same(whole, resume(Run.open(half.path), log, iterations=3))
    q = whole.build()
    whole.load(q, 3)
    policy = Greedy(q)
    assert policy.stack == flags.get("stack", 1)
    shown = (
        np.repeat(np.asarray(log.observations)[:4, None], policy.stack, 1) if policy.stack > 1 else log.observations[:4]
    )
    assert policy.probabilities(shown).sum(1).tolist() == [1] * 4


def test_a_run_that_is_shown_stacks_is_evaluated_in_its_environment(tmp_path):
    log = collect(Request.new("CartPole-v1", {"envs": 8}, 200, None), tmp_path / "log.h5")
    flags = SMALL | {"regressor": "mlp", "width": 8, "stack": 3, "iterations": 2}
    run = train(log, configure(log, flags=flags), tmp_path / "run")
    (row,) = evaluate(run, [2], episodes=4)
    q = run.build()
    run.load(q, 2)
    assert q.stack == 3
    starts = make_slots({"id": "CartPole-v1"}, 4).reset(np.arange(4), start_seeds(0, 4))
    stacks = np.repeat(starts[:, None], 3, 1)  # at a start the first frame is shown three times
    np.testing.assert_allclose(row["predicted"], q.values(stacks).amin(0).amax(1).numpy(), rtol=1e-5)
    assert all(length >= 8 for length in row["lengths"])  # nobody falls sooner


@pytest.mark.slow
def test_workers_do_not_change_a_bit_of_images(tmp_path):
    log = seen(walks(4))
    flags = SMALL | {"regressor": "cnn", "dense": 8, "iterations": 2, "stack": 2}
    one = train(log, configure(log, flags=flags), tmp_path / "one")
    assert_same(one, train(log, configure(log, flags=flags | {"workers": 2}), tmp_path / "two"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Cnn(CnnSettings(), gym.spaces.Box(-1, 1, (4,)), THREE, (0,), CPU), "cnn regressor needs images"),
        (lambda: Unet(UnetSettings(), image(6, 6), THREE, (0,), CPU), "one action for each of 36 pixels, .* 3 actions"),
        (
            lambda: Unet(UnetSettings(), image(6, 6), gym.spaces.Discrete(144), (0,), CPU),
            r"1 x 6 x 6 = 36 actions, .* 144; give --rotations 4",
        ),
        (
            lambda: Unet(UnetSettings(turn=0.5), image(6, 6), gym.spaces.Discrete(36), (0,), CPU),
            "turn says how far rotations are apart",
        ),
        (
            lambda: Mlp(MlpSettings(embedding=2), gym.spaces.Box(-1, 1, (4,)), THREE, (0,), CPU),
            "embedding is for categories, and the observations have none",
        ),
        (lambda: Own(OwnSettings(), image(6, 6), THREE, (0,), CPU), "give --network py:MODULE:CALLABLE"),
        (
            lambda: Own(OwnSettings(network="py:json:tool"), image(6, 6), THREE, (0,), CPU),
            "has not been allowed to run: say --trust",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def image(*shape):
    return gym.spaces.Box(0, 255, shape, np.uint8)


def nothing(space, outputs):
    return outputs


def test_a_callable_that_makes_no_module_is_refused():
    spec = "py:tests.fqi.qfunctions.test_networks:nothing"
    trust(spec, "network")
    with pytest.raises(UserError, match=r"must return a torch\.nn\.Module, found int"):
        Own(OwnSettings(network=spec), image(6, 6), THREE, (0,), CPU)


def test_the_example_of_the_docs_learns(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    (tmp_path / "mine.py").write_text(text.split("```python\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    log = walks(6)
    trust("py:mine:network", "network")
    flags = SMALL | {"regressor": "own", "network": "py:mine:network", "updates": 80, "lr": 0.02, "iterations": 1}
    run = train(log, configure(log, flags=flags), tmp_path / "run")
    assert run.metrics[0]["training_loss"] < float(np.var(log.rewards))
    sys.modules.pop("mine")
