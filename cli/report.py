"""`fqi report`: one self-contained page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fqi.cli.shared import RUNS, Json, newest, say, show
from fqi.errors import UserError


def report(
    run: Annotated[
        Path | None, typer.Argument(help="A run directory. \\[default: runs/latest]", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page. \\[default: RUN/report]", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write the report: what data, what settings, learning curves, predicted against realised value, a verdict."""
    from fqi.datasets.describe import describe
    from fqi.datasets.load import load_log
    from fqi.reports.page import write_report
    from fqi.run import Run

    found = Run.open(newest(RUNS, "run", "fqi train") if run is None else run)
    say(f"run {found.path}: {found.record['status']}", json)
    if not found.evaluations:
        say("note: nothing of it is evaluated yet; `fqi evaluate` makes the report say what it really earns", json)
    reference = found.record["log"]["reference"]
    try:
        description = describe(load_log(reference))
    except UserError as error:  # the log may be elsewhere by now; the page then says so
        description = None
        say(f"note: the log's own table is left out: {error}", json)
    page = write_report(found, out or found.path / "report", description)
    show({"report": str(page)}, json, [f"report {page}"])
