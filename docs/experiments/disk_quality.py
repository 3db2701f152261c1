"""Whether what is learned from disk is as good as from memory: python docs/experiments/disk_quality.py [--seeds 5]

CartPole's random steps, the same members trained from memory and from disk with each of the memories named. Each round
of those named is played from the same starts. Frames take 16 bytes, and an eighth of the memory is seen at a time: with
256 KiB of the log's 800, windows of 2,048 rows. Prints the returns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def fqi(*arguments: str) -> Any:
    command = [sys.executable, "-m", "fqi.cli.main", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--rounds", default="40,50,60")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--kib", default="256,512", help="of memory, each a run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log, last = f"{name}/log.h5", given.rounds.rpartition(",")[2]
        fqi("collect", "CartPole-v1", "--steps", str(given.steps), "--out", log)
        disk = {f"{kib} KiB": ["--memory", str(float(kib) / 2**20)] for kib in given.kib.split(",")}
        for way, more in {"memory": [], **disk}.items():
            run = f"{name}/{way}"
            flags = ["--seeds", str(given.seeds), "--iterations", last, "--workers", given.workers, *more]
            fqi("train", log, "--out", run, *flags)
            fqi("evaluate", run, "--rounds", given.rounds, "--episodes", "20")
            rows = [json.loads(line) for line in (Path(run) / "evaluations.jsonl").read_text().splitlines()]
            for number in map(int, given.rounds.split(",")):
                means = [statistics.fmean(row["returns"]) for row in rows if row["round"] == number]
                members = ", ".join(f"{mean:.1f}" for mean in means)
                print(f"{way}: round {number}: mean {statistics.fmean(means):.1f}; by member {members}", flush=True)


if __name__ == "__main__":
    main()
