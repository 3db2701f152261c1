"""Names of logs with a prefix and options: `npz:FILE?env=CartPole-v1`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from fqi.datasets.columns import Columns
from fqi.datasets.format import Format
from fqi.datasets.source import Outline, Source, Take, gathered, logged
from fqi.errors import UserError

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


def _whole(opens: Callable[[str], AbstractContextManager[Source]]) -> Callable[[str], Columns]:
    """All columns in memory, unchecked."""

    def read(text: str) -> Columns:
        with opens(text) as one:
            return gathered(one)

    return read


def _lenient(read: Callable[[str], Columns]) -> Callable[[str], Columns]:
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
    opens: Callable[[str], AbstractContextManager[Source]],
    sink: Callable[[Outline, str], AbstractContextManager[Take]] | None = None,
    lost: Callable[[Outline, str], list[str]] | None = None,
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

    writes, columns = asked if sink is not None else None, _whole(opens)
    return Format(
        name,
        example,
        accepts,
        lambda text: logged(columns(text)),
        _lenient(columns),
        sink,
        writes,
        lost,
        claims,
        opens,
    )
