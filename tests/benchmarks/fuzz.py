"""Readers against thousands of broken files: `python tests/benchmarks/fuzz.py [--count 10000] [--only NAME]`.

Every reader runs in child processes, whose memory is limited and which are ended when a file takes longer than five
seconds of processor time. What is counted: refused in a sentence, loaded, and the three that must not be: another
error, a hang, a death. A log that was loaded has passed all checks of its birth; `other size` counts those that have
other numbers of steps or episodes than the sound file, for the changes may well be consistent. What was loaded is read
by windows, too, as conversion does, and must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from fqi.errors import UserError
from fqi.log import Log

SECONDS = 5
MEMORY = 3 << 30  # of addresses; libraries take most of it
ROOT = Path(__file__).parents[2]


def child(subject: str, sound: str, folder: str, reference: str, first: int, last: int) -> None:
    """Read one broken file after another, and say a line about each."""
    from fqi.datasets.load import load_log
    from tests.datasets.formats.mutate import mutate

    whole = load_log(reference.replace(folder, sound))
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for seed in range(first, last):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        said = "nothing"
        try:
            said = mutate(Path(folder), np.random.default_rng(seed))
        except Exception as error:  # the mutation itself failed: what is there is broken enough
            said = f"half-way: {type(error).__name__}"
        print(json.dumps({"seed": seed, "begun": said}), flush=True)
        begun = time.process_time()
        outcome, why = "loaded", ""
        try:
            log = load_log(reference)
            if (log.steps, log.episodes) != (whole.steps, whole.episodes):
                outcome, why = "other size", f"{log.steps} steps in {log.episodes} episodes"
            if (differs := unlike(log, reference)) is not None:
                outcome, why = "error", differs
        except UserError as error:
            outcome, why = "refused" if "\n" not in str(error) else "error", str(error)
        except BaseException:
            outcome, why = "error", traceback.format_exc()
        taken = time.process_time() - begun
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - limit
        print(json.dumps({"seed": seed, "outcome": outcome, "why": why, "s": taken, "grown": grown}), flush=True)


def unlike(log: Log, reference: str) -> str | None:
    """How the log differs where it is read by windows, as conversion does; both may refuse, each in a sentence."""
    from fqi.datasets.columns import columns_of
    from fqi.datasets.stream import checked_rows, source

    found: dict[str, int] = {}
    try:
        with source(reference) as one:
            for window in one.windows():
                for name, array in checked_rows(one, window).items():
                    found[name] = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), found.get(name, 0))
    except UserError as error:
        return f"only whole: {error}"
    whole = columns_of(log)
    sums = {name: zlib.crc32(np.ascontiguousarray(whole[name]).reshape(-1).view(np.uint8)) for name in found}
    return None if sums == found else "other values by windows"


def run(subject: str, count: int, begin: int, verbose: bool) -> Counter[str]:
    """All mutations of one reader; a child that hangs or dies is replaced by one that begins after it."""
    from tests.datasets.formats.subjects import SUBJECTS

    found: Counter[str] = Counter()
    slowest, most = 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        sound, folder = Path(name) / "sound", Path(name) / "broken"
        sound.mkdir()
        reference = SUBJECTS[subject](sound).replace(str(sound), str(folder))
        at = begin
        while at < begin + count:
            arguments = [subject, str(sound), str(folder), reference, str(at), str(begin + count)]
            command = [sys.executable, __file__, "--child", *arguments]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert process.stdout is not None
            limit = resource.prlimit(process.pid, resource.RLIMIT_CPU)
            said = "before the first"
            used = 0.0
            for line in process.stdout:
                value = json.loads(line)
                at = value["seed"]
                if "begun" in value:
                    said = value["begun"]
                    now = _cpu(process.pid)
                    resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(now + SECONDS + 1), limit[1]))
                    continue
                found[value["outcome"]] += 1
                slowest, most = max(slowest, value["s"]), max(most, value["grown"])
                if value["outcome"] == "error" or (verbose and value["outcome"] == "other size"):
                    print(f"  {subject} seed {at} ({said}): {value['outcome']}: {value['why']}")
                said, at = "", at + 1
                used += value["s"]
            code = process.wait()
            if code:
                kind = "hang" if code == -24 else f"death by signal {-code}" if code < 0 else f"death, code {code}"
                found[kind] += 1
                print(f"  {subject} seed {at} ({said}): {kind}", flush=True)
                at += 1
    numbers = ", ".join(f"{number} {what}" for what, number in sorted(found.items()))
    print(
        f"{subject}: {count} files: {numbers}; slowest {slowest:.2f} s, memory grew {most / 1024:.0f} MiB", flush=True
    )
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--child"]:
        subject, sound, folder, reference, first, last = sys.argv[2:]
        child(subject, sound, folder, reference, int(first), int(last))
    else:
        from tests.datasets.formats.subjects import SUBJECTS

        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--count", type=int, default=10_000)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--only", choices=SUBJECTS)
        parser.add_argument("--verbose", action="store_true")
        given = parser.parse_args()
        allowed = {"refused", "loaded", "other size"}
        bad = 0
        for subject in [given.only] if given.only else SUBJECTS:
            bad += sum(
                n for what, n in run(subject, given.count, given.seed, given.verbose).items() if what not in allowed
            )
        sys.exit(bool(bad))
