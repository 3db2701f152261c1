"""A report as Markdown, for a pull request: the abstract, the figures as pictures, the tables, the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fqi.reports.tables import cell

LEVELS = {"good": "Good.", "bad": "Warning.", "note": "Note."}


def markdown(content: Mapping[str, Any]) -> str:
    """The page of this content."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {_text(content['title'])}"
    yield ""
    if content.get("lead"):
        yield _text(content["lead"])
        yield ""
    for sentence in content["verdict"]:
        yield f"- **{LEVELS[sentence['level']]}** {_text(sentence['text'])}."
    yield ""
    for figure in content["figures"]:
        yield f"![{_text(figure['alt'])}]({figure['png'].replace(' ', '%20')})"
        yield ""
        yield _text(figure["caption"])
        yield ""
    for section in content["sections"]:
        yield f"## {_text(section['title'])}"
        yield ""
        for table in section["tables"]:
            yield from _table(table)
    yield "## Reproduce"
    yield ""
    for row in content["commands"]:
        yield from (f"{_text(row['what'])}:", "", f"    {row['command']}", "")
    if content.get("versions"):
        yield "With " + ", ".join(f"{name} {version}" for name, version in content["versions"].items()) + "."


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    if table["title"]:
        yield f"### {_text(table['title'])}"
        yield ""
    yield _row(table["columns"])
    yield _row(["---"] * len(table["columns"]))
    for row in table["rows"]:
        yield _row([cell(value) for value in row])
    if table["left_out"]:
        yield f"\n{table['left_out']:,} more rows are left out."
    yield ""


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_text(str(c)).replace("|", "\\|") for c in cells) + " |"


def _text(words: str) -> str:
    """Text without line breaks, in which nothing but `…` means anything to Markdown."""
    return (
        re.sub(r"([<\[\]*_#\\])", r"\\\1", " ".join(str(words).split()))
        if "`" not in words
        else " ".join(words.split())
    )
