"""One log of several."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.columns import Column, leaf_name
from fqi.datasets.deriving import MEANINGS, Hearing, Made, check_free, derived, write_all
from fqi.datasets.source import Source
from fqi.datasets.stream import Output, source
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces


def merge(references: Sequence[str], target: str, *, force: bool = False, hearing: Hearing | None = None) -> Made:
    """One log of the episodes of several, in this order; behaviours of one name are one behaviour."""
    if len(references) < 2:
        raise UserError("name two logs or more, and then the one to be made of them")
    form = check_free(target, force, *references)
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(source(reference)) for reference in references]
        every = tuple(np.ones(one.episodes, np.bool_) for one in sources)
        head, origin = derived(sources, every, f"merged of {len(sources)} logs")
        head = replace(
            head,
            observation_space=_common([one.head.observation_space for one in sources], sources, "observation"),
            action_space=_common([one.head.action_space for one in sources], sources, "action"),
            environment=_one_environment(sources),
        )
        _same_meanings(sources)
        names, owns = _behaviours(sources)
        head = replace(head, behaviours=names)
        columns = _common_columns(sources, bool(names))
        seeds = None
        if any(one.seeds is not None for one in sources):
            seeds = np.concatenate([_or_unknown(one) for one in sources])

        def change(number: int, arrays: dict[str, Array]) -> dict[str, Array]:
            steps = len(arrays["rewards"])
            found = {c.name: np.asarray(arrays[c.name], c.dtype) for c in columns if c.name in arrays}
            if names:
                found["behaviour"] = owns[number][arrays.get("behaviour", np.zeros(steps, np.int32))]
            for column in columns:
                if column.name == "action_mask" and column.name not in found:  # no mask: everything is legal
                    frames = len(found[columns[0].name])
                    found[column.name] = np.ones((frames, *column.shape), np.bool_)
            return found

        lost = [
            f"{name} (missing in {', '.join(one.reference for one in sources if not one.has(name))})"
            for name in ("propensity", "label")
            if any(one.has(name) for one in sources) and not all(one.has(name) for one in sources)
        ]
        if lost:
            (hearing or Hearing()).losing(target, lost)
        output = Output(target, form, head, columns, every, seeds, origin, change)
        return write_all(sources, [output], hearing)[0]


def _common(found: Sequence[gym.Space[Any]], sources: Sequence[Source], what: str) -> gym.Space[Any]:
    """The space that all of them have; boxes may differ in their bounds, and the widest are taken."""
    first = found[0]
    for space, one in zip(found, sources, strict=True):
        mine, theirs = leaf_spaces(first), leaf_spaces(space)
        if not spaces.alike(first, space) or any(mine[p].dtype != theirs[p].dtype for p in mine):
            raise UserError(
                f"{one.reference}: its {what}s are of {_short(space)}, those of {sources[0].reference} of "
                f"{_short(first)}; only logs of the same spaces can be merged"
            )
    return _widest(found)


def _widest(found: Sequence[gym.Space[Any]]) -> gym.Space[Any]:
    first = found[0]
    if isinstance(first, gym.spaces.Dict):
        dicts = [space for space in found if isinstance(space, gym.spaces.Dict)]
        return gym.spaces.Dict([(key, _widest([space[key] for space in dicts])) for key in first.spaces])
    if isinstance(first, gym.spaces.Tuple):
        tuples = [space for space in found if isinstance(space, gym.spaces.Tuple)]
        return gym.spaces.Tuple([_widest([space[i] for space in tuples]) for i in range(len(first.spaces))])
    if isinstance(first, gym.spaces.Box):
        boxes = [space for space in found if isinstance(space, gym.spaces.Box)]
        low = np.minimum.reduce([box.low for box in boxes])
        high = np.maximum.reduce([box.high for box in boxes])
        dtype: Any = np.dtype(first.dtype).type
        return gym.spaces.Box(low, high, first.shape, dtype)
    return first


def _short(space: gym.Space[Any]) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 100 else text[:99] + "…"


def _one_environment(sources: Sequence[Source]) -> dict[str, Any] | None:
    first = sources[0].head.environment
    return first if all(one.head.environment == first for one in sources) else None


def _same_meanings(sources: Sequence[Source]) -> None:
    """Numbers must stand for the same thing in all logs."""
    for name in MEANINGS:
        known = [(one, one.head.provenance[name]) for one in sources if name in one.head.provenance]
        for one, meaning in known[1:]:
            if meaning != known[0][1]:
                raise UserError(
                    f"{one.reference}: {name} differ from those of {known[0][0].reference} "
                    f"({str(meaning)[:60]} and {str(known[0][1])[:60]}); convert one again in the order of the other"
                )


def _behaviours(sources: Sequence[Source]) -> tuple[tuple[str, ...], list[Array]]:
    """The names of all behaviours, and by log the new number of each of its own.

    A log that names none is itself a behaviour, by the name of its file.
    """
    own = [one.head.behaviours if one.has("behaviour") else (_stem(one.reference),) for one in sources]
    names = tuple(dict.fromkeys(name for some in own for name in some))
    return names, [np.array([names.index(name) for name in some], np.int32) for some in own]


def _stem(reference: str) -> str:
    name = reference.rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or name


def _common_columns(sources: Sequence[Source], behaviour: bool) -> tuple[Column, ...]:
    found: dict[str, Column] = {}
    for one in sources:
        for column in one.columns:
            known = found.setdefault(column.name, column)
            found[column.name] = replace(known, dtype=np.result_type(known.dtype, column.dtype))
    everywhere = {name for name in found if all(one.has(name) for one in sources)}
    order = [*map(leaf_name, leaf_spaces(sources[0].head.observation_space)), "actions", "rewards", "terminations"]
    kept = [found[name] for name in [*order, "truncations"]]
    kept += [found["propensity"]] if "propensity" in everywhere else []
    kept += [Column("behaviour", np.dtype(np.int32), (), "step")] if behaviour else []
    kept += [found["label"]] if "label" in everywhere else []
    kept += [found["action_mask"]] if "action_mask" in found else []
    return tuple(kept)


def _or_unknown(one: Source) -> Array:
    return np.full(one.episodes, -1, np.int64) if one.seeds is None else one.seeds
