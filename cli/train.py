"""`fqi train`: K rounds of fitted Q-iteration on a log."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli import watching
from fqi.cli.shared import (
    LOGS,
    RUNS,
    Json,
    Trust,
    counted,
    newest,
    progress,
    remember,
    say,
    show,
    trust_code,
    unused,
    with_options,
)
from fqi.errors import Interrupted, UserError
from fqi.regressors import REGRESSORS
from fqi.settings import TrainSettings, read_toml
from fqi.sweep import plain, typed

_GROUPS: dict[str, list[type[Any]]] = {"Training": [TrainSettings]}
_GROUPS |= {f"Regressor {name}": [kind.settings] for name, kind in REGRESSORS.items()}


@with_options(_GROUPS, taken=set())
def train(
    given: dict[str, Any],
    log: Annotated[
        str | None,
        typer.Argument(
            help="A log: a file, a Minari folder or minari:ID. \\[default: logs/latest]", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run directory to make; one in runs/ becomes runs/latest. \\[default: runs/ENV-1, -2, …]",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings from a TOML file; flags go before it. \\[default: none]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run, to its own number of rounds or to --iterations. \\[default: a new run]"
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="An option in which members differ, and its values, such as lr=1e-3,3e-4; once for each option: every "
            "combination is trained on every seed, in one run. \\[default: none]",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            help="GiB that the log's observations may take: where they need more, they stay on disk and are read in "
            "blocks that are shuffled. \\[default: half of this machine's]",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write events for TensorBoard into RUN/tensorboard, too. \\[default: off]"),
    ] = False,
    watch: Annotated[
        int,
        typer.Option(help="Play ten episodes of each member every so many rounds, and keep them; 0: never.", min=0),
    ] = 0,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Train K rounds: freeze Q, compute every target once, regress, repeat."""
    if resume is not None:
        if sweep:
            raise UserError("--resume goes on with the run's own settings; --sweep belongs to a new run")
        return _resume(resume, given, log, out, config, memory, trust, json, (tensorboard, watch))
    if trust:
        raise UserError("--trust belongs to --resume: what you type yourself is trusted anyway")
    from fqi.datasets.load import load_log
    from fqi.frames import all_on_disk
    from fqi.training import configure
    from fqi.training import train as start

    reference = str(newest(LOGS, "log", "fqi collect")) if log is None else log
    loaded = load_log(reference, memory=_bytes(memory))
    values = {} if config is None else read_toml(config)
    kinds: list[type[Any]] = [TrainSettings, *(kind.settings for kind in REGRESSORS.values())]
    settings = configure(loaded, values, str(config or "settings"), given, typed(sweep or [], kinds))
    trust_code(settings)
    environment = (loaded.environment or {}).get("id", "log")
    path = out or unused(RUNS, environment, "")
    say(
        f"log {reference}: {counted(loaded.steps, 'step')} in {counted(loaded.episodes, 'episode')}; "
        f"{counted(settings.train.iterations, 'round')}, gamma {_said(settings, 'gamma')}, "
        f"regressor {settings.train.regressor}, target {_said(settings, 'target')}, "
        f"{counted(settings.members, 'member')} of {counted(settings.heads, 'head')} → {path}",
        json,
    )
    if settings.sweep:
        say(f"{counted(len(settings.settings), 'setting')}: {'; '.join(settings.labels)}", json)
    kept = all_on_disk(loaded.observations)
    if kept:
        size = sum(frames.nbytes for frames in kept) / 2**30
        say(f"observations take {size:.2f} GiB and stay on disk; {kept[0].memory / 2**30:.2f} GiB are held", json)
    if loaded.provenance.get("unfinished"):
        print(f"fqi: note: {reference} is an unfinished collection; its whole episodes are used", file=sys.stderr)
    command = ["fqi", *sys.argv[1:]]
    _check_watch(watch, loaded)
    with _working(path, settings.train.iterations, tensorboard, watch) as listen:
        run = start(loaded, settings, path, log_reference=reference, command=command, listen=listen)
    return _finish(run, json)


def _bytes(memory: float | None) -> int:
    """What observations may take in memory."""
    if memory is None:
        from fqi.datasets.load import affordable

        return affordable()
    if not 0 < memory < 1 << 20:
        raise UserError(f"--memory must be a number of GiB above 0, found {memory:g}")
    return int(memory * 2**30)


def _resume(
    path: Path,
    given: dict[str, Any],
    log: str | None,
    out: Path | None,
    config: Path | None,
    memory: float | None,
    trust: bool,
    json: bool,
    seen: tuple[bool, int],
) -> None:
    from fqi.datasets.load import load_log
    from fqi.run import Run
    from fqi.training import resume

    if out or config or memory is not None or set(given) - {"iterations"}:
        raise UserError("--resume goes on with the run's own settings; only --iterations may be given beside it")
    run = Run.open(path)
    if trust and not trust_code(run.config):
        raise UserError(f"{run.path} names no py:… function, and so --trust has no effect")
    reference = run.record["log"]["reference"] if log is None else log
    kept = run.record["log"].get("memory")  # whoever shuffles blocks as before draws the same batches
    loaded = load_log(reference, memory=kept if isinstance(kept, int) else None)
    wanted = given.get("iterations") or run.config.train.iterations
    say(f"go on with {path} after round {max(run.rounds, default=0)}, to round {wanted}; log {reference}", json)
    _check_watch(seen[1], loaded)
    with _working(path, wanted, *seen) as listen:
        run = resume(run, loaded, iterations=given.get("iterations"), listen=listen)
    return _finish(run, json)


def _check_watch(watch: int, log: Any) -> None:
    if watch and log.environment is None:
        raise UserError("--watch has no effect: the log names no environment to play in")


@contextlib.contextmanager
def _working(
    path: Path, rounds: int, tensorboard: bool, watch: int
) -> Iterator[Callable[[int, list[dict[str, Any]]], None]]:
    """Progress of a training; from its first round on the run is the latest one. Says how to go on when stopped."""
    with progress("train", rounds, "rounds") as advance, watching.tensorboard(path, tensorboard) as events:
        done: list[int] = []
        live = watching.Live()

        def listen(number: int, metrics: list[dict[str, Any]]) -> None:
            if not done:
                remember(RUNS, path)
            done.append(number)
            returns = watching.look(path, number) if watch and number % watch == 0 else []
            if returns:
                events(number, [{"return": sum(returns) / len(returns)}])
            events(number, metrics)
            advance(number, live.add(metrics, returns))

        try:
            yield listen
        except KeyboardInterrupt:
            if not (path / "run.json").exists():
                raise Interrupted(f"interrupted before {path} was begun; nothing was kept") from None
            again = shlex.join(["fqi", "train", "--resume", str(path)])
            raise Interrupted(f"interrupted; the whole rounds are kept, and this goes on: {again}") from None


def _said(settings: Any, name: str) -> str:
    """What an option is set to, or all that it is set to in a sweep."""
    return " or ".join(map(plain, dict(settings.sweep).get(name, (settings.value(name),))))


def _note(metrics: list[dict[str, Any]]) -> str:
    mean = sum(row["mean_q"] for row in metrics) / len(metrics)
    loss = sum(row["training_loss"] for row in metrics) / len(metrics)
    return f"mean Q {mean:.4g}, loss {loss:.3g}"


def _finish(run: Any, json: bool) -> None:
    rounds = run.rounds
    rows = [row for row in run.metrics if row["round"] == rounds[-1]]
    result = {
        "run": str(run.path),
        "rounds": rounds[-1],
        "status": run.record["status"],
        "members": run.config.members,
        "settings": run.config.labels if run.config.sweep else [],
        "regressor": run.config.train.regressor,
        "log": run.record["log"]["reference"],
        "last": rows,
    }
    lines = [
        f"run {run.path}: {counted(rounds[-1], 'round')}; at the last one {_note(rows)}",
        f"next: fqi evaluate {shlex.quote(str(run.path))}",
    ]
    show(result, json, lines)
