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


@pytest.mark.parametrize("case", ["plain", "huber", "sweep", "weighted", "cold", "conservative", "bf16"])
def test_recorded_steps_are_the_steps(case):
    settings = {
        "huber": dataclasses.replace(SMALL, loss="huber", huber=0.5, clip=0.5),
        "bf16": dataclasses.replace(SMALL, precision="bf16"),
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
    groups = 3 if case == "bf16" else 1  # heads with products in halves are not stacked on a CPU
    assert Counted.counts == {"record": groups, "replay": groups * 3 * 70}  # once for all rounds, then a call a step
    for name, tensor in plain.checkpoint().items():
        # A last bit that differs may round to the next of few halves.
        off = {"rtol": 2e-2, "atol": 1e-2} if case == "bf16" else {"rtol": 2e-3, "atol": 2e-4}
        torch.testing.assert_close(recorded.checkpoint()[name], tensor, **off)
    assert torch.equal(plain.state.draws, recorded.state.draws)
    assert torch.equal(plain.state.count, recorded.state.count)
    assert plain.state.flat.abs().max() > 0.1


def test_patience_looks_between_recorded_steps_and_ends_the_round_where_it_would_without():
    settings = dataclasses.replace(SMALL, updates=40, patience=1, checks=8)
    training = torch.ones(len(ROWS), dtype=torch.bool)
    training[:20] = False
    noise = torch.randn(2, len(ROWS), generator=torch.Generator().manual_seed(0))
    found = []
    for graph in (None, Counted):
        Counted.counts.update(record=0, replay=0)
        q = Mlp(settings, LOG.observation_space, LOG.action_space, (3, 4), torch.device("cpu"))
        q.bind(ROWS, training)
        q.crew.here.groups[0][1].graph = graph
        with torch.no_grad():
            found.append((q.fit(noise)["updates"], q.state.flat.clone(), dict(Counted.counts)))
    (plain, there, _), (recorded, here, counts) = found
    assert recorded == plain == [counts["replay"]] * 2
    assert counts["record"] == 1
    assert 5 <= plain[0] < 40  # noise cannot be learned for long
    torch.testing.assert_close(here, there, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("encoding", ["outputs", "inputs", "networks"])
def test_valuing_leaves_the_memory_alone_that_was_recorded(encoding):
    """Memory that a recorded step writes to must stay that step's own: a graph knows addresses, not tensors."""
    q = fitted(Replayed, dataclasses.replace(SMALL, encoding=encoding), rounds=1)
    (_, heads), *_ = q.crew.here.groups
    inner = {"outputs": heads.network, "inputs": "pair", "networks": "each"}[encoding]
    memory = (getattr(heads.network, inner) if isinstance(inner, str) else inner)._memory
    before = {key: kept.data_ptr() for key, kept in memory.items() if key[0] != "valued"}
    q.log_values(0, len(ROWS))
    q.values(LOG.observations[:7])
    assert before
    assert {key: memory[key].data_ptr() for key in before} == before


def test_a_block_of_one_batch_is_recorded_too(monkeypatch):
    """The work runs several times before it is recorded, and each run looks at the next batch of the block."""
    monkeypatch.setattr("fqi.qfunctions.inputs.BLOCK", 1)
    plain, recorded = fitted(None, SMALL), fitted(Replayed, SMALL)
    torch.testing.assert_close(plain.state.flat, recorded.state.flat, rtol=1e-5, atol=1e-6)
