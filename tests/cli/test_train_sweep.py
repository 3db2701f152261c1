"""`fqi train --sweep`: one command, one run, one table and one page that compare the settings."""

from __future__ import annotations

from tests.cli.conftest import SMALL


def test_a_sweep_from_the_command_line_to_the_page(fqi, refused, folder):
    assert fqi("collect", "--steps", 400).code == 0
    words = ["train", *SMALL, "--sweep", "lr=1e-3,3e-4", "--sweep", "gamma=0.95,0.99", "--seeds", 2, "--ensemble", 2]
    found = fqi(*words)
    assert found.code == 0, found
    assert "4 settings: lr 0.001, gamma 0.95; lr 0.001, gamma 0.99; lr 0.0003" in found.out
    assert "8 members of 2 heads" in found.out
    judged = fqi("evaluate", "--episodes", 3, "--json").json
    assert len(judged["settings"]) == 4
    assert {setting["setting"] for setting in judged["settings"]} >= {"lr 0.0003, gamma 0.99"}
    assert all(setting["return"]["members"] == 2 for setting in judged["settings"])
    assert "lr 0.001, gamma 0.95" in fqi("evaluate", "--episodes", 3).out
    assert fqi("report").code == 0
    assert "Settings side by side" in (folder / "runs/latest/report/report.html").read_text()
    assert "lr 0.001, gamma 0.99; 4: lr 0.0003" in refused("play")
    assert fqi("play", "--member", 6, "--max-steps", 3, "--json").json["member"] == 6
    assert "it has 0 to 7" in refused("play", "--member", 8)
    assert "member=NUMBER" in refused("collect", "--policy", "run:runs/latest", "--steps", 20)
    assert fqi("collect", "--policy", "run:runs/latest@1,member=7", "--steps", 20).code == 0
    assert "sweep of 4 settings (lr 0.001" in refused("compare", "bc", "runs/latest")
    assert "--sweep belongs to a new run" in refused("train", "--resume", "runs/latest", "--sweep", "lr=1,2")
    assert "such as lr=1e-3,3e-4" in refused("train", "--sweep", "lr")
    assert "differ in batch" in refused("train", "--sweep", "batch=16,32")
