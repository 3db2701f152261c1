"""What a format of logs offers. Each is one file and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fqi.datasets.columns import Columns
from fqi.datasets.pieces import Stream
from fqi.log import Log


@dataclass(frozen=True)
class Format:
    """A way in which logs lie on disk."""

    name: str
    example: str  # of a reference that names such a log
    accepts: Callable[[str], bool]  # whether a reference names this format, without reading it
    read: Callable[[str], Log]
    read_columns: Callable[[str], Columns]  # whatever can be read of a broken log, for the doctor
    write: Callable[[Log, str], None] | None = None
    writes: Callable[[str], bool] | None = None  # whether a name asks for this format to be written
    lost: Callable[[Log, str], list[str]] | None = None  # what of a log it cannot hold; None: it holds everything
    claims: Callable[[str], bool] | None = None  # whether the name alone says so, whatever lies there
    stream: Callable[[str], Stream] | None = None  # the log in pieces, for one that does not fit into memory
