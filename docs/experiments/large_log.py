"""A log of 84x84 frames larger than the memory it is trained in: python docs/experiments/large_log.py [--gigabytes 20]

A camera of 84x84 pixels moves over a picture of noise: three actions (left, right, stay), a reward where it is right of
the middle, episodes of 500 steps. The log is written to --out, trained on with `fqi train --memory` in a process of its
own, and removed. Prints what the training took: seconds, and the largest resident memory of any of its processes.

With --written, only so many gigabytes of frames are written; the file has holes for the others, which are read as black
frames like any others and take no place on the disk.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from fqi.datasets.columns import Column, Head, step_columns
from fqi.datasets.writer import log_writer

SIDE, LENGTH, REACH = 84, 500, 400  # pixels, steps of an episode, places of the camera


def write(path: Path, gigabytes: float, written: float) -> tuple[int, int]:
    """Frames are written as they are made: some megabytes of them are in memory at a time."""
    episodes = max(2, math.ceil(gigabytes * 1e9 / (SIDE * SIDE) / (LENGTH + 1)))
    steps = episodes * LENGTH
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (SIDE, REACH + SIDE), np.uint8)
    views = np.lib.stride_tricks.sliding_window_view(picture, SIDE, axis=1).transpose(1, 0, 2)  # [place, SIDE, SIDE]
    actions = generator.integers(0, 3, (episodes, LENGTH))
    places = np.zeros((episodes, LENGTH + 1), np.int64)
    places[:, 0] = generator.integers(0, REACH, episodes)
    for step in range(LENGTH):
        moved = places[:, step] + np.array([-4, 4, 0])[actions[:, step]]
        places[:, step + 1] = moved.clip(0, REACH - 1)
    rewards = (places[:, 1:] > REACH // 2).astype(np.float64).reshape(-1)
    last = np.zeros(steps, np.bool_)
    last[LENGTH - 1 :: LENGTH] = True
    small = {"actions": actions.reshape(-1), "rewards": rewards, "terminations": ~np.ones(steps, np.bool_)}
    small |= {"truncations": last, "lengths": np.full(episodes, LENGTH, np.int64)}
    head = Head(gym.spaces.Box(0, 255, (SIDE, SIDE), np.uint8), gym.spaces.Discrete(3))
    lengths = Column("lengths", np.dtype(np.int64), (), "episode")
    frames, *columns = step_columns(head.observation_space, head.action_space)
    flat, piece = places.reshape(-1), 148 * 64  # whole chunks
    with log_writer(path, head, [*columns, lengths], steps, episodes) as writer:
        for name, array in small.items():
            writer.append(name, array)
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        layout = h5p.create(h5p.DATASET_CREATE)
        layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5d.FILL_TIME_NEVER)
        space = h5s.create_simple((len(flat), *frames.shape))
        observations = h5py.Dataset(h5d.create(file.id, b"observations", h5t.NATIVE_UINT8, space, layout))
        for begin in range(0, min(len(flat), round(written * 1e9 / SIDE**2)), piece):
            observations[begin : begin + piece] = views[flat[begin : begin + piece]]
    return steps, episodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--written", type=float, help="gigabytes of frames that are no holes. [default: all]")
    parser.add_argument("--memory", type=float, default=0.5, help="GiB")
    parser.add_argument("--out", type=Path, default=Path("large"))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("flags", nargs="*", help="of fqi train, after --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "log.h5"
    if not log.exists():
        begun = time.perf_counter()
        steps, episodes = write(log, given.gigabytes, given.gigabytes if given.written is None else given.written)
        print(f"{steps} steps in {episodes} episodes, {log.stat().st_size / 1e9:.1f} GB, written in ", end="")
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)
    shutil.rmtree(given.out / "run", ignore_errors=True)
    command = [sys.executable, "-m", "fqi.cli.main", "train", str(log), "--out", str(given.out / "run"), "--json"]
    begun = time.perf_counter()
    subprocess.run([*command, "--memory", str(given.memory), *given.flags], check=True, stdout=subprocess.DEVNULL)
    seconds, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    rows = [json.loads(line) for line in (given.out / "run" / "metrics.jsonl").read_text().splitlines()]
    print(f"{len(rows)} rounds in {seconds:.0f} s; largest resident memory {peak / 2**20:.2f} GiB; ", end="")
    print("held-out loss by round: " + ", ".join(f"{row['heldout_loss']:.4g}" for row in rows))
    if not given.keep:
        shutil.rmtree(given.out)


if __name__ == "__main__":
    main()
