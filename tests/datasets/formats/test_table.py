"""Tables of other tools, in any order and dress, and our own, which lose nothing."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fqi.datasets.formats import table, texts
from fqi.datasets.formats.table import read_table, suggest
from fqi.datasets.load import load_columns, load_log, save_log
from fqi.errors import UserError
from fqi.log import Log
from tests.datasets.helpers import assert_same, small_log
from tests.strategies import logs

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = pq = None
needs_parquet = pytest.mark.skipif(pa is None, reason="pyarrow, which reads Parquet, is not installed")
KINDS = ["t.csv", "t.csv.gz", pytest.param("t.parquet", marks=needs_parquet)]

# Two episodes: a terminates after three steps, b is cut after two. Rows are shuffled.
PLAIN = """\
episode_id,step,x,y,action,reward,terminated,truncated
b,1,5.5,0,1,0.5,False,True
a,2,3.0,1,0,3.0,True,False
a,0,1.0,1,0,1.0,False,False
b,0,4.5,0,1,0.25,False,False
a,1,2.0,1,1,2.0,False,False
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def csv(text: str, name: str = "t.csv") -> str:
    Path(name).write_text(text)
    return name


def read(text: str, **said: Any) -> Log:
    return read_table(csv(text), said)


def sentence(text: str, **said: Any) -> str:
    with pytest.raises(UserError) as error:
        read(text, **said)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", KINDS)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(log=logs())
def test_any_log_survives(name: str, log: Log) -> None:
    save_log(log, name)
    found = load_log(name)
    assert_same(found, log)


def test_rows_in_any_order() -> None:
    log = read(PLAIN, observation="x,y")
    # b stands first in the file; it is cut, so its last row gives the final frame and is no step
    np.testing.assert_array_equal(log.observations, [[4.5, 0], [5.5, 0], [1, 1], [2, 1], [3, 1], [3, 1]])
    assert log.actions.tolist() == [1, 0, 1, 0]
    assert log.rewards.tolist() == [0.25, 1, 2, 3]
    assert log.terminations.tolist() == [False, False, False, True]
    assert log.truncations.tolist() == [True, False, False, False]
    assert log.lengths.tolist() == [1, 3]
    assert log.action_space == gym.spaces.Discrete(2)
    assert log.provenance["episode_ids"] == ["b", "a"]
    assert sum("cut episodes" in note for note in log.provenance["notes"]) == 1


def test_a_next_observation_is_the_final_frame_and_must_be_that_of_the_next_row() -> None:
    text = "episode,step,obs,action,reward,terminated,next_obs\n0,0,1.0,0,1,0,2.0\n0,1,2.0,1,1,0,{}\n1,0,7.0,0,1,1,\n"
    log = read(text.format("3.5"))
    np.testing.assert_array_equal(log.observations, [1, 2, 3.5, 7, 7])
    assert log.truncations.tolist() == [False, True, False]
    assert log.terminations.tolist() == [False, False, True]
    assert read(text.format("")).lengths.tolist() == [1, 1]  # without it the last row of the cut episode is no step
    said = sentence(text.format("3").replace("1,0,2.0\n", "1,0,2.5\n"))
    assert "row 1: column next_obs" in said
    assert "row (2)" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a,1,2.0", "a,2,2.0", ["row 2", "step 2", "'a'", "twice", "row 5"]),
        ("a,1,2.0", "a,7,2.0", ["row 2", "expected step 1 after step 0", "step-means order"]),
        ("a,1,2.0,1", "a,1,two,1", ["row 5", "column x", "'two'"]),
        ("a,1,2.0,1,1", "a,1,2.0,1,", ["row 5", "column action", "blank"]),
        ("2.0,False,False", ",False,False", ["row 5", "column reward", "blank"]),
        ("1,2.0,False,False", "1,2.0,True,False", ["row 5", "column terminated", "inside"]),
        ("1,2.0,False,False", "1,2.0,maybe,False", ["row 5", "column terminated", "'maybe'"]),
        ("a,1,2.0,1,1,2.0,False,False", "a,1,2.0,1,1,2.0,False", ["row 5", "expected 8 cells", "found 7"]),
        ("a,1,2.0", ",1,2.0", ["row 5", "column episode_id", "blank"]),
        ("a,1,2.0", "a,x,2.0", ["row 5", "column step", "'x'"]),
        ("reward,", "x,", ["two columns", "'x'"]),
        ("a,1,2.0,1,1,2.0", "a,1,2_0,1,1,2.0", ["row 5", "column x", "'2_0'"]),
        ("a,1,2.0,1,1,2.0", "a,1,2.0,1,1,nan", ["rewards", "finite"]),
        ("a,1,2.0,1,1,2.0", 'a,1,2.0,1,1,"2.0', ["line", "damage"]),
    ],
)
def test_refusals_name_row_and_column(old: str, new: str, says: list[str]) -> None:
    text = PLAIN.replace(old, new)
    assert text != PLAIN
    said = sentence(text, observation="x,y")
    for words in says:
        assert words in said, said


def test_what_cannot_be_guessed_is_asked_for() -> None:
    assert "--observation" in sentence(PLAIN)
    assert "--reward" in sentence(PLAIN.replace("reward", "r"), observation="x,y")
    assert "'state' and 'obs'" in sentence(PLAIN.replace("x,y", "state,obs"))
    assert "no column 'z'" in sentence(PLAIN, observation="x,z")
    assert "unknown option" in sentence(PLAIN, observations="x,z")
    assert "twice" in sentence(PLAIN, observation="x,x")
    assert "--termination" in sentence(PLAIN.replace("terminated", "foo"), observation="x,y")
    assert "--ends" in sentence(PLAIN.replace("terminated,truncated", "foo,bar"), observation="x,y")


DONE = "episode,obs,action,reward,done\n0,1.5,0,1,0\n0,2.5,0,1,1\n1,3.5,1,1,0\n1,4.5,0,1,0\n1,5.5,1,1,1\n"


def test_a_merged_flag_must_be_told_apart() -> None:
    assert "--done-means" in sentence(DONE)
    assert read(DONE, done_means="termination").terminations.tolist() == [False, True, False, False, True]
    cut = read(DONE, done_means="truncation")
    assert cut.lengths.tolist() == [1, 2]
    assert cut.truncations.tolist() == [True, False, True]
    limited = read(DONE, time_limit=3)  # the second episode ends with its third step: it was cut
    assert limited.terminations.tolist() == [False, True, False, False]
    assert limited.truncations.tolist() == [False, False, False, True]
    assert "time limit of 2" in sentence(DONE, time_limit=2)
    assert "not both" in sentence(DONE, time_limit=3, done_means="termination")
    assert "only with --done" in sentence(PLAIN, observation="x,y", time_limit=3)


def test_episodes_without_a_column_end_at_the_flags() -> None:
    log = read("obs,action,reward,terminal\n1.5,0,1,0\n2.5,0,1,1\n3.5,1,1,0\n4.5,1,1,0\n")
    assert log.lengths.tolist() == [2, 1]  # the open end is cut
    assert log.terminations.tolist() == [False, True, False]


def test_an_episode_interleaved_with_another_needs_step_numbers() -> None:
    assert "--step" in sentence("episode,obs,action,reward,terminal\n0,1.5,0,1,0\n1,1.5,0,1,1\n0,1.5,0,1,1\n")


@pytest.mark.parametrize("action", ["left", "right"])
def test_the_reagent_layout_is_recognised(action: str) -> None:
    head = "ds,mdp_id,sequence_number,state_features,action,reward,possible_actions,action_probability\n"
    rows = [
        ("e1", 2, {"1": 0.5, "0": 1.5}, action, 2.0, ["left", "right"], 0.5),
        ("e1", 1, {"0": 1.0, "1": 0.0}, "left", 1.0, ["left", "up"], 0.25),
    ]
    text = head + "".join("2020-01-01,{},{},{},{},{},{},{}\n".format(*(quoted(cell) for cell in row)) for row in rows)
    log = read(text)
    assert log.provenance["action_names"] == ["left", "right", "up"]
    assert log.provenance["keys"] == {"state_features": ["1", "0"]}
    assert log.provenance["columns_not_read"] == ["ds"]
    np.testing.assert_array_equal(log.observations, [[0, 1], [0.5, 1.5], [0.5, 1.5]])
    assert log.actions.tolist() == [0, ["left", "right"].index(action)]
    assert log.terminations.tolist() == [False, True]
    assert log.propensity is not None
    assert log.propensity.tolist() == [0.25, 0.5]
    assert log.action_mask is not None
    assert log.action_mask.tolist() == [[True, False, True], [True, True, False], [True, True, True]]


def quoted(cell: object) -> str:
    text = cell if isinstance(cell, str) else json.dumps(cell)
    return '"' + text.replace('"', '""') + '"'


def test_masks_of_flags_and_of_actions() -> None:
    head = "episode,obs,action,reward,terminal,{}\n"
    three = head.format("possible_actions") + '0,1.5,2,1,0,"[0,0,1]"\n0,2.5,1,1,1,"[1,1,0]"\n'
    found = read(three).action_mask
    assert found is not None
    assert found.tolist() == [[False, False, True], [True, True, False], [True, True, True]]
    two = '0,1.5,1,1,0,"[0,1]"\n0,2.5,1,1,1,"[1,1]"\n'
    flags = read(head.format("action_mask") + two).action_mask
    assert flags is not None
    assert flags[0].tolist() == [False, True]
    listed = read(head.format("legal_actions") + two).action_mask
    assert listed is not None
    assert listed[0].tolist() == [True, True]
    assert "--mask-means" in sentence(head.format("m") + two, mask="m")
    assert "row 2: column possible_actions" in sentence(three.replace('"[1,1,0]"', '"[1,1]"'), mask_means="flags")
    assert "mask allows" in sentence(three.replace("0,2.5,1", "0,2.5,2"))


RLDS = """\
episode,step,obs,action,reward,is_first,is_last,is_terminal
0,0,1.0,1,0.5,1,0,0
0,1,2.0,0,1.5,0,0,0
0,2,3.0,,,0,1,1
1,0,4.0,1,2.5,1,0,0
1,1,5.0,9,99,0,1,0
"""


@pytest.mark.parametrize("grouped", [True, False])
def test_rlds_steps_have_a_row_more(grouped: bool) -> None:
    text = RLDS if grouped else "\n".join(line.split(",", 2)[2] for line in RLDS.splitlines()) + "\n"
    log = read(text)
    np.testing.assert_array_equal(log.observations, [1, 2, 3, 4, 5])
    assert log.actions.tolist() == [1, 0, 1]  # what stands in a last row is no action
    assert log.action_space == gym.spaces.Discrete(2)
    assert log.rewards.tolist() == [0.5, 1.5, 2.5]
    assert log.terminations.tolist() == [False, True, False]
    assert log.truncations.tolist() == [False, False, True]


def test_rlds_flags_that_contradict() -> None:
    assert "row 2: column is_first" in sentence(RLDS.replace("0,1,2.0,0,1.5,0", "0,1,2.0,0,1.5,1"))
    assert "row 2: column is_last" in sentence(RLDS.replace("1.5,0,0,0", "1.5,0,1,0"))
    assert "row 1: column is_terminal" in sentence(RLDS.replace("0.5,1,0,0", "0.5,1,0,1"))
    assert "row 2: column action" in sentence(RLDS.replace("2.0,0,1.5", "2.0,,1.5"))


@pytest.mark.parametrize("number", [2**31, 2**63 - 1, -(2**63), "1e999"])
def test_numbers_that_no_action_has(number: int | str) -> None:
    said = sentence(RLDS.replace("2.0,0,1.5", f"2.0,{number},1.5"))
    assert "column action: expected numbers of actions, below 2147483648, found" in said


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.jsonl", lambda p, b: p.write_bytes(b)),
        ("t.ndjson", lambda p, b: p.write_bytes(b)),
        ("t.jsonl.gz", lambda p, b: p.write_bytes(gzip.compress(b))),
        ("t.jsonl.bz2", lambda p, b: p.write_bytes(bz2.compress(b))),
    ],
)
def test_json_lines_a_step_or_an_episode_a_line(name: str, write: Callable[[Path, bytes], object]) -> None:
    header, *rows = (line.split(",") for line in RLDS.splitlines())
    steps = [{k: json.loads(v or "null") for k, v in zip(header, row, strict=True)} for row in rows]
    steps = [{**row, **{k: bool(row[k]) for k in ("is_first", "is_last", "is_terminal")}} for row in steps]
    write(Path(name), "\n".join(map(json.dumps, steps)).encode())
    by_step = load_log(name)
    episodes: list[dict[str, Any]] = [
        {"observations": [1.0, 2.0, 3.0], "actions": [1, 0], "rewards": [0.5, 1.5], "terminated": True, "by": "me"},
        {"observations": [4.0, 5.0], "actions": [1], "rewards": [2.5], "terminated": False, "by": "me"},
    ]
    write(Path(name), "\n".join(map(json.dumps, episodes)).encode() + b"\n\n")
    by_episode = load_log(name)
    for log in (by_step, by_episode):
        np.testing.assert_array_equal(log.observations, [1, 2, 3, 4, 5])
        assert log.actions.tolist() == [1, 0, 1]
        assert log.terminations.tolist() == [False, True, False]
        assert log.truncations.tolist() == [False, False, True]


def test_json_lines_with_named_parts() -> None:
    lines = [
        {
            "observation": {"pos": [1.0, 2.0], "id": 3},
            "action": [0.5],
            "reward": 1,
            "is_last": False,
            "is_terminal": False,
        },
        {
            "observation": {"pos": [2.0, 2.0], "id": 4},
            "action": None,
            "reward": None,
            "is_last": True,
            "is_terminal": True,
        },
    ]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    log = load_log("t.jsonl")
    assert isinstance(log.observations, dict)
    np.testing.assert_array_equal(log.observations["pos"], [[1, 2], [2, 2]])
    assert log.observations["id"].tolist() == [3, 4]
    assert log.observation_space["id"] == gym.spaces.Discrete(5)  # type: ignore[index]
    np.testing.assert_array_equal(log.actions, [[0.5]])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ("[1]", "line 2: expected a JSON object"),
        ("[" * 100_000, "line 2"),
        ('{"obs": 1.0, "action": 1, "reward": 1e999999, "terminal": true}', "rewards: row 1: expected finite"),
        ('{"obs": 1.0, "reward": 1, "terminal": false}', "row 2: column action: expected a value"),
        ('{"obs": 1.0, "action": true, "reward": 1, "terminal": false}', "row 2: column action"),
        ('{"rewards": [1, 2], "actions": [1], "observations": [1, 2]}', "line 2: actions: expected 2 entries"),
    ],
)
def test_json_lines_that_are_broken(line: str, says: str) -> None:
    good = '{"obs": 1.0, "action": 1, "reward": 1, "terminal": false}'
    Path("t.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        load_log("t.jsonl")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.jsonl.bz2"])
def test_small_files_cannot_take_much_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = bz2.compress if name.endswith("bz2") else gzip.compress
    head = b"obs,action,reward,terminal\n" if "csv" in name else b""
    Path(name).write_bytes(pack(head + b"\n" * (9 << 20)))
    with pytest.raises(UserError, match="unpacked"):
        load_log(name)
    monkeypatch.setattr(texts, "LONGEST", 1 << 20)
    Path(name).write_bytes(pack(head + b" " * (3 << 20)))
    with pytest.raises(UserError, match=r"line \d+: is longer than"):
        load_log(name)
    Path(name).write_bytes(pack(b"abc")[:-4])
    with pytest.raises(UserError, match="damage"):
        load_log(name)


def test_text_that_is_no_text() -> None:
    Path("t.csv").write_bytes(b"obs,action\n1,2\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="line 3: expected text in UTF-8"):
        load_log("t.csv")
    Path("t.csv").write_bytes(b"")
    with pytest.raises(UserError, match="names of columns"):
        load_log("t.csv")
    Path("t.csv").write_text("obs,action,reward,terminal\n")
    with pytest.raises(UserError, match="at least one row"):
        load_log("t.csv")


def test_whole_numbers_stay_whole_and_pixels_stay_bytes() -> None:
    big = 2**53 + 1
    log = read(f"episode,obs_0,obs_1,action,reward,terminal\n0,{big},1,0,1,0\n0,5,2,0,1,1\n")
    assert isinstance(log.observations, np.ndarray)
    assert log.observations.dtype == np.int64
    assert log.observations[0, 0] == big
    said = sentence(f"episode,obs,action,reward,terminal\n0,{2**70},0,1,0\n")
    assert "row 1: column obs" in said
    states = read("episode,state,action,reward,terminal\n0,3,0,1,0\n0,5,0,1,1\n")
    assert states.observation_space == gym.spaces.Discrete(6)


def test_an_environment_gives_the_spaces_and_is_not_imported_from_a_file() -> None:
    text = "episode,state,action,reward,terminal\n0,3,0,1,0\n0,5,1,1,1\n"
    log = read(text, environment="FrozenLake-v1")
    assert log.observation_space == gym.spaces.Discrete(16)
    assert log.action_space == gym.spaces.Discrete(4)
    assert log.environment is not None
    assert log.environment["id"] == "FrozenLake-v1"
    assert "module" in sentence(text, environment="os:Env-v0")
    assert "no environment" in sentence(text, environment="Nope-v0")
    assert "from 0 to 15" in sentence(text.replace("0,3,0", "0,99,0"), environment="FrozenLake-v1")
    assert "shape" in sentence(text, environment="CartPole-v1")


def test_the_suggested_mapping_reads_the_table() -> None:
    csv(PLAIN)
    said = suggest("t.csv", {"observation": "x,y"})
    Path("mine.toml").write_text(said)
    assert_same(without_name(load_log("t.csv@mine.toml")), without_name(read(PLAIN, observation="x,y")))
    Path("t.schema.toml").write_text(said)
    assert load_log("t.csv").lengths.tolist() == [1, 3]
    Path("t.schema.toml").rename("schema.toml")
    assert load_log("t.csv").lengths.tolist() == [1, 3]
    Path("schema.toml").unlink()
    unfinished = suggest("t.csv")
    assert "not complete" in unfinished
    assert "# observation =" in unfinished
    assert 'episode = "episode_id"' in unfinished
    Path("mine.toml").write_text(unfinished)
    with pytest.raises(UserError, match="--observation"):
        load_log("t.csv@mine.toml")
    Path("mine.toml").write_text("episode = [")
    with pytest.raises(UserError, match=r"mine\.toml: expected a mapping as TOML"):
        load_log("t.csv@mine.toml")


def without_name(log: Log) -> Log:
    log.provenance.pop("reference")
    return log


def test_named_actions_in_a_stated_order() -> None:
    text = "episode,obs,action,reward,terminal\n0,1.5,up,1,0\n0,2.5,down,1,1\n"
    assert read(text).actions.tolist() == [1, 0]
    log = read(text, actions="up,stay,down")
    assert log.actions.tolist() == [0, 2]
    assert log.action_space == gym.spaces.Discrete(3)
    assert log.provenance["action_names"] == ["up", "stay", "down"]
    assert "row 2: column action" in sentence(text, actions="up,stay")
    mixed = text.replace("0,2.5,down", "0,2.5,7")
    assert read(mixed).provenance["action_names"] == ["7", "up"]
    numbers_first = "episode,obs,action,reward,terminal\n" + "".join(f"{i},1.5,0,1,1\n" for i in range(20_000))
    assert "row 20001: column action" in sentence(numbers_first + "20000,1.5,up,1,1\n")


def test_labels_are_actions_of_an_expert() -> None:
    text = "episode,obs,action,label,reward,terminal\n0,1.5,up,left,1,0\n0,2.5,down,up,1,1\n"
    log = read(text)
    assert log.provenance["action_names"] == ["down", "left", "up"]
    assert log.actions.tolist() == [2, 0]
    assert log.label is not None
    assert log.label.tolist() == [1, 2]
    assert read(text.replace("up,left", "1,4").replace("down,up", "0,1")).action_space == gym.spaces.Discrete(5)
    assert "column action: expected numbers" in sentence(text.replace("up,left", "up,1").replace("down,up", "down,2"))
    assert "row 1: column label" in sentence(text, actions="up,down")


def test_the_doctor_gets_what_is_broken() -> None:
    csv("episode,obs,action,reward,terminal\n0,1.5,0,nan,0\n0,2.5,1,1,1\n")
    columns = load_columns("t.csv")
    assert not columns.problems
    assert np.isnan(columns.arrays["rewards"][0])
    csv("what\n1\n")
    assert "observation" in load_columns("t.csv").problems["file"]


def test_a_log_of_other_rows_is_not_written_over_half(monkeypatch: pytest.MonkeyPatch) -> None:
    save_log(small_log(), "t.csv")
    before = Path("t.csv").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table.separated.Writer, "rows", fail)
    with pytest.raises(UserError, match="No space left"):
        save_log(small_log(2), "t.csv")
    assert Path("t.csv").read_bytes() == before


def test_the_same_log_is_the_same_bytes() -> None:
    save_log(small_log(), "a.csv.gz")
    save_log(small_log(), "b.csv.gz")
    assert Path("a.csv.gz").read_bytes() == Path("b.csv.gz").read_bytes()


@needs_parquet
def test_parquet_of_other_tools() -> None:
    columns = {
        "mdp_id": ["a", "a", "b"],
        "sequence_number": [0, 1, 0],
        "state_features": pa.array([[("0", 1.0)], [("0", 2.0)], [("0", 3.0)]], pa.map_("string", "double")),
        "action": pa.array(["l", "r", "l"]).dictionary_encode(),
        "reward": pa.array([1.0, 2.0, 3.0], pa.float32()),
        "possible_actions": [["l", "r"], ["r"], ["l"]],
        "action_probability": [0.5, None, 1.0],
    }
    pq.write_table(pa.table(columns), "t.parquet")
    with pytest.raises(UserError, match="row 2: column action_probability: expected a value"):
        load_log("t.parquet")
    columns["action_probability"] = [0.5, 0.5, 1.0]
    pq.write_table(pa.table(columns), "t.parquet")
    log = load_log("t.parquet")
    assert log.rewards.dtype == np.float32
    assert log.actions.tolist() == [0, 1, 0]
    assert log.terminations.tolist() == [False, True, True]
    np.testing.assert_array_equal(log.observations, [[1], [2], [2], [3], [3]])
    pq.write_table(pa.table({**columns, "state_features": [[1.0], [1.0, 2.0], [3.0]]}), "t.parquet")
    with pytest.raises(UserError, match="row 2: column state_features: expected numbers of shape"):
        load_log("t.parquet")
    raw = Path("t.parquet").read_bytes()
    Path("t.parquet").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="damage"):
        load_log("t.parquet")


@pytest.mark.skipif(pa is not None, reason="pyarrow is installed")
def test_parquet_without_its_library_names_the_command() -> None:
    Path("t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r'pip install "fqi\[parquet\]"'):
        load_log("t.parquet")
    with pytest.raises(UserError, match=r'pip install "fqi\[parquet\]"'):
        save_log(small_log(), "out.parquet")
    assert not Path("out.parquet").exists()
