"""How fast logs are read and journals written: `python tests/benchmarks/bench_store.py`. Prints ratios only.

Every measurement of a log alternates with the raw reading of the same bytes, so that both see the same machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets import store
from fqi.datasets.columns import Column, arguments, columns_of, head_of, per
from fqi.datasets.formats.minari import read_minari, write_minari
from fqi.datasets.journal import Block, Journal, JournalHeader, finish, journal_path
from fqi.log import Log

ROUNDS = 41


def cartpole_like(steps: int, mean_length: int = 30) -> Log:
    """Random numbers in the shape of CartPole's."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(10, 2 * mean_length - 10, steps // mean_length)
    steps, episodes = int(lengths.sum()), len(lengths)
    last = np.zeros(steps, np.bool_)
    last[np.cumsum(lengths) - 1] = True
    return Log(
        observations=generator.standard_normal((steps + episodes, 4), np.float32),
        actions=generator.integers(0, 2, steps),
        rewards=np.ones(steps),
        terminations=last,
        truncations=np.zeros(steps, np.bool_),
        lengths=lengths,
        observation_space=gym.spaces.Box(-10, 10, (4,), np.float32),
        action_space=gym.spaces.Discrete(2),
        seeds=np.arange(episodes),
    )


def seconds(function: Callable[[], Any]) -> float:
    """How long one call takes, its result alive until it has ended."""
    start = time.perf_counter()
    result = function()
    taken = time.perf_counter() - start
    del result
    return taken


def reading(log: Log, folder: Path) -> None:
    """The own format against the raw bytes."""
    path, raw_path = folder / "log.h5", folder / "log.raw"
    store.write_log(log, path)
    columns = columns_of(log)
    with raw_path.open("wb") as file:
        for array in columns.values():
            array.tofile(file)

    def raw() -> list[Any]:
        with raw_path.open("rb") as file:
            return [np.fromfile(file, array.dtype, array.size) for array in columns.values()]

    taken: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        found = store.read_unchecked(path)
        assert found.head is not None
        made_of = arguments(found.head, found.arrays)
        for name, function in {
            "raw": raw,
            "columns": lambda: store.read_unchecked(path),
            "log": lambda: store.read_log(path),
            "birth": lambda: Log(**made_of),  # noqa: B023
        }.items():
            taken.setdefault(name, []).append(seconds(function))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    size = sum(array.nbytes for array in columns.values()) / 1e6
    print(f"{log.steps} steps, {size:.0f} MB; medians of {ROUNDS}, in ms:")
    print("  " + ", ".join(f"{name} {1e3 * value:.1f}" for name, value in medians.items()))
    print(f"  speed against raw: columns {medians['raw'] / medians['columns']:.2f}x", end="")
    print(f", whole log with its checks {medians['raw'] / medians['log']:.2f}x")


def journalling(log: Log, folder: Path, blocks: int = 5000, episodes: int = 3) -> None:
    """Blocks of a few short episodes."""
    path = folder / "journal.h5"
    columns = [Column(name, a.dtype, a.shape[1:], per(name)) for name, a in columns_of(log).items()]
    header = JournalHeader(head_of(log), tuple(c for c in columns if c.per != "episode"))
    parts = [log.select(np.arange(i, i + episodes)) for i in range(50)]
    ready = [Block(p.lengths, p.lengths, p.lengths, p.lengths, columns_of(p)) for p in parts]
    with Journal.create(journal_path(path), header) as journal:
        start = time.perf_counter()
        for i in range(blocks):
            journal.append(ready[i % len(ready)])
        taken = time.perf_counter() - start
        steps = journal.index.steps
    print(f"journal: {1e6 * taken / blocks:.1f} us for a block of {episodes} episodes; ", end="")
    print(f"resume {seconds(lambda: Journal.resume(journal_path(path)).close()):.2f} s", end="")
    print(f", finish {seconds(lambda: finish(Journal.resume(journal_path(path)), path)):.2f} s for {steps} steps")


def minari_reading(log: Log, folder: Path, name: str) -> None:
    """Our reading of a Minari dataset against Minari's own."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import minari
    write_minari(log, f"minari:{name}")
    taken = [
        (
            seconds(lambda: read_minari(f"minari:{name}")),
            seconds(lambda: list(minari.load_dataset(name).iterate_episodes())),
        )
        for _ in range(5)
    ]
    ours, theirs = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = statistics.median(their / our for our, their in taken)
    print(f"minari: {log.episodes} episodes, {log.steps} steps: ours {ours:.2f} s, Minari's {theirs:.2f} s", end="")
    print(f": {ratio:.1f}x")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        reading(cartpole_like(2_000_000), Path(name))
        journalling(cartpole_like(10_000), Path(name))
        minari_reading(cartpole_like(300_000), Path(name), "bench/short-v0")
        minari_reading(cartpole_like(2_000_000, 200), Path(name), "bench/long-v0")
