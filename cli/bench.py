"""`fqi bench`: how fast this machine does what fqi does, as ratios to limits and to textbook loops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli.shared import Json, progress, show
from fqi.errors import UserError


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="regression, targets, population, trees, closed, acting, environments. \\[default: all]",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Seconds in which what one figure compares takes turns.", min=0.1, max=600)
    ] = 4.0,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Figures that `fqi bench --json` printed; exit code 1 where a ratio has become worse. "
            "\\[default: none]",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Share of a kept ratio that noise may take from it. \\[default: 0.25]", min=0, max=1),
    ] = None,
    json: Json = False,
) -> None:
    """Measure the inner loops on this machine, each against its limit or a textbook loop in the same minute."""
    from fqi.bench.run import BENCHES, FORMAT, TOLERANCE, worse
    from fqi.bench.run import bench as measure

    if tolerance is not None and against is None:
        raise UserError("--tolerance has an effect only with --against")
    kept = None if against is None else _read(against)
    wanted = list(names or BENCHES)
    with progress("bench", len(wanted), "benches") as advance:
        done: list[str] = []

        def listen(name: str) -> None:
            done.append(name)
            advance(len(done), name)

        figures = measure(wanted, seconds, listen)
    lines = _table(figures)
    complaints = (
        [] if kept is None else worse(figures, kept, TOLERANCE if tolerance is None else tolerance, str(against))
    )
    lines += [f"worse: {complaint}" for complaint in complaints]
    result: dict[str, Any] = {"format": FORMAT, "seconds": seconds, "figures": [figure.json() for figure in figures]}
    if kept is not None:
        result["worse"] = complaints
    show(result, json, lines)
    if complaints:
        raise typer.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    from json import JSONDecodeError, loads

    try:
        found = loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected what `fqi bench --json` prints, found another value")
    return found


def _table(figures: list[Any]) -> list[str]:
    """A line for each figure, numbers aligned to the right."""
    cells = [["ratio", "aim", "rate", "of", "against"]]
    for f in figures:
        aim = "" if f.aim is None else f"{f.aim:.2f}"
        cells.append([f"{f.ratio:.2f}", aim, f"{f.rate:,.0f} {f.unit}", f.what, f.against])
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(w) if i < 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines
