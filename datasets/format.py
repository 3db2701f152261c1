"""What a format of logs offers. Each is one file and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from fqi.datasets.columns import Columns
from fqi.datasets.source import Outline, Source, Take
from fqi.log import Log


@dataclass(frozen=True)
class Format:
    """A way in which logs lie on disk."""

    name: str
    example: str  # of a reference that names such a log
    accepts: Callable[[str], bool]  # whether a reference names this format, without reading it
    read: Callable[[str], Log]
    read_columns: Callable[[str], Columns]  # whatever can be read of a broken log, for the doctor
    sink: Callable[[Outline, str], AbstractContextManager[Take]] | None = None  # where a log is written by windows
    writes: Callable[[str], bool] | None = None  # whether a name asks for this format to be written
    lost: Callable[[Outline, str], list[str]] | None = None  # what of a log it cannot hold; None: it holds everything
    claims: Callable[[str], bool] | None = None  # whether the name alone says so, whatever lies there
    open: Callable[[str], AbstractContextManager[Source]] | None = None  # the log by rows; None: it must be held
