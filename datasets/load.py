"""Logs by any name that a user may type."""

from __future__ import annotations

import os
from pathlib import Path

from fqi.datasets import store
from fqi.datasets.columns import Columns
from fqi.datasets.format import Format
from fqi.datasets.formats import d3rlpy, d4rl, dqn_replay, foreign, minari, npz, table
from fqi.datasets.hdf5 import memory_bytes
from fqi.datasets.journal import SUFFIX, journal_path
from fqi.datasets.source import held
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import leaves

FORMATS: tuple[Format, ...] = (
    minari.FORMAT,
    foreign.FORMAT,
    npz.FORMAT,
    dqn_replay.FORMAT,
    d3rlpy.FORMAT,
    d4rl.FORMAT,
    table.FORMAT,
    store.FORMAT,  # last: it takes every file
)

LATEST = "latest"


def load_log(reference: str | Path, verify: bool = False, memory: int | None = None) -> Log:
    """The log of this name: `minari:ID`, a file, a Minari folder or `logs/latest`; `verify` compares checksums.

    Of a log of the own format, observations that take more bytes than `memory` stay on disk.
    """
    name, form = resolve(reference)
    if form is store.FORMAT:
        return store.read_log(name, verify, memory)
    log = form.read(name)
    taken = sum(leaf.nbytes for leaf in leaves(log.observations).values())
    if memory is not None and taken > memory:
        raise UserError(
            f"{reference}: observations take {taken / 2**30:.2f} GiB, more than the {memory / 2**30:.2f} GiB that "
            f"they may; only fqi's own format can stay on disk: fqi data convert {reference} LOG{store.SUFFIX}"
        )
    return log


def affordable() -> int:
    """Half of this machine's memory: what observations may take in bytes unless somebody says otherwise."""
    return memory_bytes() // 2


def refuse_beyond(reference: str | Path, memory: int, who: str) -> None:
    """One sentence where a log of the own format takes more bytes than `memory`, and whoever asks holds it whole."""
    name, form = resolve(reference)
    if form is store.FORMAT and Path(name).is_file() and (taken := store.bytes_of(Path(name))) > memory:
        raise UserError(
            f"{reference}: takes {taken / 2**30:.2f} GiB, more than the {memory / 2**30:.2f} GiB (half of this "
            f"machine's memory) that {who} may hold at once; take a part: fqi data head {reference} "
            f"PART{store.SUFFIX} --episodes 1000"
        )


def load_columns(reference: str | Path) -> Columns:
    """Whatever can be read of the log of this name, however broken."""
    name, form = resolve(reference)
    return form.read_columns(name)


def save_log(log: Log, reference: str | Path) -> None:
    """Write the log in the format that the name asks for, such as `minari:ID` or a file that ends in .h5."""
    form = writable(str(reference))
    if form is store.FORMAT:
        store.write_log(log, reference)  # whole columns, one after another
        return
    assert form.sink is not None
    one = held(str(reference), form.name, log)
    with form.sink(one.outline, str(reference)) as take:
        for window in one.windows():
            take(one.within(window))


def writable(name: str) -> Format:
    """The format that a name asks for."""
    found = next((form for form in FORMATS if form.sink is not None and form.writes and form.writes(name)), None)
    if found is None:
        examples = ", ".join(form.example for form in FORMATS if form.sink is not None)
        raise UserError(
            f"{name}: expected a name that says what to write ({examples}), such as a file that ends in {store.SUFFIX}"
        )
    return found


def resolve(reference: str | Path) -> tuple[str, Format]:
    """What the name means and in which format it lies; one sentence if there is nothing."""
    name = str(reference)
    path = Path(name)
    for form in FORMATS:
        if form.claims is not None and form.claims(name):  # a prefix or options, whatever lies there
            return name, form
    if name.startswith(minari.PREFIX):
        minari.dataset_id(name)
    elif path.name == LATEST:
        found = latest(path.parent)
        if found is None:
            raise UserError(f"{name}: no log in {path.parent}{os.sep} yet; make one with `fqi collect`")
        name = str(found)
    elif not path.exists() and not (table.accepts(name) and table.Named.of(name).schema):
        if path.suffix == SUFFIX or not journal_path(path).exists():
            raise UserError(f"{name}: no such log; make one with `fqi collect --out {name}`{_near(path)}")
    elif path.is_file() and path.suffix == SUFFIX:
        name = str(path.with_suffix(""))  # an unfinished collection, named by its journal
    elif path.is_dir() and not any(form.accepts(name) for form in FORMATS):
        raise UserError(
            f"{name}: expected a log, found a folder that is no Minari dataset and no DQN replay{_near(path / 'x')}"
        )
    for form in FORMATS:
        if form.accepts(name):
            return name, form
    raise UserError(f"{name}: expected a log, found none; names look like {' or '.join(f.example for f in FORMATS)}")


def latest(folder: Path | str) -> Path | None:
    """The newest log of the folder: the one that was marked, else the one written last."""
    folder = Path(folder)
    marked = folder / LATEST
    if marked.exists():
        return marked.resolve()
    logs = [path for path in folder.glob(f"*{store.SUFFIX}") if path.is_file() and not path.name.startswith(".")]
    return max(logs, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def _near(path: Path) -> str:
    """What lies there instead."""
    if not path.parent.is_dir():
        return ""
    logs = sorted(other.name for other in path.parent.glob(f"*{store.SUFFIX}"))
    return f" (logs in {path.parent}{os.sep}: {', '.join(logs[:5])})" if logs else ""
