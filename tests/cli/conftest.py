"""The program in this process, in an empty folder; and, where signals matter, in one of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--iterations", "2", "--updates", "5", "--width", "8", "--workers", "1")
_SETTINGS = ("HOME", "PATH", "MINARI_DATASETS_PATH", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output; nothing else may be there."""
        assert self.code == 0, self
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
        assert isinstance(found, dict)
        return found


Fqi = Callable[..., Answer]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # py: policies add the current folder
    return place


@pytest.fixture
def fqi(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fqi:
    """`fqi …` in this process; a traceback is a failure of the test."""
    from fqi.cli import main

    def answer(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["fqi", *map(str, words)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main.run()
        return Answer(int(left.value.code or 0), *capsys.readouterr())

    return answer


@pytest.fixture
def refused(fqi: Fqi) -> Callable[..., str]:
    """The one sentence with which `fqi …` is refused: exit code 2, one line, nothing written."""

    def sentence(*words: object) -> str:
        before = contents()
        found = fqi(*words)
        assert found.code == 2, (words, found)
        assert found.err.startswith("fqi: "), (words, found)
        assert found.err.count("\n") == 1, (words, found)
        assert contents() == before, (words, found)
        return found.err

    return sentence


def contents() -> dict[str, bytes | None]:
    """Every path below the current folder, with what a file holds."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path().rglob("*"))}


def program(*words: object, **settings: str) -> list[str]:
    return [sys.executable, "-m", "fqi.cli.main", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    # No bytecode: a process that is killed, or that may not write, would leave some that is cut short.
    return known | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | more


def apart(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """`fqi …` in a process of its own."""
    return subprocess.run(
        program(*words), env=environment(**more), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CartPole log and an evaluated run of two rounds, for copying."""
    from fqi.datasets.collect import Request, collect
    from fqi.reports.evaluation import evaluate
    from fqi.training import configure, train

    place = tmp_path_factory.mktemp("made")
    log = collect(Request.new("CartPole-v1", {"envs": 8}, 300, None), place / "log.h5")
    values = {"iterations": 2, "workers": 1, "device": "cpu", "mlp": {"updates": 5, "width": 8}}
    run = train(log, configure(log, values), place / "run", log_reference="log.h5")
    evaluate(run, run.rounds, episodes=2)
    return place


@pytest.fixture
def copies(made: Path, folder: Path) -> Path:
    """`log.h5` and `run` in the current folder."""
    shutil.copy(made / "log.h5", folder / "log.h5")
    shutil.copytree(made / "run", folder / "run")
    return folder
