"""Kill collections and trainings by SIGKILL at random moments, go on, and compare with what was never interrupted.

    python docs/experiments/kills.py 50

After each kill, what lies on disk must be readable, hold at least all episodes (rounds) that were reported before the
kill, and in the end have the very content of an uninterrupted one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fqi.datasets.load import load_log
from fqi.errors import UserError
from fqi.log import fingerprint
from fqi.run import Run

COLLECT = """
import sys
from pathlib import Path
from fqi.datasets.collect import Request, collect, read_request
from fqi.datasets.journal import journal_path
path = Path(sys.argv[1])
again = path.exists() or journal_path(path).exists()
given = {"policies": ["random", "scripted,epsilon=0.3"], "seed": 4, "envs": 16}
request = read_request(path).again(None, {}, None, None) if again else Request.new("CartPole-v1", given, 60_000, None)
collect(request, path, resume=again, listen=lambda done: print(done, flush=True))
"""
TRAIN = """
import sys
from pathlib import Path
from fqi.datasets.load import load_log
from fqi.run import Run
from fqi.training import configure, resume, train
path, log = Path(sys.argv[1]), load_log(sys.argv[2])
tell = lambda number, rows: print(number, flush=True)
if __name__ == "__main__":
    if (path / "run.json").exists():
        resume(Run.open(path), log, listen=tell)
    else:
        flags = {"iterations": 12, "ensemble": 3, "seeds": 2, "updates": 40, "workers": 1}
        train(log, configure(log, flags=flags), path, listen=tell)
"""


def interrupted(code, arguments, after):
    """Run to the end, or kill after so many seconds; the last number reported, and whether it ended by itself."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, error = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        out, error = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"failed after {after:.2f} s: {error}")
    whole = [line for line in out.split("\n")[:-1] if line]
    return int(whole[-1]) if whole else 0, process.returncode == 0


def collections(kills, folder, draws):
    reference = folder / "reference.h5"
    clock = time.perf_counter()
    interrupted(COLLECT, [str(reference)], None)
    span = time.perf_counter() - clock
    wanted = fingerprint(load_log(reference))
    path, done, rounds = folder / "killed.h5", 0, 0
    while done < kills:
        told, ended = interrupted(COLLECT, [str(path)], draws.uniform(0.1, 1.1) * span)
        try:
            log = load_log(path, verify=True)
            assert log.steps >= min(told, 60_000), f"{told} steps were reported, {log.steps} are there"
        except UserError as error:
            if told:
                raise SystemExit(f"unreadable after {told} steps: {error}") from error
        if ended:
            assert fingerprint(log) == wanted, "the content differs from the uninterrupted collection's"
            path.unlink()
            rounds += 1
        else:
            done += 1
    interrupted(COLLECT, [str(path)], None)
    assert fingerprint(load_log(path)) == wanted
    return {"kills": done, "finished and equal": rounds + 1}


def trainings(kills, folder, draws):
    log = folder / "reference.h5"
    reference = folder / "reference"
    clock = time.perf_counter()
    interrupted(TRAIN, [str(reference), str(log)], None)
    span = time.perf_counter() - clock
    wanted = content(reference)
    path, done, rounds = folder / "killed", 0, 0
    while done < kills:
        told, ended = interrupted(TRAIN, [str(path), str(log)], draws.uniform(0.3, 1.1) * span)
        if (path / "run.json").exists():
            run = Run.open(path)
            assert len(run.metrics) >= told
            assert not told or run.rounds[-1] >= told
            for number in run.rounds:
                run.load(run.build(), number)
        else:
            assert told == 0
        if ended:
            assert content(path) == wanted, "the run differs from the uninterrupted one"
            shutil.rmtree(path)
            rounds += 1
        else:
            done += 1
    interrupted(TRAIN, [str(path), str(log)], None)
    assert content(path) == wanted
    return {"kills": done, "finished and equal": rounds + 1}


def content(run):
    """Every file of the run, the metrics without their times."""
    found = {file.name: file.read_bytes() for file in sorted(run.glob("**/*.safetensors"))}
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in Run.open(run).metrics]
    return found | {"metrics": json.dumps(rows)}


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    draws = random.Random(0)  # only moments of time depend on it
    with tempfile.TemporaryDirectory() as folder:
        print("collect", collections(kills, Path(folder), draws), flush=True)
        print("train", trainings(kills, Path(folder), draws), flush=True)


if __name__ == "__main__":
    main()
