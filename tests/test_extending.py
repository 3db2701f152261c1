"""The examples of docs/extending.md work as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from fqi.imports import trust
from fqi.training import configure, train
from fqi.values import Look, Value
from tests.fqi.training_kit import SMALL, walks

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def written(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of this name as the page has it, in a folder from which it can be imported; its source."""
    blocks = re.findall(r"```python\n(# (\w+)\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    (source,) = (text for text, module in blocks if module == name)
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return str(source)


def test_a_value_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written("my_rules", tmp_path, monkeypatch)
    assert len(source.splitlines()) <= 20
    spec = "py:my_rules:cautious"
    trust(spec, "target")
    log = walks()
    config = configure(log, flags=SMALL | {"target": spec})
    # Heads (1, 5) and (3, 2): means 2, 3.5, deviations 1, 1.5: the best is 2. Forbidden: 1; nothing allowed: 0.
    values = torch.tensor([[[[1.0, 5], [1, 5], [1, 5]], [[3.0, 2], [3, 2], [3, 2]]]])
    allowed = torch.tensor([[True, True], [True, False], [False, False]])
    rule = Value.of(config).rule
    assert rule.of(Look(values, values, allowed, torch.ones(1, 2), 1.0)).tolist() == [[[2, 1, 0]] * 2]
    run = train(log, config, tmp_path / "run")
    assert run.rounds == [1, 2, 3, 4]
    assert run.config.train.target == spec
