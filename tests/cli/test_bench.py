"""`fqi bench`: a table or one object, and an exit code for what has become worse."""

from __future__ import annotations

import json

import pytest


def test_figures_are_printed_kept_and_compared(fqi, tmp_path):
    found = fqi("bench", "environments", "--seconds", "0.1", "--json")
    assert found.code == 0
    printed = json.loads(found.out)
    assert [f["name"] for f in printed["figures"]] == ["environment-MountainCar-v0", "environment-Pendulum-v1"]
    kept = tmp_path / "kept.json"
    for factor, code in ((1e-3, 0), (1e3, 1)):
        figures = [{**f, "ratio": f["ratio"] * factor} for f in printed["figures"]]
        kept.write_text(json.dumps({**printed, "figures": figures}))
        found = fqi("bench", "environments", "--seconds", "0.1", "--against", str(kept))
        assert found.code == code
        assert ("worse: environment-MountainCar-v0" in found.out) == (code == 1)


@pytest.mark.parametrize(("words", "said"), [
    (["nothing"], "there is no bench 'nothing'"),
    (["--against", "none.json"], "none.json: cannot be read"),
    (["--tolerance", "0.5"], "--tolerance has an effect only with --against"),
], ids=str)  # fmt: skip
def test_wrong_input_is_one_sentence(fqi, words, said):
    found = fqi("bench", *words)
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1
