"""A log written in another format, its actions flattened, its stacks of frames taken apart, or packed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets import store
from fqi.datasets.columns import Column, Head
from fqi.datasets.deriving import Hearing, Made, check_free, derived, refuse_idle_packing, write_all
from fqi.datasets.flatten import flattening
from fqi.datasets.format import Format
from fqi.datasets.formats import minari, table
from fqi.datasets.source import Source, undisturbed
from fqi.datasets.stacks import apart, shifting
from fqi.datasets.stream import Output, source
from fqi.errors import UserError
from fqi.nest import Array

_CHOICES = ("actions", "label")


def convert(
    reference: str,
    target: str,
    *,
    said: dict[str, Any] | None = None,
    flatten_actions: bool = False,
    unstack: bool = False,
    compress: bool = False,
    force: bool = False,
    hearing: Hearing | None = None,
) -> Made:
    """The same episodes in another format; `said` tells what the columns of a table are."""
    hearing = hearing or Hearing()
    if flatten_actions and unstack:
        raise UserError("--flatten-actions and --unstack: one at a time; convert twice")
    form = check_free(target, force, reference)
    refuse_idle_packing(target, form, compress)
    with _opened(reference, said, flatten_actions) as one:
        flatten_actions = flatten_actions and one.form != minari.FORMAT.name  # which has done it while reading
        notes = dict(one.head.provenance.get("notes") or {}) if one.form != store.FORMAT.name else {}
        if flatten_actions:
            output = _flattened(one, target, form)
        elif unstack:
            output = apart(one, target, form, hearing)
        else:
            head = one.head.noting(converted_from=_trail(one.head, one.reference))
            every = np.ones(one.episodes, np.bool_)
            output = Output(target, form, head, one.columns, (every,), one.seeds, one.origin)
            stacks = shifting(one) if form is store.FORMAT else None
            if stacks is not None:
                said_of = f"observations that are stacks of {stacks.depth} frames, of which --unstack keeps one"
                notes[said_of] = one.steps + one.episodes
        made = write_all([one], [replace(output, compress=compress)], hearing)[0]
        return replace(made, notes=notes)


@contextlib.contextmanager
def _opened(reference: str, said: dict[str, Any] | None, flatten_actions: bool) -> Iterator[Source]:
    if said is not None:
        if not table.accepts(reference):
            name = f"--{next(iter(said)).replace('_', '-')}"
            raise UserError(f"{reference}: {name} has an effect only on a table (CSV, Parquet or JSON lines)")
        with undisturbed(table.open_table(reference, said)) as one:
            yield one
        return
    if flatten_actions and minari.accepts(reference):
        with undisturbed(minari.open_minari(reference, flatten_actions=True)) as one:
            yield one
        return
    with source(reference) as one:
        yield one


def _trail(head: Head, reference: str) -> list[str]:
    before = head.provenance.get("converted_from")
    return [*(before if isinstance(before, list) else []), reference]


def _flattened(one: Source, target: str, form: Format) -> Output:
    """The same log with an index for each combination of choices."""
    flat = flattening(one.head.action_space, one.reference)
    head, origin = derived([one], [np.ones(one.episodes, np.bool_)], "actions flattened to an index")
    head = replace(head, action_space=gym.spaces.Discrete(flat.count)).noting(action_table=flat.to_json())
    columns = tuple(
        Column(column.name, np.dtype(np.int64), (), "step") if column.name in _CHOICES else column
        for column in one.columns
    )

    def change(_: int, arrays: dict[str, Array]) -> dict[str, Array]:
        return {**arrays, **{name: flat.index({"": arrays[name]}) for name in _CHOICES if name in arrays}}

    every = np.ones(one.episodes, np.bool_)
    return Output(target, form, head, columns, (every,), one.seeds, origin, change)
