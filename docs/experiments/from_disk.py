"""What it costs to leave frames on disk: python docs/experiments/from_disk.py [--rounds 3] [--turns 2]

Two logs that fit into memory are trained on in both ways, alternating: CartPole's vectors with default networks, and
84x84 frames with one convolutional network. Prints the seconds of a round, the first one left out, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from large_log import write

from fqi.datasets.collect import Request, collect
from fqi.datasets.load import load_log
from fqi.training import configure, train

MLP = {"regressor": "mlp", "workers": 1}
CNN = {"regressor": "cnn", "workers": 1, "ensemble": 1, "updates": 40, "batch": 32}


def seconds(path: Path, memory: int | None, flags: dict[str, Any], out: Path) -> float:
    log = load_log(path, memory=memory)
    run = train(log, configure(log, flags=flags), out)
    return statistics.median(row["seconds"] for row in run.metrics[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2, help="of both ways; the better median of each counts")
    parser.add_argument("--only", choices=("vectors", "frames"))
    given = parser.parse_args()
    rounds = given.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collect(Request.new("CartPole-v1", {}, steps=50_000, episodes=None), folder / "vectors.h5")
        write(folder / "frames.h5", 0.014, 0.014)  # 2,000 frames
        for what, flags, memory in (("vectors", MLP, 1 << 18), ("frames", CNN, 1 << 22)):
            if given.only not in (None, what):
                continue
            flags = {**flags, "iterations": rounds}
            taken = [
                [seconds(folder / f"{what}.h5", m, flags, folder / f"{what}{turn}{m}") for m in (None, memory)]
                for turn in range(given.turns)
            ]
            held, left = (min(column) for column in zip(*taken, strict=True))
            print(f"{what}: {held:.2f} s a round in memory, {left:.2f} s from disk: {held / left:.2f}x", flush=True)


if __name__ == "__main__":
    main()
