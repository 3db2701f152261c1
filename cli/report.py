"""`fqi report`: one self-contained page about a run, or about several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli.shared import RUNS, Json, newest, say, show
from fqi.errors import UserError

Format = Annotated[str, typer.Option("--format", help="html, or md for a pull request.")]


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A run directory, or several to set side by side. \\[default: runs/latest]", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file of the page. \\[default: RUN/report, for several the folder side-by-side]",
            show_default=False,
        ),
    ] = None,
    form: Format = "html",
    json: Json = False,
) -> None:
    """Write the report: what data, what settings, learning curves, predicted against realised value, a verdict."""
    from fqi.run import Run

    check_format(form)
    found = [Run.open(path) for path in runs or [newest(RUNS, "run", "fqi train")]]
    for run in found:
        say(f"run {run.path}: {run.record['status']}", json)
        if not run.evaluations and not run.measured("audit"):
            say("note: nothing of it is evaluated yet; `fqi evaluate` makes the report say what it really earns", json)
    if len(found) == 1:
        page = _one(found[0], out, form, json)
    else:
        from fqi.reports.several.entries import entries_of
        from fqi.reports.several.page import write_several

        page = write_several(entries_of(found), out or Path("side-by-side"), form=form)
    show({"report": str(page)}, json, [f"report {page}"])


def check_format(form: str) -> None:
    """Refuse a form that no page has."""
    from fqi.reports.rendering import FORMS

    if form not in FORMS:
        raise UserError(f"--format {form}: expected {' or '.join(FORMS)}")


def _one(run: Any, out: Path | None, form: str, json: bool) -> Path:
    from fqi.datasets.describe import describe
    from fqi.datasets.load import affordable, load_log
    from fqi.reports.page import write_report

    try:
        description = describe(load_log(run.record["log"]["reference"], memory=affordable()))
    except UserError as error:  # the log may be elsewhere by now; the page then says so
        description = None
        say(f"note: the log's own table is left out: {error}", json)
    return write_report(run, out or run.path / "report", description, form)
