"""Help: at once, without heavy imports, with every default."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from fqi.regressors import REGRESSORS
from fqi.settings import TrainSettings
from tests.cli.conftest import Fqi, environment

COMMANDS = (
    ("collect",),
    ("train",),
    ("evaluate",),
    ("report",),
    ("play",),
    ("demo",),
    ("bench",),
    ("data", "info"),
    ("data", "check"),
    ("data", "report"),
    *(("data", name) for name in ("convert", "merge", "split", "filter", "head")),
    ("data", "repair"),
)


@pytest.mark.parametrize("command", [(), ("data",), *COMMANDS], ids=" ".join)
def test_help_is_shown(fqi: Fqi, command: tuple[str, ...]) -> None:
    found = fqi(*command, "--help")
    assert found.code == 0
    assert "Usage" in found.out
    assert not found.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_says_its_default(fqi: Fqi, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    text = re.sub(r"[│\s]+", " ", fqi(*command, "--help").out)
    rows = re.findall(r"(--[a-z-]+ .*?)(?=--[a-z-]+ +(?:-h )?<|╰)", text)
    for row in rows:
        if not row.startswith(("--help", "--json", "--resume <bool>", "--trust", "--version")):
            assert "[default: " in row, row
    for name in re.findall(r"\[(log|run|env)\]", text):
        assert re.search(rf" {name} <[a-z]+>.*?\[default: ", text), text


def test_every_setting_is_a_flag_with_its_default(fqi: Fqi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    text = fqi("train", "--help").out
    for kind in (TrainSettings, *(r.settings for r in REGRESSORS.values())):
        for field in dataclasses.fields(kind):
            row = next(line for line in text.splitlines() if f"--{field.name.replace('_', '-')} " in line)
            assert "[default: " in row
            if field.default is not None:  # one for all, or the first one and those of others by name
                assert re.search(rf"\[default: (.*: )?{re.escape(str(field.default))}[\];]", row), row


def test_brackets_of_a_policy_are_shown(fqi: Fqi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert "run:DIR[@ROUND]" in fqi("collect", "--help").out


@pytest.mark.parametrize("columns", [60, 200])
def test_help_keeps_within_the_terminal(fqi: Fqi, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        found = fqi(*command, "--help").out
        assert max(map(len, found.splitlines())) <= columns
        assert "\x1b" not in found


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "sys.argv = ['fqi', '--help']\n"
        "from fqi.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'gymnasium', 'h5py', 'sklearn', 'matplotlib', 'minari', 'scipy'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(found.stderr) == []


def test_version_and_bare_word(fqi: Fqi) -> None:
    assert fqi("--version").out.startswith("fqi ")
    assert "Usage" in fqi().out
