"""`fqi data report`: a page about a log alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fqi.cli.data_check import LogArgument
from fqi.cli.report import Format, check_format
from fqi.cli.shared import LOGS, Json, newest, say, show
from fqi.errors import UserError


def report(
    log: LogArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder or file of the page. \\[default: a folder beside the log]", show_default=False),
    ] = None,
    form: Format = "html",
    json: Json = False,
) -> None:
    """Write a page about a log: what is in it, who collected it, and what can be learned from it."""
    from fqi.datasets.check import examine
    from fqi.datasets.describe import describe
    from fqi.datasets.doctor.measures import measure
    from fqi.datasets.doctor.settings import MeasureSettings
    from fqi.reports.logs.page import write_log_report

    check_format(form)
    name = str(newest(LOGS, "log", "fqi collect")) if log is None else log
    examined = examine(name)
    if examined.log is None:
        raise UserError(f"{name}: it cannot be read as a log; `fqi data check {shlex.quote(name)}` says why")
    errors = examined.errors
    if errors:
        say(f"note: `fqi data check` finds {errors} faults in it", json)
    found = examined.log
    place = out or (Path(name).with_suffix("") if Path(name).exists() else Path("log-report"))
    measures = measure(found, MeasureSettings(), None)
    page = write_log_report(found, name, describe(found), place, measures=measures, findings=errors, form=form)
    show({"report": str(page)}, json, [f"report {page}", f"next: fqi train {shlex.quote(name)}"])
