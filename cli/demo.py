"""`fqi demo`: the whole chain on CartPole, in about a minute on two cores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fqi.cli.shared import Json, progress, say, show

STEPS, ROUNDS, EPISODES, EVALUATED = 30_000, 80, 100, 9


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the log, the run and the report.")] = Path("demo"),
    json: Json = False,
) -> None:
    """Collect a log, train on it, evaluate, and write a report: what fqi does, from end to end."""
    from fqi.cli.shared import unused
    from fqi.datasets.collect import Request, collect
    from fqi.datasets.describe import describe
    from fqi.reports.evaluation import evaluate, spread
    from fqi.reports.overestimation import by_round
    from fqi.reports.page import write_report
    from fqi.training import configure, train

    clock = time.perf_counter()
    path = unused(out, "cartpole", ".h5")
    say(f"1/4 collect {STEPS:,} uniformly random steps of CartPole-v1 → {path}", json)
    log = collect(Request.new("CartPole-v1", {}, STEPS, None), path)
    config = configure(log, {"iterations": ROUNDS})
    say(f"    {log.episodes:,} episodes, mean return {log.returns.mean():.1f}", json)
    folder = unused(out, "run", "")
    say(f"2/4 train {ROUNDS} rounds of fitted Q-iteration, {config.heads} networks, target {config.train.target}", json)
    with progress("train", ROUNDS, "rounds") as advance:
        command = ["fqi", "train", str(path), "--iterations", str(ROUNDS), "--out", str(folder)]
        run = train(log, config, folder, log_reference=str(path), command=command, listen=lambda n, _: advance(n, ""))
    say(f"3/4 evaluate {EVALUATED} rounds, {EPISODES} episodes each", json)
    with progress("evaluate", EVALUATED, "rounds") as advance:
        done: list[int] = []

        def note(rows: list[dict[str, object]]) -> None:
            done.append(1)
            advance(len(done), "")

        rows = evaluate(run, spread(run.rounds, EVALUATED), episodes=EPISODES, listen=note)
    last = by_round(rows)[-1]
    say("4/4 report", json)
    page = write_report(run, run.path / "report", describe(log))
    seconds = time.perf_counter() - clock
    result = {
        "report": str(page),
        "run": str(run.path),
        "log": str(path),
        "return": last["return"].mean,
        "predicted": last["predicted"].mean,
        "realised": last["discounted"].mean,
        "seconds": seconds,
    }
    lines = [
        f"return {last['return'].mean:.1f} of 500, from data with {log.returns.mean():.1f}; at the start the run "
        f"predicts {last['predicted'].mean:.1f} and earns {last['discounted'].mean:.1f} (discounted); {seconds:.0f} s",
        f"report {page}",
        "next: fqi collect; fqi train; fqi evaluate; fqi report    (each has --help)",
    ]
    show(result, json, lines)
