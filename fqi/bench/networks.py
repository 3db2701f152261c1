"""The mlp's regression, its targets, and a population of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch

from fqi.bench.figure import Figure
from fqi.bench.limits import forward_operations, square_product, step_operations, step_products
from fqi.bench.problem import ACTIONS, INPUTS, bound_mlp, random_rows
from fqi.bench.textbook import textbook_step
from fqi.bench.timing import interleaved
from fqi.qfunctions.cnn import Cnn
from fqi.qfunctions.settings import CnnSettings
from fqi.scan import Scanner, Table
from fqi.transitions import transitions
from fqi.values import VALUE_RULES, Value

SIZES = (INPUTS, 256, 256, ACTIONS)
ROWS = 10_000
UPDATES = {32: 160, 256: 40, 1024: 10}  # of a round, by the rows of a batch: short enough to take turns
STEP_AIMS = {32: (None, 2.8), 256: (0.65, 1.6), 1024: (None, None)}  # share of the limit, times the textbook
POPULATION_AIMS = {32: 5.0, 256: 3.2}
TEXTBOOK = "updates of a textbook loop"


def regression(seconds: float) -> list[Figure]:
    """A whole round of one head on one thread: shuffle, gather, steps."""
    rows, found = random_rows(ROWS), []
    square, operations = square_product()
    for batch, updates in UPDATES.items():
        q = bound_mlp(rows, 1, width=256, batch=batch, updates=updates)
        targets = torch.from_numpy(rows.returns).float()[None]
        took = interleaved(
            {
                "own": lambda q=q, targets=targets: q.fit(targets),  # type: ignore[misc]
                "textbook": textbook_step(SIZES, batch),
                "square": square,
                "products": step_products(SIZES, batch),
            },
            seconds,
        )
        step = took["own"] / updates
        limit = step_operations(SIZES, batch) / (operations / took["square"])
        share, times = STEP_AIMS[batch]
        what = f"mlp 2x256, batch {batch}, one head, one thread"
        rate, unit = 1 / step, "updates/s"
        found += [
            Figure(f"step-{batch}-textbook", what, took["textbook"] / step, TEXTBOOK, rate, unit, times),
            Figure(f"step-{batch}-limit", what, limit / step, "the arithmetic of a large product", rate, unit, share),
            Figure(f"step-{batch}-products", what, took["products"] / step, "its bare products", rate, unit),
        ]
    return found


def targets(seconds: float) -> list[Figure]:
    """One scan of a whole log: values of all frames, the maximum, what the rows need."""
    rows = random_rows(40_000)
    q = bound_mlp(rows, 1, width=256)
    table = Table.of(rows, like=q.log_values(0, 1))
    scanner = Scanner(table, q, Value(VALUE_RULES["max"]))
    square, operations = square_product()
    took = interleaved({"own": lambda: scanner(1), "square": square}, seconds)
    limit = forward_operations(SIZES, table.frames) / (operations / took["square"])
    return [
        Figure(
            "targets", "mlp 2x256, the whole log once, one thread", limit / took["own"],
            "the forward pass at the arithmetic of a large product", table.frames / took["own"], "frames/s", 0.8,
        )
    ]  # fmt: skip


def images(seconds: float) -> list[Figure]:
    """A whole round of one head of the Nature network on four frames of 84 x 84, on one thread."""
    batch, updates, side = 32, 4, 84
    space = gym.spaces.Box(0, 255, (4, side, side), np.uint8)
    rows = random_rows(1_000)
    log = dataclasses.replace(
        rows.log,
        observations=np.random.default_rng(0).integers(
            256, size=(rows.log.steps + rows.log.episodes, 4, side, side), dtype=np.uint8
        ),
        observation_space=space,
    )
    rows = transitions(log, 0.99)
    q = Cnn(CnnSettings(batch=batch, updates=updates), space, log.action_space, [0], torch.device("cpu"))
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    wanted = torch.from_numpy(rows.returns).float()[None]
    took = interleaved({"own": lambda: q.fit(wanted), "bare": _bare_convolutions(batch)}, seconds)
    step = took["own"] / updates
    return [
        Figure(
            "cnn-32", "cnn on 4 x 84 x 84 bytes, batch 32, one head, one thread", took["bare"] / step,
            "its bare convolutions and products", 1 / step, "updates/s",
        )
    ]  # fmt: skip


def _bare_convolutions(batch: int) -> Callable[[], None]:
    """The convolutions and products of one step of that network, forward and backward, and nothing else."""
    into, calls = torch.randn(batch, 4, 84, 84), []
    for layer, (channels, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
        weight, bias = torch.randn(channels, into.shape[1], kernel, kernel), torch.randn(channels)
        out = torch.conv2d(into, weight, bias, stride)
        calls.append((into, weight, bias, stride, torch.randn_like(out), layer > 0))
        into = out
    products = step_products((into[0].numel(), 512, ACTIONS), batch)
    first, slope = torch.randn(512, into[0].numel()), torch.randn(batch, 512)

    def step() -> None:
        for inputs, weight, bias, stride, below, further in calls:
            torch.conv2d(inputs, weight, bias, stride)
            torch.ops.aten.convolution_backward(
                below, inputs, weight, [len(bias)], [stride, stride], [0, 0], [1, 1], False, [0, 0], 1,
                [further, True, True],
            )  # fmt: skip
        products()
        torch.mm(slope, first)

    return step


def population(seconds: float) -> list[Figure]:
    """Ten heads on all cores that are at hand."""
    rows, found = random_rows(ROWS), []
    heads, cores = 10, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = torch.from_numpy(rows.returns).float().expand(heads, -1)
    for batch, aim in POPULATION_AIMS.items():
        updates = UPDATES[batch] // 4
        q = bound_mlp(rows, heads, min(2, cores), width=256, batch=batch, updates=updates)
        try:
            textbook = textbook_step(SIZES, batch)
            took = interleaved({"own": lambda q=q: q.fit(wanted), "textbook": textbook}, seconds)  # type: ignore[misc]
        finally:
            q.close()
        update = took["own"] / (updates * heads)
        what = f"mlp 2x256, batch {batch}, {heads} heads on {min(2, cores)} cores"
        rate = 1 / update
        found.append(
            Figure(f"population-{batch}", what, took["textbook"] / update, TEXTBOOK, rate, "head updates/s", aim)
        )
    return found
