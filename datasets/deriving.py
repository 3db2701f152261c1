"""What all makers of logs share: whom to tell, what is in the way, where episodes come from, and the writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets import store
from fqi.datasets.columns import Head
from fqi.datasets.format import Format
from fqi.datasets.formats import minari, table
from fqi.datasets.journal import journal_path
from fqi.datasets.load import FORMATS, writable
from fqi.datasets.source import Source
from fqi.datasets.stream import Output, refuse_loss, write
from fqi.errors import UserError
from fqi.nest import Array

MEANINGS = ("action_names", "action_table", "keys")  # what of a provenance says what numbers mean


@dataclass(frozen=True)
class Hearing:
    """Whom to tell how far the work is, and whom to ask before anything is lost."""

    progress: Callable[[int, int], None] = lambda done, total: None
    losing: Callable[[str, list[str]], None] = refuse_loss


@dataclass(frozen=True)
class Made:
    """A log that was written."""

    log: str
    steps: int
    episodes: int
    notes: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def check_free(target: str, force: bool, *sources: str) -> Format:
    """The format that a name asks for, if there is nothing in the way of writing it."""
    form = writable(target)
    if form is minari.FORMAT:
        minari.check_free(target)
        return form
    path = _path(target)
    if path.is_dir():
        raise UserError(f"{target}: is a folder; name a file in it")
    if any(not one.startswith(minari.PREFIX) and path.resolve() == _path(one).resolve() for one in sources):
        raise UserError(f"{target}: is the log that is read; name another file")
    if form is store.FORMAT and journal_path(path).exists():
        raise UserError(f"{target}: an unfinished collection lies there; resume it, or name another file")
    also = [table.beside(path)] if form is table.FORMAT and not target.endswith((".parquet", ".pq")) else []
    for there in (path, *also):
        if there.exists() and not force:
            raise UserError(f"{there} exists already; name another file, or say --force to replace it")
    return form


def refuse_idle_packing(target: str, form: Format, compress: bool) -> None:
    """Only the own format is packed when asked."""
    if compress and form is not store.FORMAT:
        raise UserError(f"{target}: --compress has an effect only on logs that end in {store.SUFFIX}")


def _path(reference: str) -> Path:
    """The file that is named, without its format's prefix, its options or its mapping."""
    prefix = next((f"{form.name}:" for form in FORMATS if form.claims and reference.startswith(f"{form.name}:")), "")
    name = table.Named.of(reference).path
    return Path(reference.removeprefix(prefix).partition("?")[0]) if prefix else name


# Where episodes come from


def _numbered(source: int, episodes: int) -> Array:
    """[M, 2] the number of the source, and of the episode there."""
    return np.stack([np.full(episodes, source, np.int64), np.arange(episodes)], axis=1)


def derived(sources: Sequence[Source], chosen: Sequence[Array], how: str) -> tuple[Head, Array]:
    """The head of a log made of parts of others, and where each of its episodes comes from.

    What was made of others itself names their sources, not itself, so that a trail does not end at a passing file.
    """
    roots: list[dict[str, Any]] = []
    origins = []
    for one, picked in zip(sources, chosen, strict=True):
        provenance, first = one.head.provenance, len(roots)
        known = provenance.get("sources")
        if isinstance(known, list) and one.origin is not None and _within(one.origin, len(known)):
            roots += known
            origins.append(one.origin[picked] + [first, 0])
        else:
            roots.append({"reference": one.reference, "episodes": one.episodes, "provenance": provenance})
            origins.append(_numbered(first, one.episodes)[picked])
    head = sources[0].head
    meaning = {name: head.provenance[name] for name in MEANINGS if name in head.provenance}
    before = head.provenance.get("made") if len(sources) == 1 else None
    steps = [*(before if isinstance(before, list) else []), how]
    said = {"made": steps, **meaning, "sources": roots}
    return replace(head, provenance=said), np.concatenate(origins).astype(np.int64)


def _within(origin: Array, count: int) -> bool:
    return bool(len(origin)) and int(origin[:, 0].min()) >= 0 and int(origin[:, 0].max()) < count


# Writing


def write_all(sources: Sequence[Source], outputs: Sequence[Output], hearing: Hearing | None) -> list[Made]:
    hearing = hearing or Hearing()
    total = sum(one.steps for one in sources)
    outputs = [replace(output, losing=hearing.losing) for output in outputs]
    write(sources, outputs, lambda done: hearing.progress(done, total))
    made = []
    for output in outputs:
        lengths = [one.lengths[chosen] for one, chosen in zip(sources, output.chosen, strict=True)]
        steps, episodes = sum(int(some.sum()) for some in lengths), sum(map(len, lengths))
        made.append(Made(output.path, steps, episodes, provenance=output.head.provenance))
    return made
