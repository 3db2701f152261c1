"""Names of logs with a prefix and options: `npz:FILE?env=CartPole-v1`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from fqi.datasets.columns import Columns, to_log
from fqi.datasets.format import Format
from fqi.datasets.pieces import Stream
from fqi.datasets.source import Outline, Take
from fqi.errors import UserError
from fqi.log import Log

OPTIONS = ("env", "max_episode_steps")


@dataclass(frozen=True)
class Reference:
    """What a name says: where the data lies, and what its user knows about it."""

    text: str
    path: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> str | None:
        return self.options.get("env")

    @property
    def max_episode_steps(self) -> int | None:
        said = self.options.get("max_episode_steps")
        if said is None:
            return None
        if not said.isdecimal() or not 0 < len(said) < 10 or not int(said):
            raise UserError(f"{self.text}: max_episode_steps: expected a number of steps, found {said!r}")
        return int(said)


def parse(text: str, prefix: str, allowed: Collection[str] = OPTIONS) -> Reference:
    """The name taken apart; a file that exists under the whole name is meant without options."""
    rest = text.removeprefix(prefix)
    if "?" not in rest or Path(rest).exists():
        return Reference(text, Path(rest))
    path, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if name not in allowed or not equals or not value or name in options:
            expected = " or ".join(f"{known}=…" for known in allowed)
            raise UserError(f"{text}: expected {expected} after '?', each once, found {part!r}")
        options[name] = unquote(value)
    return Reference(text, Path(path), options)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever is found wrong is said of this file."""
    try:
        yield
    except UserError as error:
        if str(error).startswith(str(path)):
            raise
        raise UserError(f"{path}: {error}") from error


def reader(read: Callable[[str], Columns]) -> Callable[[str], Log]:
    """From columns to a log that was checked."""

    def read_log(text: str) -> Log:
        columns = read(text)
        if columns.head is None:
            raise UserError(f"{text}: expected a log, found none")
        return to_log(columns.head, columns.arrays, text)

    return read_log


def lenient(read: Callable[[str], Columns]) -> Callable[[str], Columns]:
    """From an error to a problem that the doctor can show."""

    def read_columns(text: str) -> Columns:
        try:
            return read(text)
        except UserError as error:
            return Columns(text, problems={"file": str(error)})

    return read_columns


def flat_format(
    name: str,
    example: str,
    holds: Callable[[Path], bool],
    read: Callable[[str], Columns],
    sink: Callable[[Outline, str], AbstractContextManager[Take]] | None = None,
    lost: Callable[[Outline, str], list[str]] | None = None,
    stream: Callable[[str], Stream] | None = None,
) -> Format:
    """A format that is named by its prefix, or by the path of what holds it, perhaps with options after a '?'."""
    prefix = f"{name}:"

    def asked(text: str) -> bool:
        return text.startswith(prefix)

    def accepts(text: str) -> bool:
        path = Path(text)
        return asked(text) or holds(path if path.exists() else Path(text.partition("?")[0]))

    def claims(text: str) -> bool:
        return asked(text) or (not Path(text).exists() and accepts(text))

    writes = asked if sink is not None else None
    return Format(name, example, accepts, reader(read), lenient(read), sink, writes, lost, claims, stream)
