"""`fqi data check` and `fqi data repair`: what is wrong with a log, and mending what can be mended for certain."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli.shared import LOGS, Json, counted, newest, show, with_options
from fqi.datasets.doctor.settings import MeasureSettings
from fqi.errors import UserError

LogArgument = Annotated[
    str | None,
    typer.Argument(help="A log: a file, a Minari folder or minari:ID. \\[default: logs/latest]", show_default=False),
]


@with_options({"Measures": [MeasureSettings]}, taken=set())
def check(
    log: LogArgument = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the findings and measures as a page, too. \\[default: none]")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Another log of the same spaces, with which coverage is compared. \\[default: none]"),
    ] = None,
    json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Every fault with its rows, why it matters and how to mend it; exit code 1 when something is wrong."""
    from fqi.datasets.check import examine
    from fqi.datasets.doctor.measures import Cells, measure
    from fqi.datasets.load import affordable, load_log, refuse_beyond
    from fqi.options import build

    name = str(newest(LOGS, "log", "fqi collect")) if log is None else log
    settings = build(MeasureSettings, given, "options")
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--page {page}: expected a file that ends in .html")
    for held in [name] if reference is None else [name, reference]:
        refuse_beyond(held, affordable(), "the doctor")
    examined = examine(name)
    measures = None
    if examined.log is not None:
        other = None if reference is None else load_log(reference)
        if "cells" in given and not Cells(examined.log, None, settings.cells).used:
            raise UserError("--cells has no effect: the log's states and actions are told apart exactly")
        measures = measure(examined.log, settings, other)
    elif given or reference is not None:
        unused = [f"--{k.replace('_', '-')}" for k in given] + ["--reference"] * (reference is not None)
        if not examined.errors:
            raise UserError(f"{unused[0]} has no effect: there is nothing to measure")
    result = {"log": name, **examined.to_json(), "measures": measures}
    if page is not None:
        from fqi.reports.doctor_page import write_check

        write_check(result, page)
        result["page"] = str(page)
    show(result, json, _lines(result, page))
    if examined.errors:
        raise typer.Exit(1)


def repair(
    log: LogArgument = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="The finding to mend, as `fqi data check` names it; repeat it for several. \\[default: none]"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file of the repaired log. \\[default: none]")] = None,
    json: Json = False,
) -> None:
    """Mend what can be mended for certain, into a new file; the log itself stays as it is."""
    from fqi.datasets.load import affordable, refuse_beyond, save_log
    from fqi.datasets.repair import repair as mend

    name = str(newest(LOGS, "log", "fqi collect")) if log is None else log
    if not only:
        raise UserError("name what to mend by --only; `fqi data check` lists the findings")
    if out is None:
        raise UserError("name the file of the repaired log by --out; no log is repaired in place")
    if out.suffix != ".h5":
        raise UserError(f"--out {out}: expected a file that ends in .h5, which keeps the account of what was done")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; give another --out")
    refuse_beyond(name, affordable(), "the repair")
    found = mend(name, only)
    save_log(found.log, out)
    kept = f"{counted(found.log.steps, 'step')} in {counted(found.log.episodes, 'episode')}"
    left = [f"left: {finding}" for finding in found.left]
    lines = [*(f"{done['name']}: {done['did']}" for done in found.done), *left, f"log {out}: {kept}"]
    lines.append(f"next: fqi data check {shlex.quote(str(out))}")
    result = {"log": str(out), "of": name, "steps": found.log.steps, "episodes": found.log.episodes}
    show(result | {"repairs": list(found.done), "findings": [f.to_json() for f in found.left]}, json, lines)


def _lines(result: dict[str, Any], page: Path | None) -> list[str]:
    """The findings, each with what to do, the measures, and the verdict last."""
    lines = []
    for finding in result["findings"]:
        lines += [*_finding(finding), ""]
    lines += [_replay(result["replay"])]
    if result["measures"] is not None:
        lines += _measures(result["measures"])
    errors = sum(f["severity"] == "error" for f in result["findings"])
    lines += [f"page {page}"] if page is not None else []
    lines += [f"next: {result['repair']}"] if result["repair"] is not None else []
    warnings = len(result["findings"]) - errors
    return [*lines, f"log {result['log']}: {counted(errors, 'error')}, {counted(warnings, 'warning')}"]


def _finding(found: dict[str, Any]) -> list[str]:
    rows = ", ".join(map(str, found["rows"])) + (", …" if found["count"] > len(found["rows"]) else "")
    where = f"; {counted(found['count'], 'row')}: {rows}" if found["rows"] else ""
    return [
        f"{found['severity']}: {found['name']}: {found['column']}: expected {found['expected']}, "
        f"found {found['found']}{where}",
        f"  why: {found['why']}",
        f"  mend: {found['mend']}",
    ]


def _replay(replay: dict[str, Any]) -> str:
    if "reason" in replay:
        return f"replay        none: {replay['reason']}"
    sample = "all" if replay["played"] == replay["steps"] else f"a sample of {replay['played']:,} of"
    return f"replay        {replay['agree']:,} of {sample} {replay['steps']:,} steps agree with {replay['environment']}"


def _measures(found: dict[str, Any]) -> list[str]:
    quality, coverage, entropy = (
        found[k] for k in ("trajectory_quality", "state_action_coverage", "behaviour_entropy")
    )
    mean = f"mean return {quality['mean_return']:.4g} at gamma {quality['gamma']:g}"
    said = quality["why_none"] if quality["value"] is None else f"TQ {quality['value']:.3f}"
    pairs = f"{coverage['unique_pairs']:,} pairs of state and action in {coverage['rows']:,} steps"
    covered = coverage["why_none"] if coverage["value"] is None else f"SACo {coverage['value']:.3f}"
    lines = [f"quality       {mean}; {said}", f"coverage      {pairs}; {covered}"]
    spread = f"{entropy['actions']:.3f} nats" + (f" of at most {entropy['most']:.3f}" if "most" in entropy else "")
    told = entropy["by_propensity"]
    given = entropy["actions_given_state"] if told is None else told
    way = "by counts" if told is None else "by propensities"
    lines.append(f"entropy       of the actions {spread}; given the state {given:.3f} {way}")
    if found["support"] is not None:
        taken = [f"{row['action']}: {row['share']:.1%}" for row in found["support"]["actions"][:10]]
        more = ", …" if len(found["support"]["actions"]) > 10 else ""
        every = found["support"]["states_with_every_action"]
        lines.append(f"support       {', '.join(taken)}{more}; every action in {every:.1%} of the states seen")
    return [*lines, f"              ({found['cells']})"]
