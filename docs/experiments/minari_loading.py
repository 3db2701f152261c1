"""How fast Minari datasets load: python docs/experiments/minari_loading.py [--episodes 10000] [--steps 30]

Minari writes a dataset of its own into a temporary folder. Then it is iterated by Minari and read by this package, in
turns, in one process. Prints the median seconds of each and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable

import numpy as np

NAME = "fqi/loading-v0"


def make(episodes: int, steps: int) -> None:
    import minari
    from minari.data_collector import EpisodeBuffer

    generator = np.random.default_rng(0)
    buffers = []
    for number in range(episodes):
        length = int(generator.integers(max(1, steps // 2), steps * 3 // 2 + 1))
        ends = np.zeros(length, np.bool_)
        ends[-1] = True
        buffers.append(
            EpisodeBuffer(
                id=number,
                seed=number,
                observations=generator.uniform(-1, 1, (length + 1, 4)).astype(np.float32),
                actions=generator.integers(0, 2, length),
                rewards=np.ones(length),
                terminations=ends,
                truncations=np.zeros(length, np.bool_),
            )
        )
    minari.create_dataset_from_buffers(NAME, buffer=buffers, env="CartPole-v1", jpeg_encoding=False)


def theirs() -> int:
    import minari

    return sum(len(episode.rewards) for episode in minari.load_dataset(NAME).iterate_episodes())


def ours() -> int:
    from fqi.datasets.load import load_log

    return load_log(f"minari:{NAME}").steps


def seconds(read: Callable[[], int]) -> tuple[float, int]:
    begun = time.perf_counter()
    steps = read()
    return time.perf_counter() - begun, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=30, help="of an episode, on average")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        make(given.episodes, given.steps)
        found = [(seconds(theirs), seconds(ours)) for _ in range(3)]
    slow, fast = (statistics.median(taken for taken, _ in column) for column in zip(*found, strict=True))
    counts = {steps for pair in found for _, steps in pair}
    print(f"{given.episodes} episodes, {counts} steps: Minari {slow:.2f} s, fqi {fast:.2f} s: {slow / fast:.1f}x")


if __name__ == "__main__":
    main()
