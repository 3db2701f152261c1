"""Training on a CUDA device: values near the CPU's, and runs that can be gone on with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fqi.networks.perceptrons import Dense
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.heads import Heads
from fqi.qfunctions.inputs import PIECE
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.settings import MlpSettings
from fqi.qfunctions.state import State
from fqi.run import Run
from fqi.training import configure, resume, train
from fqi.transitions import transitions
from tests.fqi.training_kit import config_of, rows, walks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
LOG = walks(40)
ROWS = transitions(LOG, 0.9)
SETTINGS = {"iterations": 6, "seeds": 2, "updates": 60, "width": 16, "batch": 64, "workers": None}


def config(device, **more):
    return config_of(LOG, **{k: v for k, v in (SETTINGS | more).items() if v is not None}, device=device)


def values(run):
    q = run.build()
    run.load(q, run.rounds[-1])
    return q.values(LOG.observations).numpy()


def test_one_step_equals_the_cpus():
    generator = torch.Generator().manual_seed(0)
    dense = Dense((4, 32, 32, 3))
    flat = torch.randn(3, State.new(dense, (0, 1, 2), torch.device("cpu")).flat.shape[1], generator=generator) * 0.2
    inputs = torch.randn(3, 64, 4, generator=generator)
    actions, wanted = torch.randint(3, (3, 64, 1), generator=generator), torch.randn(3, 64, 1, generator=generator)
    found = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        heads = Heads(MlpSettings(width=32), dense, State.new(dense, (0, 1, 2), device))
        heads.state.flat.copy_(flat)
        with torch.no_grad():
            heads._step(inputs.to(device), actions.to(device), wanted.to(device), rates=[1e-3] * 3)
            found.append((heads.network.gradient.cpu(), heads.values(inputs[0].to(device), PIECE).cpu()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-3)


def test_training_ends_near_the_cpus_values(tmp_path):
    # Shuffles and first weights are drawn by another generator, so that only the outcome can be compared.
    found = {d: values(train(LOG, config(d, updates=300), tmp_path / d)).mean(0) for d in ("cpu", "cuda")}
    assert np.abs(found["cpu"]).max() > 0.3
    assert np.abs(found["cpu"] - found["cuda"]).mean() < 0.1
    assert np.corrcoef(found["cpu"].ravel(), found["cuda"].ravel())[0, 1] > 0.95


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = train(LOG, config("cuda"), tmp_path / "whole")
    half = train(LOG, config("cuda", iterations=3), tmp_path / "half")
    again = resume(Run.open(half.path), LOG, iterations=6)
    assert len(rows(again)) == len(rows(whole)) == 12
    np.testing.assert_allclose(values(again), values(whole), rtol=1e-3, atol=1e-3)


def test_auto_takes_the_device_and_writes_it_down(tmp_path):
    run = train(LOG, config("auto", iterations=1), tmp_path / "run")
    assert run.config.train.device == "cuda"


def test_what_was_trained_there_is_judged_here(tmp_path):
    run = train(LOG, config("cuda", iterations=1), tmp_path / "run")
    q = run.build("cpu")
    run.load(q, 1)
    assert q.values(LOG.observations[:5]).device.type == "cpu"


@pytest.mark.parametrize("flags", [{"start": "cold"}, {"patience": 2}, {"loss": "squared", "depth": 3}, {"batch": 33},
                                   {"precision": "tf32"}, {"precision": "bf16"}, {"encoding": "inputs"}])  # fmt: skip
def test_other_settings_train_there_too(flags, tmp_path):
    run = train(LOG, config("cuda", iterations=2, **flags), tmp_path / "run")
    assert run.record["status"] == "finished"


@pytest.mark.parametrize("flags", [
    {"average": 2, "target": "double", "weights": "prioritised"}, {"target": "mixture", "weights": "split"},
    {"n_step": 3, "n_step_rule": "cut", "trace_decay": 0.9}, {"constraint": 0.3, "conservative": 0.5},
], ids=str)  # fmt: skip
def test_every_slot_computes_on_the_device_and_goes_on(flags, tmp_path):
    whole = train(LOG, config("cuda", **flags), tmp_path / "whole")
    half = train(LOG, config("cuda", **(flags | {"iterations": 3})), tmp_path / "half")
    again = resume(Run.open(half.path), LOG, iterations=6)
    np.testing.assert_allclose(values(again), values(whole), atol=1e-3)


@pytest.mark.parametrize("flags", [
    {}, {"loss": "huber", "clip": 0.5}, {"weights": "prioritised"}, {"precision": "bf16"}, {"encoding": "networks"},
], ids=str)  # fmt: skip
def test_the_recorded_step_ends_where_single_steps_do(flags, tmp_path):
    found = []
    for recorded in (False, True):
        q = Mlp(
            MlpSettings(width=16, updates=40, batch=32, **{k: v for k, v in flags.items() if k != "weights"}),
            LOG.observation_space, LOG.action_space, (0, 1), torch.device("cuda"),
        )  # fmt: skip
        q.bind(ROWS, torch.ones(len(ROWS), dtype=torch.bool))
        for _, heads in q.crew.here.groups:
            assert heads.graph is not None
            heads.graph = heads.graph if recorded else None
        draw = torch.linspace(0.5, 2, len(ROWS), device="cuda").repeat(2, 1)
        weights = Weights(draw, 1 / draw) if "weights" in flags else None
        with torch.no_grad():
            for number in range(3):
                q.fit(torch.linspace(-1, 1 + number, len(ROWS), device="cuda").repeat(2, 1), weights)
                q.log_values(0, len(ROWS))  # as a scan does between rounds
        found.append(q.values(LOG.observations).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-2)


def test_a_sweep_trains_there(tmp_path):
    run = train(LOG, config_of(LOG, **{k: v for k, v in SETTINGS.items() if v is not None}, device="cuda",
                               sweep={"lr": [1e-3, 3e-3], "clip": [1.0, 10.0]}), tmp_path / "run")  # fmt: skip
    assert run.record["status"] == "finished"
    assert len(rows(run)) == 6 * 8


def test_continuous_actions_are_searched_there_too_and_training_goes_on(tmp_path):
    from tests.fqi.test_continuous_training import LOG as PENDULUM
    from tests.fqi.test_continuous_training import SMALL

    flags = {k: v for k, v in SMALL.items() if k != "workers"} | {"seeds": 2, "device": "cuda"}
    whole = train(PENDULUM, configure(PENDULUM, flags=flags), tmp_path / "whole")
    half = train(PENDULUM, configure(PENDULUM, flags=flags | {"iterations": 2}), tmp_path / "half")
    again = resume(Run.open(half.path), PENDULUM, iterations=3)
    ends = [[row["mean_value"] for row in run.metrics if row["round"] == 3] for run in (whole, again)]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3)
