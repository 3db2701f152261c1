"""The run directory: whole from its first moment, and honest about what is in it."""

from __future__ import annotations

import json
import tomllib

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.log import fingerprint
from fqi.run import Run, build
from tests.fqi.training_kit import config_of, walks

LOG = walks()


def made(tmp_path, **flags):
    return Run.create(tmp_path / "run", config_of(LOG, **flags), LOG, "logs/x.h5", ["fqi", "train"])


def test_a_new_run_describes_itself(tmp_path):
    run = made(tmp_path)
    assert sorted(f.name for f in run.path.iterdir()) == ["config.toml", "rounds", "run.json"]
    record = run.record
    assert record["status"] == "training"
    assert record["command"] == ["fqi", "train"]
    assert record["environment"] == LOG.environment
    assert record["log"] | {} == {
        "reference": "logs/x.h5",
        "fingerprint": fingerprint(LOG),
        "memory": None,
        "steps": LOG.steps,
        "episodes": LOG.episodes,
        "behaviours": [],
        "provenance": {},
    }
    assert {"torch", "numpy", "gymnasium", "fqi", "python"} <= set(record["versions"])
    assert run.observation_space == LOG.observation_space  # bounds are infinite
    assert run.action_space == LOG.action_space
    assert run.config == config_of(LOG)
    assert tomllib.loads((run.path / "config.toml").read_text())["mlp"]["updates"] == 12
    assert (run.rounds, run.metrics, run.evaluations) == ([], [], [])
    assert Run.open(run.path) == run


def test_nothing_is_beside_a_new_run(tmp_path):
    made(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_holds_something_is_refused(tmp_path):
    made(tmp_path)
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(UserError, match="run exists already; give another --out, or go on with it by --resume"):
        made(tmp_path)
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="exists already"):
        Run.create(tmp_path / "file", config_of(LOG), LOG, "", [])


def test_an_empty_folder_may_become_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert made(tmp_path).record["status"] == "training"


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="run: cannot be made: Not a directory"):
        Run.create(tmp_path / "file" / "run", config_of(LOG), LOG, "", [])


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("fqi.run.fingerprint", lambda log: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path)
    assert list(tmp_path.iterdir()) == []


def spoil(tmp_path, name, text):
    run = made(tmp_path)
    (run.path / name).write_text(text)
    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"run\.json: not valid JSON"),
        ("[]", r"run\.json: expected an object, found list"),
        ("{}", "not a run directory"),
        ('{"format": "fqi-run", "version": 2}', "expected run format version 1, found 2"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        Run.open(spoil(tmp_path, "run.json", text).path)


def test_what_is_not_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no such run; `fqi train` makes one"):
        Run.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"not a run directory: it has no run\.json"):
        Run.open(tmp_path)


def test_damaged_settings_and_spaces_are_named(tmp_path):
    run = spoil(tmp_path, "config.toml", "gamma = 3\n")
    with pytest.raises(UserError, match=r"config\.toml: gamma must be at most 1"):
        _ = run.config
    record = run.record
    (run.path / "run.json").write_text(json.dumps(record | {"action_space": '{"type": "Nothing"}'}))
    with pytest.raises(UserError, match=r"run\.json: action_space"):
        _ = run.action_space


def test_rounds_are_picked_by_number_or_the_last(tmp_path):
    run = made(tmp_path)
    with pytest.raises(UserError, match="no finished round yet"):
        run.pick_round(None)
    q = run.build()
    for number in (1, 2, 10):
        run.write_round(number, q, [{"round": number, "member": 0, "x": number / 3}])
    (run.path / "rounds" / ".00011.safetensors.9.part").write_bytes(b"half")
    assert run.rounds == [1, 2, 10]
    assert (run.pick_round(None), run.pick_round(2)) == (10, 2)
    with pytest.raises(UserError, match="has no round 3; it has 1 to 10"):
        run.pick_round(3)
    assert [row["x"] for row in run.metrics] == [1 / 3, 2 / 3, 10 / 3]


def test_a_round_is_loaded_exactly(tmp_path):
    run = made(tmp_path)
    q, other = run.build(), run.build()
    q.state.flat.normal_()
    q.state.mean.fill_(3)
    run.write_round(1, q, [])
    run.load(other, 1)
    frames = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    assert torch.equal(q.values(frames), other.values(frames))
    with pytest.raises(UserError, match="no such file"):
        run.load(other, 2)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_damaged_round_is_named_and_changes_nothing(tmp_path, size):
    run = made(tmp_path)
    q = run.build()
    run.write_round(1, q, [])
    file = run.path / "rounds" / "00001.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    before = {k: v.clone() for k, v in q.checkpoint().items()}
    with pytest.raises(UserError, match=r"00001\.safetensors: not a readable checkpoint"):
        run.load(q, 1)
    assert all(torch.equal(before[k], v) for k, v in q.checkpoint().items())


@pytest.mark.parametrize("bad", ["nan", "name", "shape"])
def test_a_foreign_round_is_refused_before_any_of_it_is_taken(tmp_path, bad):
    run = made(tmp_path)
    q, stranger = run.build(), run.build()
    stranger.state.flat.normal_()
    tensors = dict(stranger.checkpoint())
    if bad == "nan":
        tensors["input_spread"] = torch.full_like(tensors["input_spread"], float("nan"))
    elif bad == "name":
        tensors["more"] = torch.zeros(1)
    else:
        tensors["input_spread"] = torch.zeros(7)
    before = {k: v.clone() for k, v in q.checkpoint().items()}
    with pytest.raises(UserError, match="checkpoint: "):
        q.restore(tensors)
    assert all(torch.equal(before[k], v) for k, v in q.checkpoint().items())


def test_evaluations_take_the_place_of_earlier_ones(tmp_path):
    run = made(tmp_path)
    row = {"round": 2, "member": 0, "returns": [1.0]}
    run.add_evaluations([row, row | {"member": 1}])
    run.add_evaluations([row | {"round": 1}, row | {"returns": [2.0]}])
    found = [(r["round"], r["member"], r["returns"]) for r in run.evaluations]
    assert found == [(1, 0, [1.0]), (2, 0, [2.0]), (2, 1, [1.0])]


def test_more_rounds_are_written_down(tmp_path):
    run = made(tmp_path)
    assert run.lengthen(9).train.iterations == 9
    assert run.config.train.iterations == 9
    assert run.config.regressor == config_of(LOG).regressor


def test_a_q_function_can_be_built_for_other_spaces():
    q = build(config_of(LOG, seeds=2), gym.spaces.Discrete(4), gym.spaces.Discrete(3), "cpu", 1)
    assert q.values(np.arange(4)).shape == (4, 4, 3)


def test_a_run_is_held_by_one_process_at_a_time(tmp_path):
    (tmp_path / "rounds").mkdir()
    with Run(tmp_path).held(), pytest.raises(UserError, match="another process is training it"), Run(tmp_path).held():
        pass
    with Run(tmp_path).held():  # free again
        assert (tmp_path / "rounds").is_dir()
