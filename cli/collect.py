"""`fqi collect`: play policies in an environment and log what happens."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli.shared import LOGS, EnvKwargs, Json, counted, env_kwargs, newest, progress, remember, say, show, unused
from fqi.errors import Interrupted, UserError

_POLICY = (
    "Who acts: random, scripted:NAME, run:DIR\\[@ROUND]\\[,member=NUMBER], learned:FILE\\[@NUMBER], py:MODULE:CALLABLE "
    "or sb3:ALGO:ZIP, with ,epsilon=… and ,weight=… behind it where wanted. "
    "Several make a mixture (repeat --policy). \\[default: random]"
)


def collect(
    env: Annotated[
        str | None, typer.Argument(help="A Gymnasium environment. \\[default: CartPole-v1]", show_default=False)
    ] = None,
    kwargs: EnvKwargs = None,
    policy: Annotated[list[str] | None, typer.Option(help=_POLICY, show_default=False)] = None,
    mix: Annotated[
        str | None,
        typer.Option(help="Choose the policy of a mixture once an episode, or at each step. \\[default: episode]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps to log; the last episode is cut there. \\[default: 50000]", min=1)
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Episodes to log, instead of steps. \\[default: none]", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. \\[default: 0]", min=0)] = None,
    envs: Annotated[
        int | None,
        typer.Option(help="Environments side by side; the content depends on their number. \\[default: 64]", min=1),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Time limit of an episode. \\[default: the environment's own]", min=1)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The log's file; one in logs/ becomes logs/latest. \\[default: logs/ENV-1.h5, -2, …]"),
    ] = None,
    minari: Annotated[
        str | None, typer.Option(help="Write a Minari dataset of this ID, too. \\[default: none]")
    ] = None,
    compress: Annotated[
        bool,
        typer.Option("--compress", help="Pack the log: nothing is lost, and reading takes longer. \\[default: off]"),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with --out (or the newest unfinished one, else the newest log) to the number asked for.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Collect a log of transitions from one policy or a mixture."""
    from fqi.datasets.collect import Request, collect, read_request

    given: dict[str, Any] = {"policies": policy, "mix": mix, "seed": seed, "envs": envs, "max_steps": max_steps}
    given |= {"env_kwargs": env_kwargs(kwargs), "compress": compress or None}
    given = {name: value for name, value in given.items() if value is not None}
    if steps is not None and episodes is not None:
        raise UserError("give --steps or --episodes, not both")
    if minari is not None:
        from fqi.datasets.formats.minari import PREFIX, check_free

        minari = minari if minari.startswith(PREFIX) else PREFIX + minari
        check_free(minari)
    if resume:
        path = out or _unfinished()
        request = read_request(path).again(env, given, steps, episodes)
    else:
        request = Request.new("CartPole-v1" if env is None else env, given, steps, episodes)
        path = out or unused(LOGS, request.environment["id"], ".h5")
    goal = counted(request.episodes, "episode") if request.episodes else counted(request.steps or 0, "step")
    say(
        f"{'go on with' if resume else 'collect'} {path}: {goal} of {request.environment['id']} by "
        f"{' + '.join(request.policies)} in {counted(request.envs, 'environment')}, seed {request.seed}",
        json,
    )
    total = request.episodes or request.steps or 0
    try:
        with progress("collect", total, "episodes" if request.episodes else "steps") as advance:
            log = collect(request, path, resume=resume, listen=lambda done: advance(done, ""))
    except KeyboardInterrupt:
        raise Interrupted(_how_to_go_on(path, env, request)) from None
    if log.propensity is None:
        print("fqi: note: actions are continuous, so no propensities are recorded", file=sys.stderr)
    remember(LOGS, path)
    name = str(path)
    if minari is not None:
        from fqi.datasets.load import save_log

        save_log(log, minari)
        name = minari
    result = {"log": name, "steps": log.steps, "episodes": log.episodes}
    mean = f"mean return {float(log.returns.mean()):.4g}"
    lines = [f"log {name}: {counted(log.steps, 'step')}, {counted(log.episodes, 'episode')}, {mean}"]
    quoted = shlex.quote(name)
    trainable = log.propensity is not None  # actions are discrete, so that Q can have an output for each
    lines += [f"next: fqi train {quoted} --iterations 100" if trainable else f"next: fqi data info {quoted}"]
    show(result, json, lines)


def _how_to_go_on(path: Path, env: str | None, request: Any) -> str:
    from fqi.datasets.journal import journal_path

    if not journal_path(path).exists():
        return f"interrupted before {path} was begun; nothing was kept"
    words = ["fqi", "collect", *([env] if env else []), "--resume", "--out", str(path)]
    for spec in request.policies if any(p.startswith(("py:", "sb3:")) for p in request.policies) else ():
        words += ["--policy", spec]
    return f"interrupted; the whole episodes are kept, and this goes on: {shlex.join(words)}"


def _unfinished() -> Path:
    """The newest unfinished collection, else the newest log."""
    journals: list[Any] = sorted(LOGS.glob("*.journal"), key=lambda p: p.stat().st_mtime_ns)
    return journals[-1].with_suffix("") if journals else newest(LOGS, "log", "fqi collect")
