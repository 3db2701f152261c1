"""Importing what a user names as `py:MODULE:CALLABLE`. Never call this with a name that was read from a file.

What settings name is imported in two steps, for settings are also read from a run's folder, and whoever wrote the
folder would else choose what is called: `trust` where the user has typed the name or said --trust, `trusted` where it
is used.
"""

from __future__ import annotations

import functools
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fqi.errors import UserError

_trusted: dict[str, Callable[..., Any]] = {}


def trust(reference: str, what: str) -> None:
    """Import the callable of `py:MODULE:CALLABLE`, because the user has named it, here and now."""
    if not reference.startswith("py:"):
        raise UserError(f"{what} must read py:MODULE:CALLABLE, found {reference!r}")
    _trusted[reference] = imported(reference.removeprefix("py:"), what)


def trusted(reference: str, what: str) -> Callable[..., Any]:
    """The callable that the user has allowed to run."""
    if reference not in _trusted:
        raise UserError(
            f"{what} {reference} is code that has not been allowed to run: say --trust, or call "
            f"fqi.imports.trust({reference!r}, {what!r}) first"
        )
    return _trusted[reference]


def imported(reference: str, what: str) -> Callable[..., Any]:
    """The callable MODULE:NAME, whose errors become one sentence; modules of the current folder are found, too."""
    module, _, name = reference.partition(":")
    if not module or not name:
        raise UserError(f"{what} py:{reference}: expected py:MODULE:CALLABLE")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever the user's module raises
        raise UserError(f"{what} py:{reference}: module {module!r} cannot be imported: {_place(error)}") from error
    function: Any = found
    for part in name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise UserError(f"{what} py:{reference}: module {module!r} has no callable {name!r}")
    return _told(function, f"{what} py:{reference}")


def _told(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same function, with a sentence in place of whatever it raises."""

    @functools.wraps(function, updated=())
    def called(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise UserError(f"{name} raised {type(error).__name__}: {_place(error)}") from error

    return called


def _place(error: Exception) -> str:
    """What the error says, and the last line of the user's code that it came through."""
    outside = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__ and "importlib" not in f.filename
    ]
    return f"{error} ({Path(outside[-1].filename).name}, line {outside[-1].lineno})" if outside else str(error)
