"""The page of a comparison, and beside it every number as JSON and every figure as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fqi.reports import rendering
from fqi.reports.comparison.figures import draw
from fqi.reports.comparison.numbers import numbers
from fqi.reports.comparison.record import Comparison
from fqi.reports.comparison.verdict import told
from fqi.reports.comparison.wording import chance, shown


def write_comparison_report(comparison: Comparison, out: Path | None = None) -> Path:
    """Write the page into the folder `out` as comparison.html, or as `out` itself where that ends in .html."""
    page = rendering.place(comparison.path / "report" if out is None else out, "comparison")
    content = numbers(comparison)
    figures = draw(content)
    content["figures"] = rendering.listed(figures, page.stem)
    html = rendering.render(
        "comparison.html.j2", content, figures, json_name=f"{page.stem}.json", told=told,
        filters={"interval": _interval, "chance": _chance},
    )  # fmt: skip
    return rendering.write(page, html, content, figures)


def _interval(estimate: Mapping[str, Any] | None, sign: bool = False) -> Markup:
    return _ends(shown(estimate, sign))


def _chance(estimate: Mapping[str, Any] | None) -> Markup:
    return _ends(chance(estimate).replace(" %", "\u00a0%"))


def _ends(text: str) -> Markup:
    """The ends of an interval stay together and may stand below its middle."""
    middle, _, ends = text.partition(" [")
    return Markup('{} <span class="ends">[{}</span>').format(middle, ends) if ends else Markup("{}").format(middle)
