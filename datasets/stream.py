"""Logs read and written window by window: whatever their size, a few megabytes are held at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fqi.datasets import store
from fqi.datasets.columns import Column, Head, arguments
from fqi.datasets.format import Format
from fqi.datasets.load import resolve
from fqi.datasets.source import Outline, Source, Take, held, undisturbed
from fqi.datasets.windows import Window
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array


@contextlib.contextmanager
def source(reference: str | Path) -> Iterator[Source]:
    """The log of this name; only what is asked for is read, where its format can be read by rows."""
    name, form = resolve(reference)
    if form.open is None or (form is store.FORMAT and not Path(name).is_file()):  # the journal of a collection is held
        yield held(name, form.name, form.read(name))
        return
    with undisturbed(form.open(name)) as one:
        yield one


def checked_rows(source: Source, window: Window) -> dict[str, Array]:
    """The columns of a window, once they are known to be those of a valid log."""
    arrays = {}
    for column in source.columns:
        rows = window.frames if column.per == "frame" else window.steps
        more = column.per == "frame" and not window.ends  # the frame that a part leads to, to be checked with it
        arrays[column.name] = source.rows(column.name, rows.start, rows.stop + more)
    if window.last - window.first > 1:
        lengths = source.lengths[window.first : window.last]
    else:
        lengths = np.array([window.steps.stop - window.steps.start], np.int64)
    to_check = {**arrays, "lengths": lengths}
    if not window.ends:  # for the check alone, a part is an episode that was cut
        to_check["truncations"] = arrays["truncations"].copy()
        to_check["truncations"][-1] = True
        for name in ("terminations", "truncations"):
            if arrays[name][-1]:
                where = f"{source.reference}: {name}: row {window.steps.stop - 1}"
                raise UserError(f"{where}: expected no end inside an episode, found True")
    try:
        Log(**arguments(source.head, to_check))
    except UserError as error:
        where = f"episodes {window.first} to {window.last - 1}"
        raise UserError(
            f"{source.reference}: {where}: {error}; `fqi data check {source.reference}` lists every fault"
        ) from error
    for column in source.columns:
        if column.per == "frame" and not window.ends:
            arrays[column.name] = arrays[column.name][:-1]
    return arrays


def refuse_loss(path: str, lost: list[str]) -> None:
    raise UserError(f"{path}: this format cannot hold {'; '.join(lost)}; say --lossy to write it without")


@dataclass(frozen=True)
class Output:
    """A log to be written: which episodes of which sources, and how they are changed on the way."""

    path: str
    form: Format
    head: Head
    columns: tuple[Column, ...]  # per frame and per step
    chosen: tuple[Array, ...]  # by source: [M] bool
    seeds: Array | None = None  # of the chosen ones
    origin: Array | None = None
    change: Callable[[int, dict[str, Array]], dict[str, Array]] = lambda _, arrays: arrays
    losing: Callable[[str, list[str]], None] = refuse_loss  # asked before anything is lost
    compress: bool = False


def write(sources: Sequence[Source], outputs: Sequence[Output], listen: Callable[[int], None] | None = None) -> None:
    """Read the sources once, in order, and write every output; all of them appear at the end, or none."""
    done = 0
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(_sink(output, sources)) for output in outputs]
        for number, one in enumerate(sources):
            for window in one.windows():
                picks = [output.chosen[number][window.first : window.last] for output in outputs]
                if any(pick.any() for pick in picks):
                    arrays = checked_rows(one, window)
                    for output, sink, pick in zip(outputs, sinks, picks, strict=True):
                        if pick.any():
                            picked = _picked(one, window, arrays, pick)
                            sink(output.change(number, picked))
                done += window.steps.stop - window.steps.start
                if listen is not None:
                    listen(done)


def _picked(one: Source, window: Window, arrays: dict[str, Array], pick: Array) -> dict[str, Array]:
    if pick.all():
        return arrays
    lengths = one.lengths[window.first : window.last]
    of = {"step": np.repeat(pick, lengths), "frame": np.repeat(pick, lengths + 1)}
    return {column.name: arrays[column.name][of[column.per]] for column in one.columns}


@contextlib.contextmanager
def _sink(output: Output, sources: Sequence[Source]) -> Iterator[Take]:
    """Where the windows go, once it is said what the format cannot hold of them."""
    lengths = [one.lengths[chosen] for one, chosen in zip(sources, output.chosen, strict=True)]

    def ends() -> tuple[Array, Array]:
        found = [[flags[c] for flags in one.ends()] for one, c in zip(sources, output.chosen, strict=True)]
        return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])

    whole = np.concatenate(lengths).astype(np.int64)
    outline = Outline(output.head, output.columns, whole, output.seeds, output.origin, ends)
    lost = output.form.lost(outline, output.path) if output.form.lost is not None else []
    if lost:
        output.losing(output.path, lost)
    if output.form is store.FORMAT:
        with store.log_sink(outline, output.path, output.compress) as take:
            yield take
        return
    assert output.form.sink is not None
    with output.form.sink(outline, output.path) as take:
        yield take
