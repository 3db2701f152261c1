"""The doctor's page: what is wrong with a log, why it matters and how to mend it, and what can be learned from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from fqi.files import finite, write_bytes
from fqi.reports.drawing import COLOURS
from fqi.reports.words import number, percent, plural

LONGEST = 40  # actions that are listed


def write_check(result: Mapping[str, Any], page: Path) -> None:
    """Write what `fqi data check` found, as JSON values, as a page."""
    write_bytes(page, render(result).encode())


def render(result: Mapping[str, Any]) -> str:
    """The page. It shows nothing but the values given."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "percent": percent}
    content = finite(dict(result))
    colours = {side: {k: pair[i] for k, pair in COLOURS.items()} for i, side in enumerate(("light", "dark"))}
    errors = sum(finding["severity"] == "error" for finding in content["findings"])
    page = environment.get_template("doctor.html.j2")
    return page.render(
        **content, colours=colours, plural=plural, longest=LONGEST, errors=errors,
        warnings=len(content["findings"]) - errors,
    )  # fmt: skip
