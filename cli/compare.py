"""`fqi compare`: fitted Q-iteration against cloning, DAgger, DQN and the behaviour itself, on equal terms."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fqi.cli.shared import Json, progress, remember, show, trust_options
from fqi.errors import Interrupted, UserError


def compare(
    learners: Annotated[
        list[str] | None,
        typer.Argument(
            help="Who takes part beside fqi: bc, dagger, dqn, dqn-v1, dqn-v2, offline-dqn, a variant of fqi, or the "
            "folder of a run; with options behind a colon where wanted, as in fqi:target=mean,n-step=3. "
            "\\[default: bc dagger dqn]",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="The run whose log, environment and settings are taken. \\[default: runs/latest, if there is one]",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="The log to learn from. \\[default: the run's]", show_default=False)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="The environment to play in; several make several tasks, each with a log that is collected for it. "
            "\\[default: the one the log names]",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Several tasks: classic, or a TOML file. \\[default: one task]", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Seeds of each learner. \\[default: 5, or the run's if it has more]", min=1),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Episodes of each seed in the judgement. \\[default: 100]", min=1)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The first seed, and the seed of the start states. \\[default: 0]", min=0)
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Rounds of fitted Q-iteration. \\[default: the run's, else 100]", min=1)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each log that is collected. \\[default: 50000]", min=1)
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            help="Who can be asked: a policy as in fqi collect, or person (you, at the keyboard). "
            "\\[default: the scripted one, where one is shipped]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to make. \\[default: comparisons/ENV-1, -2, …]", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this comparison; what is finished is kept. \\[default: a new one]"),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="With --resume: import the Python modules that it names, which can execute code."),
    ] = False,
    json: Json = False,
) -> None:
    """Train every learner over the same seeds, judge all from the same start states, and write one page."""
    from fqi.cli.comparing import COMPARISONS, Choice, begin
    from fqi.datasets.load import load_log, save_log
    from fqi.reports.comparison.contest import hold
    from fqi.reports.comparison.numbers import numbers
    from fqi.reports.comparison.page import write_comparison_report
    from fqi.reports.comparison.record import Comparison
    from fqi.reports.comparison.wording import text_table

    choice = Choice(
        learners=tuple(learners or ()), run=run, log=log, env=tuple(env or ()), suite=suite, seeds=seeds,
        episodes=episodes, seed=seed, iterations=iterations, steps=steps, expert=expert,
    )  # fmt: skip
    if resume is None:
        if trust:
            raise UserError("--trust belongs to --resume: what you type yourself is trusted anyway")
        comparison = begin(choice, out, json)
    else:
        if choice.typed() or out:
            raise UserError("--resume goes on with the comparison's own learners and tasks; give nothing beside it")
        comparison = Comparison.open(resume)
        for learner in comparison.record["learners"] if trust else ():
            trust_options(learner["given"])
    remember(COMPARISONS, comparison.path)
    again = shlex.join(["fqi", "compare", "--resume", str(comparison.path)])
    cells = comparison.grid()
    with progress("compare", len(cells), "cells") as advance:

        def listen(task: str, learner: str, share: float, note: str) -> None:
            advance(cells.index((task, learner)) + share, f"{learner} on {task}: {note}")

        try:
            hold(
                comparison,
                load=load_log,
                save=lambda gathered, path: save_log(gathered, path),
                trusted=trust or (resume is None and bool(env or suite or expert)),
                listen=listen,
            )
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; what is finished is kept, and this goes on: {again}") from None
    found = numbers(comparison)
    page = write_comparison_report(comparison)
    result = {"comparison": str(comparison.path), "report": str(page), **found}
    show(result, json, [*text_table(found), f"report {page}"])
