"""Tables, one row a step: CSV, Parquet and JSON lines, by a mapping that says which column is what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fqi.datasets.columns import Columns
from fqi.datasets.format import Format
from fqi.datasets.formats import jsonlines, mapping, parquet, separated, steps, table_write
from fqi.datasets.formats.cells import Column, Table
from fqi.datasets.formats.mapping import Mapping
from fqi.datasets.formats.stating import stated
from fqi.datasets.formats.table_order import in_order
from fqi.datasets.formats.table_read import InFile, Parts
from fqi.datasets.formats.texts import TooLargeError
from fqi.datasets.hdf5 import memory_bytes
from fqi.datasets.source import Outline, Source, Take, held, logged
from fqi.errors import UserError
from fqi.log import Log

# By the end of the name: what reads the file.
_READERS: dict[str, ModuleType] = {
    ".csv": separated,
    ".csv.gz": separated,
    ".parquet": parquet,
    ".pq": parquet,
    ".jsonl": jsonlines,
    ".jsonl.gz": jsonlines,
    ".jsonl.bz2": jsonlines,
    ".ndjson": jsonlines,
}
SCHEMA = "schema.toml"


@dataclass(frozen=True)
class Named:
    """A table and, if its name says so, the mapping: `FILE.csv` or `FILE.csv@MAPPING.toml`."""

    path: Path
    schema: Path | None

    @staticmethod
    def of(reference: str) -> Named:
        head, at, tail = reference.rpartition("@")
        if at and tail.endswith(".toml") and suffix(head):
            return Named(Path(head), Path(tail))
        return Named(Path(reference), None)


def suffix(name: str) -> str:
    """The end of the name by which it is known as a table; empty if it is none."""
    return next((end for end in sorted(_READERS, key=len, reverse=True) if name.lower().endswith(end)), "")


def accepts(reference: str) -> bool:
    return bool(suffix(str(Named.of(reference).path)))


@contextmanager
def open_table(reference: str, said: dict[str, Any] | None = None) -> Iterator[Source]:
    """The table by rows; one of which that cannot be done is held."""
    reader, path, found = _meant(reference, said)
    with ExitStack() as stack:
        one, wrong = None, None
        try:
            one = _in_parts(reader, path, found, reference, stack)
        except UserError as error:
            wrong = error  # who holds all rows names the first of them that is wrong
        yield _held(reader, path, found, reference, wrong) if one is None else one


def _in_parts(reader: ModuleType, path: Path, found: Mapping, reference: str, stack: ExitStack) -> Source | None:
    """As the rows are in the file, if they are in order and nothing must be found first; else from the disk."""
    if steps.states_all(found):
        with suppress(UserError):  # which may mean no more than that rows are in another order
            one = Parts(InFile(reader.feed, path, found).tables, path, found, reference).source()
            if one is not None:
                return one
    tables = stack.enter_context(in_order(reader.feed, path, found, steps.wanted(found)))
    known = None if tables is None else stated(tables, found, reference)
    if tables is None or known is None:
        return None
    return Parts(tables, path, known[0], reference, known[1]).source()


def _held(reader: ModuleType, path: Path, found: Mapping, reference: str, wrong: UserError | None) -> Source:
    try:
        return held(reference, "table", logged(_whole(reader, path, found, reference)))
    except TooLargeError as error:
        raise wrong or error from None


def read_table(reference: str | Path, said: dict[str, Any] | None = None) -> Log:
    """The table as a log; `said` is what the caller knows of its columns, before any mapping that lies beside it."""
    return logged(_whole(*_meant(str(reference), said), str(reference)))


def read_table_columns(reference: str | Path) -> Columns:
    """Whatever can be read of the table, unchecked."""
    try:
        return _whole(*_meant(str(reference)), str(reference))
    except UserError as error:
        return Columns(str(reference), problems={"file": str(error)})


def suggest(reference: str, said: dict[str, Any] | None = None) -> str:
    """The mapping that would be used, as TOML with comments; where nothing can be guessed, one to fill in."""
    named = Named.of(reference)
    reader = _reader(named.path)
    names, samples = reader.names(named.path)
    heading = [
        f"How {named.path.name} is read. Keep it as {beside(named.path).name} in the folder of the table, or name it:",
        f"  fqi data convert {named.path}@MAPPING.toml LOG.h5",
        "Columns, each with its first value:",
        *(f"  {name}: {samples.get(name, 'blank')[:60]!r}" for name in names[:200]),
    ]
    known = {**_known(named, reader, names)[0], **(said or {})}
    try:
        found = mapping.build(known, names, str(named.path), "the mapping")
    except UserError as error:
        heading += ["", "It is not complete yet:", f"  {str(error).partition('; `fqi')[0]}"]
        options = mapping.lenient(known, names)
        found = Mapping(options)
    return mapping.to_toml(found, samples, heading)


def beside(path: Path) -> Path:
    """The mapping of this table alone."""
    return path.with_name(path.name.removesuffix(suffix(path.name)) + "." + SCHEMA)


def _meant(reference: str, said: dict[str, Any] | None = None) -> tuple[ModuleType, Path, Mapping]:
    """What reads the table, where it lies, and what its columns mean."""
    named = Named.of(reference)
    reader = _reader(named.path)
    names, _ = reader.names(named.path)
    known, where = _known(named, reader, names)
    return reader, named.path, mapping.build({**known, **(said or {})}, names, str(named.path), where)


def _whole(reader: ModuleType, path: Path, found: Mapping, reference: str) -> Columns:
    """The columns of the log, all rows in memory."""
    columns = {name: Column(str(path), name, kind) for name, kind in steps.wanted(found).items()}
    known: tuple[str, ...] = ()
    for names in reader.feed(path, columns, memory_bytes() // 2):
        known = names
    rows = next(iter(columns.values())).rows
    unread = tuple(name for name in known if name not in columns)
    table = Table(str(path), rows, {name: column.cells() for name, column in columns.items()}, unread)
    return steps.columns_of_table(table, found, reference)


def _reader(path: Path) -> ModuleType:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UserError(f"{path}: expected a table, found {found}")
    return _READERS[suffix(path.name)]


def _known(named: Named, reader: ModuleType, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What the mapping says: the one named, the one inside the file, or one that lies beside it."""
    if named.schema is not None:
        return mapping.from_toml(named.schema), str(named.schema)
    if reader is parquet and (text := parquet.mapping_text(named.path)) is not None:
        return mapping.from_text(text, str(named.path)), f"{named.path}: its own mapping"
    for path in (beside(named.path), named.path.with_name(SCHEMA)):
        if path.is_file():
            return mapping.from_toml(path), str(path)
    nests: dict[str, Any] = jsonlines.nests(names) if reader is jsonlines else {}
    return nests, "the command"


def table_sink(outline: Outline, reference: str) -> AbstractContextManager[Take]:
    """Where a log becomes a table."""
    path = Path(reference)
    if _READERS[suffix(path.name)] is parquet:
        return table_write.parquet_sink(outline, path)
    return table_write.csv_sink(outline, path, beside(path))


def _writes(reference: str) -> bool:
    return suffix(reference) in (".csv", ".csv.gz", ".parquet", ".pq")


FORMAT = Format(
    "table", "FILE.csv, FILE.parquet", accepts, read_table, read_table_columns, table_sink, _writes, open=open_table
)
