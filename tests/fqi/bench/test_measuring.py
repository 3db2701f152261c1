"""The bench: turns are taken, operations are counted, and what has become worse is told."""

from __future__ import annotations

import pytest
import torch

from fqi.bench.figure import Figure
from fqi.bench.limits import forward_operations, step_operations, step_products
from fqi.bench.run import BENCHES, bench, worse
from fqi.bench.textbook import textbook_step
from fqi.bench.timing import interleaved
from fqi.errors import UserError


def test_operations_are_counted_by_hand():
    # Layers 2 to 3 and 3 to 1, five rows: 2 * 5 * 6 = 60 and 2 * 5 * 3 = 30 a product. A step has two products of the
    # first layer, for nothing lies before it, and three of the second.
    assert forward_operations((2, 3, 1), 5) == 90
    assert step_operations((2, 3, 1), 5) == 2 * 60 + 3 * 30


def test_products_are_those_of_a_step(monkeypatch):
    counted = []
    products, mm = step_products((2, 3, 1), 5), torch.mm

    def counting(left, right, out):
        counted.append(2 * left.shape[0] * left.shape[1] * right.shape[1])
        return mm(left, right, out=out)

    monkeypatch.setattr(torch, "mm", counting)
    products()
    assert sum(counted) == step_operations((2, 3, 1), 5)


def test_programs_take_turns_and_the_best_piece_counts(monkeypatch):
    clock, order, costs = [0.0], [], {"steady": [2.0], "busy": [9.0, 9.0, 1.0, 9.0]}

    def program(name, work):
        def run():
            order.append(name)
            clock[0] += costs[name][order.count(name) % len(costs[name])]
            return work

        return run

    monkeypatch.setattr("fqi.bench.timing.time.perf_counter", lambda: clock[0])
    took = interleaved({"steady": program("steady", None), "busy": program("busy", 4)}, seconds=1.0)
    assert took == {"steady": 2.0, "busy": 0.25}  # a unit of work, not a call
    assert order[4:8] == ["steady", "busy"] * 2


def test_the_textbook_learns_from_its_table():
    torch.manual_seed(0)
    step = textbook_step((4, 8, 2), 32)
    assert all(step() is None for _ in range(3))


def test_what_became_worse_is_told_and_what_is_noise_is_not():
    def figure(name, ratio):
        return Figure(name, "something", ratio, "updates of a loop", 1.0, "updates/s")

    kept = {"format": "fqi-bench", "figures": [{"name": n, "ratio": 2.0} for n in ("a", "b")]}
    found = worse([figure("a", 1.6), figure("b", 1.4), figure("new", 0.1)], kept, 0.25, "kept.json")
    assert found == ["b: 1.40 times updates of a loop, where 2.00 was kept"]
    for broken in ({}, {"format": "fqi-bench", "figures": [{}]}, {"format": "fqi-bench", "figures": [1]}):
        with pytest.raises(UserError, match=r"kept\.json: "):
            worse([], broken, 0.25, "kept.json")


def test_a_bench_runs_and_an_unknown_one_is_refused():
    (first, second) = bench(["environments"], 0.01)
    assert (first.name, second.name) == ("environment-MountainCar-v0", "environment-Pendulum-v1")
    assert first.rate > 0
    assert first.ratio > 0
    with pytest.raises(UserError, match="there is no bench 'nothing'; there are regression"):
        bench(["nothing"], 0.01)
    assert set(BENCHES) == {
        "regression",
        "targets",
        "population",
        "images",
        "trees",
        "closed",
        "acting",
        "environments",
    }
