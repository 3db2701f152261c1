"""Files appear whole or not at all."""

from __future__ import annotations

import json

import pytest

from fqi.errors import UserError
from fqi.files import finite, json_line, point, read_json_lines, replacing, write_bytes, write_json


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == tmp_path
    assert path.read_bytes() == b"new"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    content = {"a": [1.5, float("nan"), (float("inf"), -float("inf"))], 3: None, "b": True, "ü": "–"}
    expected = {"a": [1.5, None, [None, None]], "3": None, "b": True, "ü": "–"}
    assert finite(content) == expected
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == expected
    assert json.loads(json_line(content)) == expected
    assert json_line(content).count("\n") == 1


def test_a_float_survives_a_line_of_json():
    for value in (0.1, 1e-300, 2**53 + 1.0, 1 / 3):
        assert json.loads(json_line(value)) == value


def test_a_cut_last_line_is_left_out_wherever_it_was_cut(tmp_path):
    path = tmp_path / "m.jsonl"
    whole = json_line({"a": 1}) + json_line({"b": "é"})
    for size in range(len(whole.encode()) + 1):
        path.write_bytes(whole.encode()[:size])
        assert len(read_json_lines(path)) == whole.encode()[:size].count(b"\n")


def test_no_file_has_no_lines(tmp_path):
    assert read_json_lines(tmp_path / "none.jsonl") == []


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"a":\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"m\.jsonl: line 2: expected JSON"):
        read_json_lines(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(UserError, match=r"m\.jsonl: line 1"):
        read_json_lines(path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_json_lines(tmp_path)


def test_a_link_is_relative_and_moves_at_once(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        point(tmp_path / "runs" / "latest", tmp_path / "runs" / name)
        assert str((tmp_path / "runs" / "latest").readlink()) == name
    assert sorted(f.name for f in (tmp_path / "runs").iterdir()) == ["latest", "one", "two"]
