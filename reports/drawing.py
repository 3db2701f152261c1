"""Drawing without global state: matplotlib figures as SVG that follows the page's colours, and as PNG."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, SymmetricalLogLocator
from PIL import Image

from fqi.nest import Array
from fqi.reports.words import number

# name: (light, dark). Blue and vermilion differ for every kind of colour vision, and by lightness in grey print.
COLOURS = {
    "ink": ("#1f2328", "#e6e8eb"),
    "soft": ("#5f6670", "#a3abb5"),
    "grid": ("#dfe2e6", "#363c44"),
    "predicted": ("#c2500a", "#f2a65a"),
    "realised": ("#0068a8", "#6cb8f0"),
    "third": ("#00795c", "#4cc7a1"),
    "fourth": ("#8f3f97", "#d79be0"),
}
INK, SOFT, GRID, PREDICTED, REALISED, THIRD, FOURTH = (light for light, _ in COLOURS.values())

SIZE = (4.9, 3.15)  # inches; small, so that text stays readable where the page is a phone wide
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fqi",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 20,
    "axes.titley": 1.0,  # where it comes to stand anyway; left to itself, it has all ticks laid out at every look
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "figure.dpi": 72,
}
DENSITY = 200  # pixels per inch of a PNG
LEGEND = 70  # characters of a line of the legend, with 5 for each of its marks
MARKED = 25  # points up to which each is marked
MOST_BANDS = 8  # kept in the numbers of a figure
MOST_HOVERED = 400  # points along the x axis of which a pointer is told
REACH = 1.5  # a band is shown as far beyond its lines as so many times their range
SPREADS = 30  # a curve that reaches so many times further than what it is held against needs a logarithm


@dataclass(frozen=True)
class Drawn:
    """A figure in words and pictures."""

    name: str
    title: str
    caption: str
    alt: str
    inline: str  # SVG for the page: colours from the page's variables, ids of its own
    svg: str  # the same as a file that stands alone
    png: bytes
    data: dict[str, Any] = field(default_factory=dict)  # what was drawn, for the file beside the figure
    group: str = ""  # the heading under which it stands


class Sheet:
    """One pair of axes to draw on."""

    def __init__(self, name: str, title: str, x: str, y: str, size: tuple[float, float] = SIZE) -> None:
        self.name, self.title = name, title
        with mpl.rc_context(STYLE):
            self.figure = Figure(figsize=size, layout="constrained")
            self.axes: Axes = self.figure.add_subplot()
            self.axes.set(title=title, xlabel=x, ylabel=y)
        self.logarithmic = False
        self.curves: list[dict[str, Any]] = []  # what was drawn, in numbers
        self.clouds: list[dict[str, Any]] = []

    def line(self, x: Array, y: Array, colour: str, label: str, *, dashed: bool = False, marker: str = "o") -> None:
        """A curve; its points are marked where they are few."""
        self.curves.append({"label": label, "x": x.tolist(), "y": y.tolist()})
        with mpl.rc_context(STYLE):
            few = marker if len(x) <= MARKED else ""
            self.axes.plot(x, y, color=colour, label=label, linestyle=(0, (4, 1.6)) if dashed else "-", marker=few)

    def thin(self, x: Array, y: Array, colour: str, label: str | None = None) -> None:
        """A curve in the background."""
        with mpl.rc_context(STYLE):
            self.axes.plot(x, y, color=colour, label=label, linewidth=0.8, alpha=0.6, marker="." if len(x) == 1 else "")

    def band(self, x: Array, low: Array, high: Array, colour: str, label: str | None = None) -> None:
        """What lies between two curves; a bar where there is but one point."""
        if len(self.clouds) < MOST_BANDS:
            self.clouds.append({"band": label or "", "x": x.tolist(), "low": low.tolist(), "high": high.tolist()})
        with mpl.rc_context(STYLE):
            if len(x) == 1:
                reach = np.array([[0.0], [0.0]])
                self.axes.errorbar(x, low, reach, color=colour)
                self.axes.plot([x[0], x[0]], [low[0], high[0]], color=colour, alpha=0.5, linewidth=4, label=label)
            else:
                self.axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, label=label)

    def over_rounds(self, rounds: Array) -> None:
        """Whole numbers along the x axis."""
        self.axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
        if len(rounds) == 1:
            self.axes.set_xlim(rounds[0] - 1, rounds[0] + 1)

    def stretch(self, values: Sequence[Array], reference: float) -> None:
        """A logarithm on both sides of zero where the values reach far beyond the reference."""
        most = max((float(np.nanmax(np.abs(v))) for v in values if np.isfinite(v).any()), default=0.0)
        if reference > 0 and most > SPREADS * reference:
            self.axes.set_yscale("symlog", linthresh=reference, linscale=1.0)
            self.axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=reference))
            self.axes.set_ylabel(f"{self.axes.get_ylabel()}, log scale beyond ±{number(reference)}")
            self.logarithmic = True

    def cut(self, lines: Sequence[Array]) -> str:
        """Show what the lines do where bands around them are many times as wide; a sentence where bands are cut off."""
        known = np.concatenate([line[np.isfinite(line)] for line in lines])
        if self.logarithmic or not len(known):
            return ""
        low, high = float(known.min()), float(known.max())
        room = REACH * ((high - low) or abs(high) or 1.0)
        bottom, top = self.axes.get_ylim()
        if bottom >= low - room and top <= high + room:
            return ""
        self.axes.set_ylim(max(bottom, low - room), min(top, high + room))
        return " Bands are cut off where they leave the picture."

    def square(self, ends: Array) -> None:
        """The same range and few numbers along both axes."""
        self.axes.set(xlim=ends, ylim=ends)
        for axis in (self.axes.xaxis, self.axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))

    def logarithm(self) -> None:
        """A log scale for y, where anything is positive."""
        self.axes.set_yscale("log")
        self.axes.yaxis.set_major_locator(LogLocator(base=10, numticks=7))
        low, high = self.axes.get_ylim()
        if high / low < 30:  # less than two decades: powers of ten alone would label too little
            self.axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=12))
        self.axes.yaxis.set_minor_formatter(NullFormatter())
        self.axes.set_ylabel(f"{self.axes.get_ylabel()}, log scale")
        self.logarithmic = True

    def drawn(
        self,
        caption: str,
        alt: str,
        data: dict[str, Any] | None = None,
        named: Sequence[str] | None = None,
        ticks: bool = True,
    ) -> Drawn:
        """Finish: legend above the axes, numbers as everywhere in the report; `named` stands along the y axis, and
        without `ticks` nothing does along either."""
        with mpl.rc_context(STYLE):
            for axis in (self.axes.xaxis, self.axes.yaxis):
                if not ticks:
                    axis.set_ticks([])
                    continue
                if axis is self.axes.yaxis and named is not None:
                    axis.set_ticks(np.arange(len(named)), named)
                    continue
                axis.set_major_formatter(FuncFormatter(lambda value, _: number(float(value))))
            handles, labels = self.axes.get_legend_handles_labels()
            if handles:
                columns = max(1, min(4, LEGEND // (max(map(len, labels)) + 5)))
                lines = -(-len(labels) // columns)
                self.axes.set_title(self.title, pad=STYLE["axes.titlepad"] + 11.5 * (lines - 1))
                self.axes.legend(
                    handles, labels, loc="lower left", bbox_to_anchor=(-0.015, 1.01), ncols=columns, borderaxespad=0,
                    handlelength=1.8, columnspacing=1.2, handletextpad=0.5,
                )  # fmt: skip
            raw = self._svg()
            inline, alone = inline_svg(raw, self.name, alt, self._hover()), lone_svg(raw, self.name, alt)
            return Drawn(self.name, self.title, caption, alt, inline, alone, self._png(), data or self._numbers())

    def points(self, x: Array, y: Array, colour: str, label: str, *, size: float = 3) -> None:
        """A cloud of points."""
        self.clouds.append({"label": label, "x": x.tolist(), "y": y.tolist()})
        with mpl.rc_context(STYLE):
            self.axes.plot(x, y, "o", color=colour, alpha=0.45, markersize=size, markeredgewidth=0, label=label)

    def bars(self, edges: Array, heights: Array, colour: str, label: str) -> None:
        """A histogram."""
        self.clouds.append({"label": label, "edges": edges.tolist(), "heights": heights.tolist()})
        with mpl.rc_context(STYLE):
            self.axes.bar(
                edges[:-1], heights, np.diff(edges), align="edge", color=colour, alpha=0.75, label=label, linewidth=0
            )

    def _numbers(self) -> dict[str, Any]:
        """What was drawn, for the file beside the figure."""
        axes = {"title": self.title, "x": self.axes.get_xlabel(), "y": self.axes.get_ylabel()}
        return {**axes, "curves": self.curves, "rest": self.clouds} if self.curves or self.clouds else {}

    def _hover(self) -> str:
        """What a pointer is told over the curves, as JSON: places in the drawing, and the numbers as words."""
        xs = sorted({x for curve in self.curves for x in curve["x"]})
        if not 2 <= len(xs) <= MOST_HOVERED:
            return ""
        height = self.figure.get_figheight() * 72
        box, across = self.axes.bbox, self.axes.transData
        places = [round(float(across.transform((x, self.axes.get_ylim()[0]))[0]), 1) for x in xs]
        told = []
        for curve in self.curves:
            of = dict(zip(curve["x"], curve["y"], strict=True))
            told.append({"label": curve["label"], "y": ["" if of.get(x) is None else number(of.get(x)) for x in xs]})
        name = self.axes.get_xlabel().split(",")[0]
        whole = {
            "name": name, "x": [number(x) for x in xs], "px": places, "series": told,
            "top": round(height - float(box.y1), 1), "bottom": round(height - float(box.y0), 1),
        }  # fmt: skip
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))

    def _svg(self) -> str:
        buffer = io.StringIO()
        self.figure.set_facecolor("none")
        self.axes.set_facecolor("none")
        # The canvases are asked themselves: `savefig` draws everything once more beforehand, for the layout alone.
        canvas: Any = FigureCanvasSVG(self.figure)  # whose methods have no types
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    def _png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.set_layout_engine("none")  # it was laid out for the SVG; the same again would be half the time
        self.figure.set_facecolor("white")
        self.figure.set_dpi(DENSITY)
        canvas: Any = FigureCanvasAgg(self.figure)
        canvas.draw()
        # Nothing is transparent, and without that channel the file is smaller and written in half the time.
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        picture.save(buffer, "PNG", dpi=(DENSITY, DENSITY), compress_level=3)
        return buffer.getvalue()


def inline_svg(raw: str, name: str, alt: str, hover: str = "") -> str:
    """The drawing for a page: no addresses, its own ids, colours and font of the page."""
    more = f' data-hover="{escape(hover)}"' if hover else ""
    body = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", _common(raw, name)).replace("xlink:href", "href")
    return _opened(body, f'role="img" aria-label="{escape(alt)}" class="figure"{more}')


def lone_svg(raw: str, name: str, alt: str) -> str:
    """The drawing as a file: it carries its colours, light and dark."""
    light, dark = ("".join(f"--{key}:{pair[i]};" for key, pair in COLOURS.items()) for i in (0, 1))
    style = f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}background:#16191d}}}}</style>"
    body = _opened(_common(raw, name), f'role="img" aria-label="{escape(alt)}"')
    return '<?xml version="1.0" encoding="utf-8"?>\n' + body.replace(">", f">{style}", 1)


def _common(raw: str, name: str) -> str:
    body = raw[raw.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"(font: [^\"';]*?\d+(?:\.\d+)?px) [^\";]*", r"\1 system-ui, sans-serif", body)
    for key, (light, _) in COLOURS.items():
        body = body.replace(light, f"var(--{key},{light})")
    # Black is what matplotlib leaves unsaid; unsaid, it should be the ink of the page.
    return re.sub(r"\n\s*", "\n", body)


def _opened(body: str, attributes: str) -> str:
    """The outer element with these attributes; it scales with its place."""
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} {attributes} style="fill:var(--ink,{INK})">{rest}'
