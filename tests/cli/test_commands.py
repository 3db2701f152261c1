"""The commands in a row, bare and as JSON, and what they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fqi.datasets.load import load_log
from tests.cli.conftest import SMALL, Fqi, apart


def test_the_chain_works_bare_and_names_the_next_command(fqi: Fqi) -> None:
    words = ["collect", "--steps", "300"]
    for extra, made in (
        (SMALL, "logs/CartPole-v1-1.h5"),
        (("--episodes", "3", "--states", "5"), "runs/CartPole-v1-1"),
        ((), "CartPole-v1-1/evaluations.jsonl"),
        (None, "report/report.html"),
    ):
        found = fqi(*words)
        assert found.code == 0, found
        assert not found.err
        assert "\x1b" not in found.out
        assert any(str(path).endswith(made) for path in Path().rglob("*")), made
        if extra is None:
            break
        following = re.search(r"^next: fqi (.*)$", found.out, re.MULTILINE)
        assert following, found.out
        typed = shlex.split(following[1])
        words = [typed[0], *extra] if typed[0] != "train" else [*typed[:2], *extra]
    assert Path("logs/latest").resolve().name == "CartPole-v1-1.h5"
    for command in (("data", "info"), ("data", "check")):
        assert fqi(*command).code == 0
    assert fqi("collect", "--steps", "20").code == 0
    assert Path("logs/latest").resolve().name == "CartPole-v1-2.h5"


def test_json_has_the_keys_promised(fqi: Fqi) -> None:
    assert fqi("collect", "--steps", "300", "--json").json == {
        "log": "logs/CartPole-v1-1.h5",
        "steps": 300,
        "episodes": load_log("logs/latest").episodes,
    }
    trained = fqi("train", *SMALL, "--seeds", "2", "--ensemble", "2", "--json").json
    assert trained["run"] == "runs/CartPole-v1-1"
    assert trained["rounds"] == 2
    again = fqi("train", "--resume", trained["run"], "--iterations", "3", "--json").json
    assert again["rounds"] == 3
    judged = fqi("evaluate", "--episodes", "3", "--json").json
    assert {"run", "round", "return", "per_member", "predicted", "realised", "bias"} <= judged.keys()
    assert set(judged["return"]) == {"mean", "low", "high", "episodes", "members"}
    assert judged["run"] == trained["run"]
    assert judged["round"] == 3
    assert len(judged["per_member"]) == judged["return"]["members"] == 2
    assert judged["bias"] == pytest.approx(judged["predicted"] - judged["realised"])
    page = fqi("report", "--json").json
    assert list(page) == ["report"]
    assert Path(page["report"]).is_file()
    described = fqi("data", "info", "--json").json
    assert described["steps"] == 300
    assert fqi("data", "check", "--json").json["ok"] is True


def test_demo(fqi: Fqi, monkeypatch: pytest.MonkeyPatch) -> None:
    from fqi.cli import demo

    for name, value in (("STEPS", 300), ("ROUNDS", 1), ("EPISODES", 2), ("EVALUATED", 1)):
        monkeypatch.setattr(demo, name, value)
    found = fqi("demo", "--json").json
    assert {"report", "run", "log", "return", "predicted", "realised"} <= found.keys()
    assert Path(found["report"]).is_file()
    assert Path(found["report"]).is_relative_to("demo")


def test_a_log_elsewhere_does_not_become_the_latest(fqi: Fqi) -> None:
    fqi("collect", "--steps", "20", "--out", "logs/mine.h5")
    fqi("collect", "--steps", "20", "--out", "elsewhere/mine.h5")
    assert Path("logs/latest").resolve().name == "mine.h5"
    assert fqi("train", "elsewhere/mine.h5", *SMALL, "--out", "elsewhere/run").code == 0
    assert not Path("runs").exists()


def test_names_with_spaces_are_quoted_in_the_next_command(fqi: Fqi) -> None:
    found = fqi("collect", "CliffWalking-v1", "--max-steps", "20", "--steps", "60", "--out", "é ü/my log.h5")
    assert "next: fqi train 'é ü/my log.h5'" in found.out
    assert "next: fqi evaluate 'my run'" in fqi("train", "é ü/my log.h5", "--iterations", "1", "--out", "my run").out
    assert fqi("report", "my run").code == 0


def test_going_on_with_a_log_is_collecting_more_from_the_start(fqi: Fqi) -> None:
    fqi("collect", "--steps", "200", "--seed", "3", "--envs", "4")
    assert fqi("collect", "--resume", "--steps", "450").code == 0
    fqi("collect", "--steps", "450", "--seed", "3", "--envs", "4", "--out", "fresh.h5")
    first, second = (fqi("data", "info", name, "--json").json for name in ("logs/latest", "fresh.h5"))
    assert first["steps"] == second["steps"] == 450
    assert first["checksum"] == second["checksum"]
    np.testing.assert_array_equal(load_log("logs/latest").observations, load_log("fresh.h5").observations)


def test_arguments_of_the_environment_are_kept_and_used_again(fqi: Fqi) -> None:
    fqi("collect", "fqi/CarOnTheHill-v0", "--env-kwargs", "start=uniform", "--steps", 200, "--out", "a.h5")
    log = load_log("a.h5")
    assert log.environment is not None
    assert log.environment["kwargs"] == {"start": "uniform"}
    again = fqi("collect", "--resume", "--out", "a.h5", "--env-kwargs", '{"start": "grid"}', "--steps", 300)
    assert again.code == 2
    assert "--env-kwargs differs from {'start': 'uniform'}" in again.err
    fqi("train", "a.h5", "--out", "r", *SMALL)
    few = ("--episodes", 4, "--states", 2, "--no-films", "--json")
    own = fqi("evaluate", "r", *few).json
    other = fqi("evaluate", "r", "--env-kwargs", "start=bottom", *few).json
    assert own["predicted"] != other["predicted"]  # from other starts


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["start"], "must read NAME=VALUE or be a JSON object, found 'start'"),
        (["{start"], "is no JSON object"),
        (["start=grid", '{"start": 1}'], "gives start twice"),
        (["start=grid", "wheels=3"], "could not be made with kwargs"),
        (["start=top"], "start of Car-on-the-Hill must be one of"),
    ],
)
def test_wrong_arguments_of_the_environment(fqi: Fqi, typed: list[str], says: str) -> None:
    words = [word for text in typed for word in ("--env-kwargs", text)]
    answer = fqi("collect", "fqi/CarOnTheHill-v0", *words)
    assert answer.code == 2
    assert says in " ".join(answer.err.split())


def test_minari_datasets_are_written_and_trained_on(fqi: Fqi) -> None:
    assert fqi("collect", "--steps", "100", "--minari", "me/cart-v0", "--json").json["log"] == "minari:me/cart-v0"
    assert fqi("train", "minari:me/cart-v0", *SMALL, "--json").json["log"] == "minari:me/cart-v0"
    found = fqi("collect", "--steps", "100", "--minari", "me/cart-v0")
    assert found.code == 2
    assert "me/cart-v0" in found.err


def test_a_policy_of_the_current_folder(fqi: Fqi) -> None:
    Path("mine_to_play.py").write_text("import numpy as np\ndef act(frames):\n    return np.ones(len(frames), int)\n")
    found = fqi("collect", "--steps", "50", "--policy", "py:mine_to_play:act")
    assert found.code == 0, found
    assert (load_log("logs/latest").actions == 1).all()


def test_evaluation_is_an_aligned_table(fqi: Fqi, copies: Path) -> None:
    lines = fqi("evaluate", "run", "--episodes", "2").out.splitlines()
    table = lines[1 : lines.index(next(line for line in lines if line.startswith("95 %")))]
    assert len({len(line) for line in table}) == 1
    assert [line.split()[0] for line in table] == ["round", "1", "2"]


def test_info_is_a_page_with_what_matters_first(fqi: Fqi, copies: Path) -> None:
    found = fqi("data", "info", "log.h5").out
    assert [line.split()[0] for line in found.splitlines()[:4]] == ["log", "environment", "size", "collected"]
    for word in ("length", "return", "action 0", "random", "coverage", "checksum", "next: fqi train log.h5"):
        assert word in found
    assert len(found.splitlines()) < 40
    assert max(map(len, found.splitlines())) <= 130


@pytest.mark.parametrize("environment", ["CliffWalking-v1", "Pendulum-v1", "Blackjack-v1"])
def test_info_of_other_spaces(fqi: Fqi, environment: str) -> None:
    fqi("collect", environment, "--max-steps", "20", "--steps", "60")
    assert environment in fqi("data", "info").out


def test_a_reader_that_leaves_early_is_no_error(copies: Path) -> None:
    import subprocess

    from tests.cli.conftest import environment, program

    shell = f"{shlex.join(program('data', 'info', 'log.h5', '--json'))} | head -c 1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(
        ["bash", "-c", shell], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0
    assert not found.stderr


def test_output_that_is_no_terminal_has_no_control_characters(copies: Path) -> None:
    for words in (("evaluate", "run", "--episodes", "2"), ("data", "info", "log.h5"), ("collect", "--steps", "50")):
        found = apart(*words, FORCE_COLOR="")
        assert found.returncode == 0
        assert all(c.isprintable() or c == "\n" for c in found.stdout + found.stderr)
