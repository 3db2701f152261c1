"""What the mapping of a table leaves open, found by one look at all of its rows in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym

from fqi import spaces
from fqi.datasets.formats import steps
from fqi.datasets.formats.choices import space_of
from fqi.datasets.formats.found_provenance import found_origin, found_provenance
from fqi.datasets.formats.found_spaces import found_space
from fqi.datasets.formats.glance import Glance
from fqi.datasets.formats.mapping import Mapping
from fqi.datasets.formats.sheet import Sheet
from fqi.datasets.formats.table_read import Tables
from fqi.nest import Array


def stated(tables: Tables, meaning: Mapping, reference: str) -> tuple[Mapping, Array | None] | None:
    """The mapping with nothing left open, and where episodes come from; None where names cannot be stated."""
    seen: Glance | None = None
    for table in tables(steps.wanted(meaning)):
        part = steps.glance_of_table(table, meaning, reference)
        seen = part if seen is None else seen | part
    if seen is None or not seen.some.any():
        return None
    options, said = meaning.options, dict(meaning.said)
    names = None if seen.names is None else tuple(options.actions.split(",")) if options.actions else seen.names
    if names is not None and any("," in name for name in names):
        return None
    found: dict[str, Any] = {}
    if options.environment is None:
        if "observation_space" not in said:
            found["observation_space"] = spaces.to_json(found_space(seen.observations))
        if "action_space" not in said:
            space: gym.Space[Any] = (
                space_of(Sheet(table, meaning, reference), seen.actions, seen.blank)
                if names is None
                else gym.spaces.Discrete(len(names))
            )
            found["action_space"] = spaces.to_json(space)
    if options.behaviour is not None and "behaviours" not in said:
        found["behaviours"] = sorted(seen.behaviours)
    origin = None
    if "provenance" not in said:
        found["provenance"] = found_provenance(meaning, reference, table, names, seen.ids, seen.some)
        if options.episode is not None and "origin" not in meaning.several:
            origin = found_origin(seen.ids, seen.some)
    options = options if names is None else replace(options, actions=",".join(names))
    return replace(meaning, options=options, said={**said, **found}), origin
