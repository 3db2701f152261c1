"""The recorded step, by a stand-in for the CUDA graph: the same steps as without it, from rows to rates."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fqi.networks.graphs import Replayed
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import transitions
from tests.fqi.training_kit import walks

LOG = walks(12)
ROWS = transitions(LOG, 0.9)
SMALL = MlpSettings(width=16, depth=2, updates=70, batch=32)


class Counted(Replayed):
    """How often work was recorded and replayed."""

    counts = {"record": 0, "replay": 0}  # noqa: RUF012

    def record(self, work, changes):
        self.counts["record"] += 1
        super().record(work, changes)

    def replay(self):
        self.counts["replay"] += 1
        super().replay()


def fitted(graph, settings, each=None, weights=None, rounds=3):
    q = Mlp(settings, LOG.observation_space, LOG.action_space, (3, 4, 5), torch.device("cpu"), each=each)
    q.bind(ROWS, torch.ones(len(ROWS), dtype=torch.bool))
    with torch.no_grad():
        for _, heads in q.crew.here.groups:
            heads.graph = graph
        for number in range(rounds):
            targets = torch.stack([torch.linspace(-1, 1 + number, len(ROWS)) * (p + 1) for p in range(3)])
            assert q.fit(targets, weights)["updates"] == [settings.updates] * 3
    return q


@pytest.mark.parametrize("case", ["plain", "huber", "sweep", "weighted", "cold", "conservative"])
def test_recorded_steps_are_the_steps(case):
    settings = {
        "huber": dataclasses.replace(SMALL, loss="huber", huber=0.5, clip=0.5),
        "cold": dataclasses.replace(SMALL, start="cold"),
        "conservative": dataclasses.replace(SMALL, conservative=0.3),
    }.get(case, SMALL)
    each = [dataclasses.replace(SMALL, lr=lr) for lr in (3e-3, 1e-3, 3e-3)] if case == "sweep" else None
    weights = None
    if case == "weighted":
        draw = torch.linspace(0.5, 2, len(ROWS)).repeat(3, 1)
        weights = Weights(draw, 1 / draw)
    Counted.counts.update(record=0, replay=0)
    plain, recorded = (fitted(graph, settings, each, weights) for graph in (None, Counted))
    assert Counted.counts == {"record": 1, "replay": 3 * 70}  # once for all rounds, then a call a step
    for name, tensor in plain.checkpoint().items():
        torch.testing.assert_close(recorded.checkpoint()[name], tensor, rtol=2e-3, atol=2e-4)
    assert torch.equal(plain.state.draws, recorded.state.draws)
    assert torch.equal(plain.state.count, recorded.state.count)
    assert plain.state.flat.abs().max() > 0.1


def test_patience_looks_and_is_not_recorded():
    Counted.counts.update(record=0, replay=0)
    settings = dataclasses.replace(SMALL, updates=4, patience=3)
    q = Mlp(settings, LOG.observation_space, LOG.action_space, (3,), torch.device("cpu"))
    training = torch.ones(len(ROWS), dtype=torch.bool)
    training[:20] = False
    q.bind(ROWS, training)
    q.crew.here.groups[0][1].graph = Counted
    with torch.no_grad():
        q.fit(torch.linspace(-1, 1, len(ROWS))[None])
    assert Counted.counts == {"record": 0, "replay": 0}
