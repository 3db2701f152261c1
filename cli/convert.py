"""`fqi data convert|merge|split|filter|head`: logs made of logs."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqi.cli.shared import LOGS, Json, Progress, counted, newest, progress, remember, say, show, with_options
from fqi.datasets.formats.options import MappingOptions
from fqi.errors import UserError

if TYPE_CHECKING:
    from fqi.datasets.deriving import Hearing, Made

Force = Annotated[bool, typer.Option("--force", help="Replace what is there. \\[default: refuse]")]
Lossy = Annotated[
    bool, typer.Option("--lossy", help="Write although the format cannot hold everything. \\[default: refuse]")
]
Compress = Annotated[
    bool, typer.Option("--compress", help="Pack the log: nothing is lost, and reading takes longer. \\[default: off]")
]
_WHAT = "a file, a Minari folder or minari:ID"
Source = Annotated[str, typer.Argument(help=f"The log to read: {_WHAT}, a table, or logs/latest.")]
_LOG = f"The log to read: {_WHAT}, or a table. \\[default: logs/latest]"


@with_options({"What the columns of a table are": [MappingOptions]}, taken=set())
def convert(
    source: Annotated[str | None, typer.Argument(help=_LOG, show_default=False)] = None,
    out: Annotated[
        str | None,
        typer.Argument(
            help="The log to write: its end says how (.h5, .csv, .csv.gz, .parquet, or minari:ID). \\[default: none]",
            show_default=False,
        ),
    ] = None,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", help="Print the mapping that a table would be read by, or write it to OUT. \\[default: off]"
        ),
    ] = False,
    flatten_actions: Annotated[
        bool,
        typer.Option("--flatten-actions", help="Make an index of actions of several choices. \\[default: keep them]"),
    ] = False,
    unstack: Annotated[
        bool,
        typer.Option(
            "--unstack",
            help="Keep one frame of observations that are stacks of the last ones; train with --stack then. "
            "\\[default: keep the stacks]",
        ),
    ] = False,
    compress: Annotated[
        bool,
        typer.Option("--compress", help="Pack the log: nothing is lost, and reading takes longer. \\[default: off]"),
    ] = False,
    lossy: Lossy = False,
    force: Force = False,
    json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Write a log in another format, or read a table into one."""
    reference = str(newest(LOGS, "log", "fqi collect")) if source is None else source
    if suggest:
        _suggest(reference, out, given, force, json)
        return
    if out is None:
        raise UserError(
            f"name the log to write, too: fqi data convert {shlex.quote(reference)} OUT, where OUT is LOG.h5, LOG.csv, "
            "LOG.parquet or minari:ID"
        )
    from fqi.datasets.convert import convert

    say(f"convert {reference} to {out}", json)
    with _hearing("convert", lossy, json) as hearing:
        made = convert(
            reference,
            out,
            said=given or None,
            flatten_actions=flatten_actions,
            unstack=unstack,
            compress=compress,
            force=force,
            hearing=hearing,
        )
    _report([made], json)


def _suggest(reference: str, out: str | None, given: dict[str, Any], force: bool, json: bool) -> None:
    from fqi.datasets.formats.table import accepts, suggest
    from fqi.files import write_bytes

    if not accepts(reference):
        raise UserError(f"{reference}: --suggest has an effect only on a table (CSV, Parquet or JSON lines)")
    text = suggest(reference, given)
    if out is None:
        show({"table": reference, "mapping": text}, json, [text.rstrip("\n")])
        return
    if not out.endswith(".toml"):
        raise UserError(f"{out}: expected the name of a mapping, which ends in .toml")
    if Path(out).exists() and not force:
        raise UserError(f"{out} exists already; name another file, or say --force to replace it")
    write_bytes(Path(out), text.encode())
    following = f"next: look through {out}, then fqi data convert {shlex.quote(f'{reference}@{out}')} LOG.h5"
    show({"table": reference, "mapping": out}, json, [f"mapping {out}", following])


def merge(
    logs: Annotated[list[str], typer.Argument(help="The logs to read, and last the log to write.", show_default=False)],
    lossy: Lossy = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Join logs of the same spaces; behaviours are kept apart by their names."""
    if len(logs) < 3:
        raise UserError("name two logs or more, and last the log to write: fqi data merge A.h5 B.h5 BOTH.h5")
    from fqi.datasets.merge import merge

    *sources, out = logs
    say(f"merge {' + '.join(sources)} into {out}", json)
    with _hearing("merge", lossy, json) as hearing:
        made = merge(sources, out, force=force, hearing=hearing)
    _report([made], json)


def split(
    source: Source,
    first: Annotated[str, typer.Argument(help="The log to write with the share.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The log to write with the rest.", show_default=False)],
    share: Annotated[float, typer.Option(help="Share of the episodes that the first log gets. \\[default: 0.8]")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed by which episodes are drawn. \\[default: 0]", min=0)] = 0,
    lossy: Lossy = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Split a log by episodes, such as into one to train on and one to judge by."""
    from fqi.datasets.parts import split

    say(f"split {source}: {share:g} of the episodes to {first}, the others to {second}, seed {seed}", json)
    with _hearing("split", lossy, json) as hearing:
        made = split(source, (first, second), share, seed, force=force, hearing=hearing)
    _report(made, json)


def filter_(
    source: Source,
    out: Annotated[str, typer.Argument(help="The log to write.", show_default=False)],
    min_return: Annotated[float | None, typer.Option(help="Least return. \\[default: any]")] = None,
    max_return: Annotated[float | None, typer.Option(help="Greatest return. \\[default: any]")] = None,
    min_length: Annotated[int | None, typer.Option(help="Fewest steps. \\[default: any]", min=1)] = None,
    max_length: Annotated[int | None, typer.Option(help="Most steps. \\[default: any]", min=1)] = None,
    behaviour: Annotated[
        list[str] | None,
        typer.Option(help="Played by this behaviour alone; several are alternatives. \\[default: any]"),
    ] = None,
    terminated: Annotated[
        bool | None,
        typer.Option("--terminated/--truncated", help="Ended by themselves, or cut. \\[default: either]"),
    ] = None,
    lossy: Lossy = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Keep the episodes for which all that is asked holds."""
    from fqi.datasets.parts import Wanted, keep

    wanted = Wanted(min_return, max_return, min_length, max_length, tuple(behaviour or ()), terminated)
    say(f"filter {source} into {out}", json)
    with _hearing("filter", lossy, json) as hearing:
        made = keep(source, out, wanted, force=force, hearing=hearing)
    _report([made], json)


def head(
    source: Source,
    out: Annotated[str, typer.Argument(help="The log to write.", show_default=False)],
    episodes: Annotated[int, typer.Option(help="How many episodes. \\[default: 10]", min=1)] = 10,
    lossy: Lossy = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Keep the first episodes."""
    from fqi.datasets.parts import head_of_log

    say(f"the first {counted(episodes, 'episode')} of {source} to {out}", json)
    with _hearing("head", lossy, json) as hearing:
        made = head_of_log(source, out, episodes, force=force, hearing=hearing)
    _report([made], json)


@contextlib.contextmanager
def _hearing(label: str, lossy: bool, json: bool) -> Iterator[Hearing]:
    """A bar, and what happens when something would be lost."""
    from fqi.datasets.deriving import Hearing
    from fqi.datasets.stream import refuse_loss

    def losing(path: str, lost: list[str]) -> None:
        if not lossy:
            refuse_loss(path, lost)
        print(f"fqi: note: {path} will not hold {'; '.join(lost)}", file=sys.stderr)

    with contextlib.ExitStack() as stack:
        bars: list[Progress] = []

        def listen(done: int, total: int) -> None:
            if not bars:  # how much there is to do is known once the logs are open
                bars.append(stack.enter_context(progress(label, total, "steps")))
            bars[0](done, "")

        yield Hearing(listen, losing)


def _report(made: list[Made], json: bool) -> None:
    lines = []
    if made[0].log.endswith(".h5"):
        remember(LOGS, Path(made[0].log))
    for one in made:
        lines += [f"note: {what}: {count:,}" for what, count in one.notes.items()]
        lines.append(f"log {one.log}: {counted(one.steps, 'step')}, {counted(one.episodes, 'episode')}")
    results = [
        {"log": one.log, "steps": one.steps, "episodes": one.episodes, **({"notes": one.notes} if one.notes else {})}
        for one in made
    ]
    lines.append(f"next: fqi data info {shlex.quote(made[0].log)}")
    show(results[0] if len(results) == 1 else {"logs": results}, json, lines)
