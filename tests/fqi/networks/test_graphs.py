"""Recorded work: replayed on what its tensors hold by then, and never waiting for a device."""

from __future__ import annotations

import pytest
import torch

from fqi.networks.graphs import Replayed


def test_work_is_replayed_on_what_its_tensors_hold_by_then():
    step, rates = torch.zeros(1, dtype=torch.int64), torch.tensor([1.0, 10.0, 100.0])
    total, out = torch.zeros(2), torch.zeros(2)

    def work():
        rate = rates.index_select(0, step)
        torch.mul(total + 1, rate, out=out)
        total.add_(out)
        step.add_(1)

    graph = Replayed()
    graph.record(work, [step, total])
    assert (step.item(), total.tolist()) == (0, [0, 0])  # as if nothing had been done
    graph.replay()  # (0 + 1) * 1
    assert total.tolist() == [1, 1]
    total.add_(1)
    graph.replay()  # 2 + (2 + 1) * 10
    assert total.tolist() == [32, 32]
    assert step.item() == 2


def test_a_number_of_python_is_frozen():
    rate, total = [1.0], torch.zeros(1)
    graph = Replayed()
    graph.record(lambda: total.add_(rate[0]), [total])
    rate[0] = 5.0
    graph.replay()
    assert total.item() == 1


@pytest.mark.parametrize("wait", [lambda t: t.sum().item(), lambda t: t.nonzero(), lambda t: bool((t > 1).any())])
def test_work_that_waits_is_refused(wait):
    with pytest.raises(RuntimeError, match="must not wait for the device"):
        Replayed().record(lambda: wait(torch.ones(3)), [])
