"""Where the log of a table came from, as far as nobody stated it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fqi.datasets.formats.cells import Table
from fqi.datasets.formats.mapping import Mapping
from fqi.nest import Array


def found_provenance(
    mapping: Mapping, reference: str, table: Table, names: Sequence[str] | None, ids: Sequence[Any], some: Array
) -> dict[str, Any]:
    """What was made of the columns of a table whose episodes, those that have `some` steps, are called so."""
    found: dict[str, Any] = {
        "source": "table",
        "reference": reference,
        "columns": {role: name for name, role in mapping.used().items() if role not in mapping.several},
    }
    for role, nest in mapping.several.items():
        found["columns"][role] = nest[""] if list(nest) == [""] else nest
    if table.unread:
        found["columns_not_read"] = list(table.unread[:100])
    if names is not None:
        found["action_names"] = list(names)
    keys = {c.name: list(c.keys) for c in table.cells.values() if c.keys is not None}
    if keys:
        found["keys"] = keys  # what each number of a JSON map stands for
    if mapping.options.episode is not None and not _numbered(ids):
        found["episode_ids"] = [name for name, there in zip(ids, some.tolist(), strict=True) if there]
    return found


def found_origin(ids: Sequence[Any], some: Array) -> Array:
    """Where each episode came from: source 0, which is the table, and its number there."""
    numbers = np.array([int(t) for t in ids], np.int64) if _numbered(ids) else np.arange(len(some))
    return np.stack([np.zeros(int(some.sum()), np.int64), numbers[some]], axis=1)


def _numbered(ids: Sequence[Any]) -> bool:
    return all(isinstance(t, str) and t.isascii() and t.isdigit() and len(t) < 19 for t in ids)
