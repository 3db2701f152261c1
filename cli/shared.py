"""What the commands share: options made from settings, default paths, progress, and how results are printed."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.errors import UserError
from fqi.files import finite, point
from fqi.options import base_types

LOGS, RUNS = Path("logs"), Path("runs")
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object and nothing else.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import the Python functions that the run names as py:…: they can execute code."),
]
EnvKwargs = Annotated[
    list[str] | None,
    typer.Option(
        "--env-kwargs",
        help="An argument of the environment as NAME=VALUE, or several as a JSON object; may be repeated. "
        "\\[default: none]",
        show_default=False,
    ),
]
Progress = Callable[[float, str], None]


def trust_code(config: Any) -> bool:
    """Let what the settings name as `py:…` be imported: the user typed it, or said --trust. False: there is none."""
    trust_options(config.code)
    return bool(config.code)


def trust_options(options: Mapping[str, Any]) -> None:
    """The same for options by name, of which only some may name code."""
    from fqi.imports import trust

    for name, value in options.items():
        if isinstance(value, str) and value.startswith("py:"):
            trust(value, name)


def env_kwargs(given: list[str] | None) -> dict[str, Any] | None:
    """What --env-kwargs says; None where it was not given. Values are JSON, or text where they are not."""
    if given is None:
        return None
    found: dict[str, Any] = {}
    for text in given:
        if text.lstrip().startswith("{"):
            try:
                parsed = json.loads(text)
            except ValueError as error:
                raise UserError(f"--env-kwargs is no JSON object: {error}; found {text!r}") from None
        else:
            name, equals, value = text.partition("=")
            if not equals or not name.isidentifier():
                raise UserError(f"--env-kwargs must read NAME=VALUE or be a JSON object, found {text!r}")
            parsed = {name: _value(value)}
        twice = sorted(set(parsed) & set(found))
        if twice:
            raise UserError(f"--env-kwargs gives {twice[0]} twice")
        found |= parsed
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def flag(name: str) -> str:
    """The command-line flag of an option."""
    return "--" + name.replace("_", "-")


def with_options(groups: dict[str, list[type[Any]]], taken: set[str]) -> Callable[[Any], Any]:
    """Give the command a flag for each field of these settings, by help panel; it gets those the user typed as
    `given`. A name that several settings share is one flag."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters, seen = [], set(taken)
        every = [(p, field) for p, kinds in groups.items() for kind in kinds for field in dataclasses.fields(kind)]
        for panel, field in every:
            if field.name not in seen:
                seen.add(field.name)
                others = {p: f.default for p, f in every if f.name == field.name and f.default != field.default}
                parameters.append(_parameter(field, panel, others))
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        names = {p.name for p in parameters}

        def wrapped(**values: Any) -> Any:
            given = {name: values.pop(name) for name in names}
            return command(**values, given={k: v for k, v in given.items() if v is not None})

        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        ordered = sorted([*own, *parameters], key=lambda p: p.default is inspect.Parameter.empty, reverse=True)
        wrapped.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in ordered}
        return wrapped

    return decorate


def _parameter(field: dataclasses.Field[Any], panel: str, others: dict[str, Any]) -> inspect.Parameter:
    """The flag of an option; `others` holds the defaults of those panels that have another one."""
    kind = next(k for k in base_types(field) if k is not type(None))
    rule = field.metadata
    text = rule["help"]
    if rule["choices"]:
        said, mark, default = text.partition(" [default")
        text = f"{said} ({' | '.join(rule['choices'])}){mark}{default}"
    if field.default is not None and "[default" not in text:
        differing = "".join(f"; {other.split()[-1]}: {default}" for other, default in others.items())
        text += f" [default: {field.default}{differing}]"
    option = typer.Option(flag(field.name), help=text.replace("[", "\\["), rich_help_panel=panel, show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def newest(folder: Path, what: str, make: str) -> Path:
    """`logs/latest` or `runs/latest`."""
    latest = folder / "latest"
    if latest.is_symlink() and not latest.exists():
        raise UserError(f"{latest} names {latest.readlink()}, which is gone; name a {what} by its path")
    if not latest.exists():
        raise UserError(f"there is no {what} in {folder}/ yet; `{make}` makes one, or name one by its path")
    return latest.resolve().relative_to(Path.cwd()) if latest.resolve().is_relative_to(Path.cwd()) else latest.resolve()


def unused(folder: Path, stem: str, suffix: str) -> Path:
    """The first of stem-1, stem-2, … that does not exist, nor has a journal."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem)
    number = 1
    while any((folder / f"{stem}-{number}{suffix}{more}").exists() for more in ("", ".journal")):
        number += 1
    return folder / f"{stem}-{number}{suffix}"


def remember(folder: Path, path: Path) -> None:
    """Let `latest` in this folder name the path, if it lies there; what is kept elsewhere is named by its path."""
    if path.resolve().parent == folder.resolve():
        point(folder / "latest", path.resolve())


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 round, 2 rounds."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """The result as JSON, or these lines for a person."""
    print(json.dumps(finite(result)) if as_json else "\n".join(lines))


def say(line: str, as_json: bool) -> None:
    """A line about what was chosen, for a person only."""
    if not as_json:
        print(line, flush=True)


@contextlib.contextmanager
def progress(label: str, total: float, unit: str) -> Iterator[Progress]:
    """A bar with rate and remaining time on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="", note="")

        def advance(done: float, note: str) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} {unit}/s" if speed and speed >= 10 else (f"{speed:.2f} {unit}/s" if speed else "")
            bar.update(task, completed=done, rate=rate, note=note)

        yield advance
