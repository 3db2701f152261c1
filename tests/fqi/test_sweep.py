"""Sweeps: every combination on every seed in one run, each member as if it were trained alone, and exact to go on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fqi.datasets.collect import Request, collect
from fqi.errors import UserError
from fqi.qfunctions.settings import MlpSettings, TreesSettings
from fqi.reports.evaluation import evaluate
from fqi.run import Run
from fqi.settings import TrainSettings, read_toml, resolve
from fqi.sweep import typed
from fqi.training import configure, resume, train
from tests.fqi.training_kit import SMALL, assert_same, rows, walks

LOG = walks(20)


def config(sweep=None, **flags):
    values = {k: v for k, v in (SMALL | {"seeds": 2} | flags).items() if k not in (sweep or {})}
    return configure(LOG, flags=values, sweep=sweep)


def trained(path, sweep=None, **flags):
    return train(LOG, config(sweep, **flags), path)


def members(run):
    """The parameters of each member's heads after the last round, and its metrics."""
    q = run.build()
    run.load(q, run.rounds[-1])
    heads, states = run.config.heads, q.checkpoint()
    found = []
    for member in range(run.config.members):
        own = slice(member * heads, (member + 1) * heads)
        metrics = [{k: v for k, v in row.items() if k != "member"} for row in rows(run) if row["member"] == member]
        found.append(([states[name][own] for name in ("weights", "target_mean", "target_scale")], metrics))
    return found


def assert_alike(first, second):
    (tensors, metrics), (others, other_metrics) = first, second
    assert metrics == other_metrics
    for one, other in zip(tensors, others, strict=True):
        width = min(one.shape[-1], other.shape[-1]) if one.ndim == 2 else len(one)
        assert torch.equal(one[..., :width], other[..., :width])
        assert (one[..., width:] == 0).all()  # a narrower network leaves the rest of its row alone


SWEEPS = {
    "lr": {"lr": [3e-3, 1e-3]},
    "gamma": {"gamma": [0.9, 0.5]},
    "loss": {"loss": ["squared", "huber"]},
    "width": {"width": [8, 24]},
    "subset": {"subset": [1.0, 0.3]},
    "target": {"target": ["max", "mean"]},
    "all": {"lr": [3e-3, 1e-3], "gamma": [0.9, 0.5]},
    "rest": {"schedule": ["cosine", "constant"], "clip": [10.0, 0.1], "conservative": [0.0, 0.3]},
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "all" else n for n in SWEEPS])
def test_a_member_is_what_it_would_be_alone(name, tmp_path):
    sweep = SWEEPS[name]
    run = trained(tmp_path / "sweep", sweep, iterations=3, workers=2 if name == "all" else 1)
    together = members(run)
    assert len(together) == run.config.members == 2 * len(run.config.settings)
    for number, setting in list(enumerate(run.config.settings))[:: max(1, len(run.config.settings) - 1)]:
        alone = members(trained(tmp_path / str(number), **{n: setting.value(n) for n in sweep}, iterations=3))
        for seed in range(2):
            assert_alike(together[2 * number + seed], alone[seed])
    weights = [member[0][0] for member in together]
    assert not torch.equal(weights[0], weights[-2])  # the settings differ
    assert not torch.equal(weights[0], weights[1])  # and the seeds


def test_going_on_is_exact(tmp_path):
    sweep = {"gamma": [0.9, 0.5], "width": [8, 16], "subset": [1.0, 0.5]}
    whole = trained(tmp_path / "whole", sweep, seeds=1, target="double-previous", ensemble=1)
    half = trained(tmp_path / "half", sweep, seeds=1, target="double-previous", ensemble=1, iterations=2)
    resume(Run.open(half.path), LOG, iterations=4)
    assert_same(whole, Run.open(half.path))


def test_a_run_keeps_its_sweep(tmp_path):
    run = trained(tmp_path / "run", {"lr": [1e-3, 3e-3], "gamma": [0.9, 0.5]}, seeds=3, iterations=1)
    kept = Run.open(run.path).config
    assert kept == run.config
    assert kept.labels == [
        "lr 0.001, gamma 0.9", "lr 0.001, gamma 0.5", "lr 0.003, gamma 0.9", "lr 0.003, gamma 0.5",
    ]  # fmt: skip
    assert (kept.members, len(kept.head_seeds())) == (12, 24)
    assert kept.head_seeds()[:6] == kept.head_seeds()[6:12]  # settings are compared on the same seeds
    assert "lr" not in read_toml(run.path / "config.toml")["mlp"]


def test_each_setting_is_judged_with_its_own_gamma(tmp_path):
    log = collect(Request.new("CartPole-v1", {"seed": 1}, steps=600, episodes=None), tmp_path / "log.h5")
    flags = SMALL | {"seeds": 1, "iterations": 2}
    del flags["gamma"]
    run = train(log, configure(log, flags=flags, sweep={"gamma": [0.5, 0.9]}), tmp_path / "run")
    alone = train(log, configure(log, flags=flags | {"gamma": 0.5}), tmp_path / "alone")
    both, one = (evaluate(r, [2], episodes=5) for r in (run, alone))
    assert [row["gamma"] for row in both] == [0.5, 0.9]
    assert both[0] == one[0]
    # CartPole pays 1 a step: what a policy earns is (1 - gamma^T) / (1 - gamma), and T steps count in both.
    length = np.array(both[1]["lengths"])
    np.testing.assert_allclose(both[1]["discounted"], (1 - 0.9**length) / 0.1, rtol=2e-3)


def test_values_are_typed_as_their_option_is():
    kinds = [TrainSettings, MlpSettings, TreesSettings]
    found = typed(["lr=1e-3,3e-4", "width=32, 64", "target=max,mean", "trace-decay=1,0.5"], kinds)
    assert found == {"lr": [1e-3, 3e-4], "width": [32, 64], "target": ["max", "mean"], "trace_decay": [1.0, 0.5]}
    for text, said in (
        ("lr", "must be OPTION=VALUE,VALUE"), ("lr=", "must be OPTION=VALUE,VALUE"), ("nothing=1,2", "no such option"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            typed([text], kinds)
    with pytest.raises(UserError, match="lr is given twice"):
        typed(["lr=1,2", "lr=3,4"], kinds)


@pytest.mark.parametrize(("sweep", "flags", "said"), [
    ({"lr": [1e-3]}, {}, "needs two values or more"),
    ({"lr": [1e-3, 1e-3]}, {}, "names a value twice"),
    ({"lr": [1e-3, -1.0]}, {}, "lr must be greater than 0"),
    ({"lr": [1e-3, "much"]}, {}, "lr must be float, found 'much'"),
    ({"gamma": [0.9, 0.5]}, {"gamma": 0.9}, "gamma is given both a value and a sweep"),
    ({"batch": [32, 64]}, {}, "members of one run cannot differ in batch; they can in gamma"),
    ({"n_step": [1, 3]}, {}, "cannot differ in n-step"),
    ({"huber": [1.0, 2.0]}, {}, "huber has an effect only with loss huber"),
    ({"gamma": [0.9, 0.5]}, {"regressor": "table"}, "trains a single member and cannot sweep"),
    ({"subset": [1.0, 0.5]}, {"regressor": "trees"}, "has an effect only on mlp or cnn"),
    ({"leaf": [1, 5]}, {"regressor": "trees"}, "cannot differ in leaf"),
], ids=str)  # fmt: skip
def test_what_cannot_be_swept_is_refused(sweep, flags, said):
    with pytest.raises(UserError, match=said):
        resolve({}, discrete_observations=False, flags=flags, sweep=sweep)


def test_trees_sweep_what_the_targets_are_made_of(tmp_path):
    flags = {"regressor": "trees", "trees": 3, "iterations": 2, "jobs": 1, "seeds": 1}
    run = train(LOG, configure(LOG, flags=flags, sweep={"gamma": [0.9, 0.5], "average": [1, 2]}), tmp_path / "run")
    alone = train(LOG, configure(LOG, flags=flags | {"gamma": 0.9}), tmp_path / "alone")
    first = [{k: v for k, v in row.items() if k != "member"} for row in rows(run) if row["member"] == 0]
    assert first == [{k: v for k, v in row.items() if k != "member"} for row in rows(alone)]
    assert len({row["mean_q"] for row in rows(run) if row["round"] == 2}) == 2
