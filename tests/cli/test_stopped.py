"""Ctrl-C and SIGKILL: one line, no processes left behind, and going on ends with the same bits."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fqi.datasets.load import load_log
from fqi.log import fingerprint
from tests.cli.conftest import Fqi, environment, program

COLLECT = ("collect", "--steps", "200000", "--envs", "4")
TRAIN = (
    "train",
    "log.h5",
    "--iterations",
    "2000",
    "--updates",
    "5",
    "--width",
    "8",
    "--workers",
    "2",
    "--out",
    "stopped",
)


def stop(words: tuple[str, ...], ready: Callable[[], bool], how: signal.Signals) -> tuple[int, str]:
    """Start, wait until it is well under way, send the signal to the whole group as a terminal does."""
    process = subprocess.Popen(
        program(*words), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if how is signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, error = process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.05)
    return process.returncode, error


def _group_lives(group: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def grown(path: Path, size: int) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > size


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_collection_goes_on(fqi: Fqi, how: signal.Signals) -> None:
    code, error = stop(COLLECT, grown(Path("logs/CartPole-v1-1.h5.journal"), 20_000), how)
    assert code == (130 if how is signal.SIGINT else -signal.SIGKILL)
    if how is signal.SIGINT:
        assert error.count("\n") == 1
        assert error.startswith("fqi: interrupted")
        assert "fqi collect --resume --out logs/CartPole-v1-1.h5" in error
    kept = load_log("logs/CartPole-v1-1.h5").steps  # before it is finished, by its name
    wanted = str(kept + 500)
    assert fqi("collect", "--resume", "--steps", wanted, "--json").json["log"] == "logs/CartPole-v1-1.h5"
    fqi("collect", "--steps", wanted, "--envs", "4", "--out", "fresh.h5")
    assert fingerprint(load_log("logs/CartPole-v1-1.h5")) == fingerprint(load_log("fresh.h5"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_a_stopped_training_goes_on(fqi: Fqi, copies: Path, how: signal.Signals) -> None:
    code, error = stop(TRAIN, lambda: len(list(Path("stopped/rounds").glob("0*"))) > 3, how)
    assert code == (130 if how is signal.SIGINT else -signal.SIGKILL)
    settings = Path("stopped/config.toml")
    if how is signal.SIGINT:
        assert error.count("\n") == 1
        assert shlex.join(["fqi", "train", "--resume", "stopped"]) in error
    last = max(int(p.stem) for p in Path("stopped/rounds").glob("0*")) + 3
    settings.write_text(settings.read_text().replace("iterations = 2000", f"iterations = {last}"))
    assert fqi("train", "--resume", "stopped", "--json").json["rounds"] == last
    straight = [str(last) if word == "2000" else word for word in TRAIN[:-1]]
    straight[straight.index("--workers") + 1] = "1"
    assert fqi(*straight, "straight").code == 0
    for name in (f"rounds/{last:05d}.safetensors", "resume.safetensors"):
        assert Path("stopped", name).read_bytes() == Path("straight", name).read_bytes(), name


def test_ctrl_c_before_anything_was_kept(fqi: Fqi, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fqi import training

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", press)
    found = fqi("train", "log.h5", "--out", "never")
    assert found.code == 130
    assert "nothing was kept" in found.err
    assert not Path("never").exists()


def test_ctrl_c_anywhere_else(fqi: Fqi, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fqi.reports import evaluation

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", press)
    found = fqi("evaluate", "run")
    assert found.code == 130
    assert found.err == "fqi: interrupted\n"
