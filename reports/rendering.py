"""What every page shares: where it goes, its templates and filters, and the files beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from fqi.errors import UserError
from fqi.files import sync, write_bytes, write_json
from fqi.reports.drawing import COLOURS, Drawn
from fqi.reports.markdown import markdown
from fqi.reports.methods import METHODS
from fqi.reports.tables import cell
from fqi.reports.words import number, percent, plural, title

SUFFIXES = {"html": (".html", ".htm"), "md": (".md",)}
FORMS = tuple(SUFFIXES)


def place(out: Path, name: str, form: str = "html") -> Path:
    """The page: `out` itself where it ends as its form does, else the file of this name in that folder."""
    if out.suffix.lower() in SUFFIXES[form] and not out.is_dir():
        return out
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder or a file name that ends in .{form}, found another file")
    return out / f"{name}.{form}"


def listed(figures: Sequence[Drawn], stem: str) -> list[dict[str, Any]]:
    """What the numbers of a page say of its figures."""
    return [
        {"name": f.name, "title": f.title, "caption": f.caption, "alt": f.alt}
        | {kind: f"{stem}_figures/{f.name}.{kind}" for kind in ("svg", "png") + (("json",) if f.data else ())}
        for f in figures
    ]


def render(template: str, content: Mapping[str, Any], figures: Sequence[Drawn], **more: Any) -> str:
    """The page. It shows nothing but `content` and the figures drawn from the same rows."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number, "signed": _signed, "percent": percent, "cell": cell, "words": title, "code": code,
        "duration": duration,
    }  # fmt: skip
    environment.filters |= more.pop("filters", {})
    drawn = [
        {**entry, "inline": Markup(f.inline), "group": f.group}
        for entry, f in zip(content["figures"], figures, strict=True)
    ]
    colours = {side: {k: pair[i] for k, pair in COLOURS.items()} for i, side in enumerate(("light", "dark"))}
    script = (Path(__file__).parent / "templates" / "hover.js").read_text(encoding="utf-8") if drawn else ""
    seal = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        **content, **more, pictures=drawn, colours=colours, plural=plural, script=Markup(script), seal=seal
    )


def write(page: Path, html: str, content: Mapping[str, Any], figures: Sequence[Drawn]) -> Path:
    """The page, its numbers as JSON and its figures as files; the page last, so that it never stands alone."""
    try:
        folder = page.parent / f"{page.stem}_figures"
        folder.mkdir(parents=True, exist_ok=True)
        for entry, figure in zip(content["figures"], figures, strict=True):
            write_bytes(page.parent / entry["svg"], figure.svg.encode(), settle=False)
            write_bytes(page.parent / entry["png"], figure.png, settle=False)
            if figure.data:
                write_json(page.parent / entry["json"], figure.data, settle=False)
        sync(folder)
        write_json(page.with_suffix(".json"), content)
        write_bytes(page, html.encode())
    except OSError as error:
        raise UserError(f"{page}: cannot be written: {error.strerror}") from None
    return page


def publish(
    out: Path, name: str, template: str, content: dict[str, Any], figures: Sequence[Drawn], form: str, **more: Any
) -> Path:
    """Render and write a page in the form asked for, html or md, with its numbers and figures beside it."""
    page = place(out, name, form)
    content["figures"] = listed(figures, page.stem)
    if form == "md":
        return write(page, markdown(content), content, figures)
    explained = [row for row in METHODS if row["name"] in content["methods"]]
    html = render(template, content, figures, json_name=f"{page.stem}.json", explained=explained, **more)
    return write(page, html, content, figures)


# ---- filters


def _signed(value: float | None) -> str:
    return number(value, sign=True)


def code(text: str) -> Markup:
    """Text in which `…` marks what is typed, and options such as --lr are seen as such."""
    parts = re.split(r"(`[^`]*`|(?<!\S)--[a-z][a-z-]*)", text)
    return Markup().join(
        Markup('<code class="{}">{}</code>').format("option" if part[0] == "-" else "command", part.strip("`"))
        if i % 2
        else escape(part)
        for i, part in enumerate(parts)
    )


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 60:
        return f"{number(round(seconds, 1))} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
