"""The doctor's page: what is wrong with a log, why it matters and how to mend it, and what can be learned from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fqi.files import finite, write_bytes
from fqi.reports.rendering import render as render_page

LONGEST = 40  # actions that are listed


def write_check(result: Mapping[str, Any], page: Path) -> None:
    """Write what `fqi data check` found, as JSON values, as a page."""
    write_bytes(page, render(result).encode())


def render(result: Mapping[str, Any]) -> str:
    """The page. It shows nothing but the values given."""
    content = {"title": f"Check of {result['log']}", **finite(dict(result)), "figures": []}
    errors = sum(finding["severity"] == "error" for finding in content["findings"])
    warnings = len(content["findings"]) - errors
    return render_page("doctor.html.j2", content, [], longest=LONGEST, errors=errors, warnings=warnings)
