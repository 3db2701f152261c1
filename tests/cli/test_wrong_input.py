"""Wrong input: exit code 2, one sentence, no traceback, nothing written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fqi.datasets.load import load_log, save_log
from fqi.log import Log
from tests.cli.conftest import SMALL, Fqi, environment, program

Refused = Callable[..., str]
NUMBERS = ("x", "1.5", "nan", "inf", "-1", "")


def test_words_that_are_not_known(refused: Refused) -> None:
    for words in (
        ["nope"],
        ["--nope"],
        ["collect", "--nope"],
        ["train", "--nope"],
        ["data", "nope"],
        ["report", "a", "b"],
    ):
        refused(*words)


def test_numbers(refused: Refused, copies: Path) -> None:
    for value in (*NUMBERS, "0"):
        for flag in ("--steps", "--episodes", "--envs", "--max-steps"):
            refused("collect", flag, value)
        for flag in ("--iterations", "--width", "--n-step", "--seeds", "--ensemble", "--workers"):
            refused("train", "log.h5", flag, value)
        refused("evaluate", "run", "--episodes", value)
    for value in NUMBERS:
        refused("collect", "--seed", value)
        refused("train", "log.h5", "--seed", value)
    for flag in ("--lr", "--clip", "--gamma", "--holdout"):
        for value in ("x", "nan", "-1"):
            refused("train", "log.h5", flag, value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nope-v0", "no environment"),
        ("CartPole-v9", "CartPole-v1"),
        ("", "no environment"),
        ("nomodule:My-v0", "nomodule"),
        ("a\nb\x1b[31m", "no environment"),
    ],
)
def test_environments(refused: Refused, name: str, says: str) -> None:
    found = refused("collect", name)
    assert says in found
    assert "\x1b" not in found


def test_a_simulator_that_is_missing(refused: Refused) -> None:
    for name, module in (("HalfCheetah-v5", "mujoco"), ("LunarLander-v3", "Box2D")):
        try:
            __import__(module)
        except ImportError:
            assert "pip install" in refused("collect", name)


def test_policies(refused: Refused) -> None:
    Path("faulty.py").write_text("def act(frames):\n    raise ValueError('no')\n")
    Path("broken.py").write_text("def act(:\n")
    for spec in (
        "", "foo", "random:x", "scripted:nope", "scripted:pendulum",
        "run:", "run:nowhere", "run:nowhere@x", "py:", "py:os",
        "py:nomodule:f", "py:os:getcwd", "py:os:sep", "py:faulty:act", "py:broken:act", "sb3:", "sb3:PPO:none.zip",
        "random,epsilon=2", "random,epsilon=nan", "random,epsilon=x", "random,weight=0", "random,weight=inf",
        "random,foo=1", "random,epsilon=0.1,epsilon=0.2",
    ):  # fmt: skip
        if spec.startswith(("py:faulty", "py:broken")):  # importing leaves Python's own cache
            continue
        refused("collect", "--steps", "50", "--policy", spec)


def test_a_function_that_raises(fqi: Fqi) -> None:
    Path("faulty_policy.py").write_text("def act(frames):\n    raise ValueError('no')\n")
    found = fqi("collect", "--steps", "50", "--policy", "py:faulty_policy:act")
    assert found.code == 2
    assert "faulty_policy:act raised ValueError: no (faulty_policy.py, line 2)" in found.err
    assert not Path("logs").exists() or not list(Path("logs").iterdir())


def test_flags_that_do_not_go_together(refused: Refused, copies: Path) -> None:
    for words in (
        ("collect", "--steps", "5", "--episodes", "5"),
        ("collect", "--mix", "step"),
        ("collect", "--mix", "foo", "--policy", "random", "--policy", "scripted"),
        ("collect", "--resume"),
        ("collect", "--resume", "--out", "nope.h5"),
        ("collect", "--resume", "--out", "log.h5", "--seed", "5"),
        ("collect", "--resume", "--out", "log.h5", "--envs", "3"),
        ("collect", "--resume", "--out", "log.h5", "CliffWalking-v1"),
        ("train", "log.h5", "--trees", "3"),
        ("train", "log.h5", "--regressor", "trees", "--lr", "0.1"),
        ("train", "log.h5", "--regressor", "trees", "--workers", "2"),
        ("train", "log.h5", "--target", "min", "--ensemble", "1"),
        ("train", "log.h5", "--patience", "2", "--holdout", "0"),
        ("train", "log.h5", "--checks", "3"),
        ("train", "log.h5", "--trust"),
        ("train", "--resume", "run", "--seed", "3"),
        ("train", "--resume", "run", "--out", "other"),
        ("train", "--resume", "run", "--iterations", "1"),
        ("train", "--resume", "run", "--trust"),
        ("evaluate", "run", "--trust"),
    ):
        refused(*words)


def test_logs(refused: Refused, fqi: Fqi, copies: Path) -> None:
    Path("empty.h5").touch()
    Path("text.h5").write_text("hello\n" * 100)
    Path("folder").mkdir()
    raw = Path("log.h5").read_bytes()
    Path("cut.h5").write_bytes(raw[: len(raw) // 2])
    shutil.copy("log.h5", "nan.h5")
    with h5py.File("nan.h5", "r+") as file:
        file["observations"][3] = np.nan
    Path("torn.h5.journal").write_bytes(b"garbage")
    files = ["", "nope.h5", ".", "folder", "empty.h5", "text.h5", "cut.h5", "nan.h5", "torn.h5", "/dev/null", "a" * 300]
    for name in (*files, "a\nb", "\x1b[31m", "minari:", "minari:../x-v0", "minari:nope-v0"):
        for command in (("train",), ("data", "info")):
            assert "\x1b" not in refused(*command, name)
    assert "row 3" in refused("train", "nan.h5")
    for name in ("empty.h5", "cut.h5", "nan.h5"):
        assert fqi("data", "check", name).code == 1
    assert "another kind of file" in refused("train", "text.h5")


def test_spaces_that_do_not_fit(refused: Refused, fqi: Fqi, copies: Path) -> None:
    fqi("collect", "Pendulum-v1", "--max-steps", "20", "--steps", "60", "--out", "pendulum.h5")
    assert "one output per action" in refused("train", "pendulum.h5", "--regressor", "trees")
    assert "finitely many" in refused("train", "log.h5", "--regressor", "table")
    assert "observation space" in refused("evaluate", "run", "--env", "CliffWalking-v1")
    refused("evaluate", "run", "--env", "Nope-v0")


@pytest.mark.parametrize(
    "text",
    ["x = [", "nope = 1", "iterations = 'x'", "iterations = 1.5", "gamma = true", "gamma = nan", "mlp = 3",
     "[mlp]\nnope = 1", "[mlp]\nwidth = 'a'", "[trees]\ntrees = 3", "seed = [1]", "\0"],
)  # fmt: skip
def test_configurations(refused: Refused, copies: Path, text: str) -> None:
    Path("my.toml").write_text(text)
    assert "my.toml" in refused("train", "log.h5", "--config", "my.toml")


def test_configurations_that_are_no_files(refused: Refused, copies: Path) -> None:
    for name in ("nope.toml", ".", "log.h5"):
        refused("train", "log.h5", "--config", name)


def test_rounds(refused: Refused, copies: Path) -> None:
    for wanted in ("0", "3", "-1", "x", "1,", ",", "spread:0", "spread:x", "last,1", "1-2", "", "²"):
        refused("evaluate", "run", "--rounds", wanted)


def test_places_to_write(refused: Refused, copies: Path) -> None:
    Path("file").touch()
    for out in ("log.h5", "log.txt", ".", "file/x.h5", "/proc/x.h5", "/dev/full/x.h5", "a" * 300 + ".h5"):
        refused("collect", "--steps", "50", "--out", out)
    for out in ("run", "file", "file/x", "/proc/x", "a" * 300):
        refused("train", "log.h5", *SMALL, "--out", out)
    for out in ("file", "/proc/x"):
        refused("report", "run", "--out", out)
        refused("demo", "--out", out)
    for name in ("", "foo", "a.b-v0", "../x-v0"):
        refused("collect", "--steps", "50", "--minari", name)


def test_latest_that_is_gone(refused: Refused) -> None:
    assert "yet" in refused("train")
    assert "yet" in refused("evaluate")
    for folder in ("logs", "runs"):
        Path(folder).mkdir()
        Path(folder, "latest").symlink_to("gone")
    for words in (("train",), ("data", "info"), ("evaluate",), ("report",)):
        assert "which is gone" in refused(*words)


def test_a_full_disk(copies: Path) -> None:
    import resource
    import signal
    import subprocess

    def little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    for words in (("collect", "--steps", "2000", "--out", "full.h5"), ("train", "log.h5", *SMALL, "--out", "full")):
        found = subprocess.run(
            program(*words),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=little,
        )
        assert found.returncode == 2, found
        assert found.stderr.startswith("fqi: "), found
        assert found.stderr.count("\n") == 1, found
    assert not [p for p in Path().rglob("*") if p.name.endswith(".part")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(refused: Refused, copies: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    refused("collect", "--steps", "50", "--out", "locked/x.h5")
    refused("train", "log.h5", *SMALL, "--out", "locked/x")


def _record(**changes: object) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        file = run / "run.json"
        found = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({k: v for k, v in found.items() if v != "absent"}))

    return change


def _file(name: str, content: bytes | None) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        for file in run.glob(name):
            file.unlink() if content is None else file.write_bytes(content)

    return change


EVERY, ROUNDS, REPORT, RESUME = "every", "rounds", "report", "resume"
BROKEN = {
    "run.json is text": (_file("run.json", b"{"), EVERY),
    "run.json is no text": (_file("run.json", b"\xff\xfe"), EVERY),
    "run.json is a list": (_file("run.json", b"[]"), EVERY),
    "run.json is deep": (_file("run.json", b"[" * 200_000), EVERY),
    "run.json is gone": (_file("run.json", None), EVERY),
    "another format": (_record(format="x"), EVERY),
    "another version": (_record(version=2), EVERY),
    "no log": (_record(log="absent"), EVERY),
    "an empty log": (_record(log={}), EVERY),
    "environment is a number": (_record(environment=3), EVERY),
    "environment without id": (_record(environment={}), EVERY),
    "no space": (_record(observation_space="absent"), EVERY),
    "space is empty": (_record(action_space="{}"), EVERY),
    "config is gone": (_file("config.toml", None), EVERY),
    "config is broken": (_file("config.toml", b"x = ["), EVERY),
    "rounds are gone": (_file("rounds/*", None), ROUNDS),
    "rounds are empty": (_file("rounds/*", b""), ROUNDS),
    "rounds are noise": (_file("rounds/*", b"\x80" * 500), ROUNDS),
    "resume is noise": (_file("resume.safetensors", b"\x80" * 500), RESUME),
    "metrics are text": (_file("metrics.jsonl", b"nope\n{}\n"), REPORT),
    "metrics are a list": (_file("metrics.jsonl", b"[]\n"), REPORT),
    "metrics say nothing": (_file("metrics.jsonl", b"{}\n"), REPORT),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_runs(refused: Refused, copies: Path, what: str) -> None:
    damage, seen = BROKEN[what]
    damage(Path("run"))
    if seen in (EVERY, ROUNDS):
        refused("evaluate", "run", "--episodes", "2")
    if seen in (EVERY, REPORT):
        refused("report", "run")
    refused("train", "--resume", "run", "--iterations", "3")


def test_a_run_whose_log_changed_or_is_gone(refused: Refused, fqi: Fqi, copies: Path) -> None:
    fqi("collect", "--steps", "40", "--out", "other.h5")
    assert "fingerprint" in refused("train", "--resume", "run", "other.h5", "--iterations", "3")
    Path("log.h5").unlink()
    assert "log.h5" in refused("train", "--resume", "run", "--iterations", "3")
    assert fqi("report", "run").code == 0


def test_a_log_that_names_no_environment(refused: Refused, fqi: Fqi, copies: Path) -> None:
    log = load_log("log.h5")
    names = ("observations", "actions", "rewards", "terminations", "truncations", "lengths")
    spaces = {"observation_space": log.observation_space, "action_space": log.action_space}
    save_log(Log(**{name: getattr(log, name) for name in names}, **spaces), "bare.h5")
    assert fqi("train", "bare.h5", *SMALL, "--out", "bare").code == 0
    assert fqi("evaluate", "bare", "--json").json["measured"] == ["audit", "policy_values"]
    assert "--env" in refused("evaluate", "bare", "--max-steps", "5")
    assert fqi("evaluate", "bare", "--env", "CartPole-v1", "--episodes", "2").code == 0
    refused("collect", "--resume", "--out", "bare.h5")
