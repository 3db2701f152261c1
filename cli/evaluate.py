"""`fqi evaluate`: play the run's greedy policies online and compare what they predicted with what they earned."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fqi.cli.shared import (
    RUNS,
    EnvKwargs,
    Json,
    Trust,
    counted,
    env_kwargs,
    newest,
    progress,
    say,
    show,
    trust_code,
)
from fqi.errors import UserError

STATES = 100
_WORDS = {
    "audit": "support, gap and disagreement by the log alone",
    "states": "bias in states of the log",
    "exact": "exact values from the known model",
    "policy_values": "fitted Q-evaluation",
    "films": "films of the best and the worst episode",
}


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="A run directory. \\[default: runs/latest]", show_default=False)
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment to play in. \\[default: the one the log names]", show_default=False)
    ] = None,
    kwargs: EnvKwargs = None,
    episodes: Annotated[int, typer.Option(help="Episodes of each member at each round.", min=1)] = 100,
    rounds: Annotated[
        str,
        typer.Option(
            help="Rounds to evaluate: last, all, spread (ten over all), spread:N, or numbers such as 10,20,50."
        ),
    ] = "spread",
    seed: Annotated[
        int, typer.Option(help="Seed of the start states, the same for every member and round.", min=0)
    ] = 0,
    max_steps: Annotated[
        int | None,
        typer.Option(help="Time limit in steps. \\[default: the environment's own]", show_default=False, min=1),
    ] = None,
    states: Annotated[
        int,
        typer.Option(help="States of the log to which the environment is set, where it can be; 0: none.", min=0),
    ] = STATES,
    fitted: Annotated[
        bool,
        typer.Option(
            "--fitted",
            help="Fitted Q-evaluation at the last of the rounds, too; without an environment always. \\[default: off]",
        ),
    ] = False,
    films: Annotated[
        bool,
        typer.Option(
            "--films/--no-films",
            help="Film the best and the worst episode, where it can be drawn. \\[default: films]",
            show_default=False,
        ),
    ] = True,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Play every member's greedy policy, and measure how true its values are; the rows are kept for `fqi report`.

    Without an environment the values are judged by the log alone."""
    from fqi.environments.make import environment_record
    from fqi.reports.evaluation import evaluate as play
    from fqi.reports.overestimation import by_round
    from fqi.run import Run

    found = Run.open(newest(RUNS, "run", "fqi train") if run is None else run)
    if trust and not trust_code(found.config):
        raise UserError(f"{found.path} names no py:… function, and so --trust has no effect")
    chosen = pick(found.rounds, rounds, str(found.path))
    own, given = found.record["environment"] or {}, env_kwargs(kwargs)
    name = env or own.get("id")
    members = found.config.members
    if name is None:
        if given is not None:
            raise UserError(f"{found.path}: its log names no environment for --env-kwargs; give one by --env")
        if found.config.sweep:
            raise UserError(
                f"{found.path}: the settings of a sweep are compared by playing; name an environment by --env"
            )
        _by_the_log(found, chosen, seed, max_steps, json)
        return
    record = None
    if env is not None or given is not None:  # without --env, what is given is changed in the log's own environment
        merged = (own.get("kwargs") or {} if env is None else {}) | (given or {})
        record = environment_record(name, merged, trusted=env is not None)
    say(
        f"run {found.path}: {counted(members, 'member')} x {counted(episodes, 'episode')} of {name} at "
        f"{counted(len(chosen), 'round')} ({rounds}), seed {seed}",
        json,
    )
    with progress("evaluate", len(chosen), "rounds") as advance:
        rows = play(
            found,
            chosen,
            episodes=episodes,
            seed=seed,
            environment=record,
            trusted=env is not None,
            max_steps=max_steps,
            listen=lambda new: advance(chosen.index(new[0]["round"]) + 1, f"round {new[0]['round']}"),
        )
    measured, notes = list[str](), list[str]()
    if found.config.sweep:  # what else there is to measure is told of a single setting
        notes = ["note: a sweep's settings are played only; no films, and nothing is measured from the log"]
    else:
        measured, notes = _measure(found, chosen, record, states, fitted, seed)
    if films and not found.config.sweep:
        filmed, more = _film(found, chosen[-1])
        measured, notes = measured + filmed, notes + more
    if found.config.sweep:
        result, lines = _sweep(found, rows)
    else:
        summary = by_round(rows)
        result, lines = _result(str(found.path), summary), _table(summary)
        last = summary[-1]["return"]
        lines.append(f"{_method(last)} at each round. {_NAMES}")
    lines += notes
    lines.append(f"also measured: {', '.join(_WORDS[name] for name in measured)}" if measured else "")
    lines.append(f"next: fqi report {shlex.quote(str(found.path))}")
    show(result | {"measured": measured}, json, [line for line in lines if line])


def _measure(
    run: Any, chosen: list[int], record: dict[str, Any] | None, states: int, fitted: bool, seed: int
) -> tuple[list[str], list[str]]:
    """What needs the log, by name, and what is to be said where it could not be measured."""
    from fqi.reports.accuracy.measure import Wanted, measure

    try:
        log = _log_of(run)
        with progress("measure", 1, "") as advance:
            wanted = Wanted(states, fitted, seed)
            return measure(run, log, chosen, wanted, record, lambda note: advance(0, note)), []
    except UserError as error:
        return [], [f"note: nothing that needs the log is measured: {error}"]


def _log_of(run: Any) -> Any:
    """The run's log; frames that stayed on disk while it was trained on stay there."""
    from fqi.datasets.load import affordable, load_log

    kept = run.record["log"].get("memory")
    return load_log(run.record["log"]["reference"], memory=kept if isinstance(kept, int) else affordable())


def _film(run: Any, number: int) -> tuple[list[str], list[str]]:
    from fqi.reports.films.record import film_best_and_worst

    try:
        return (["films"] if film_best_and_worst(run, number) else []), []
    except UserError as error:
        return [], [f"note: no films: {error}"]


def _by_the_log(run: Any, chosen: list[int], seed: int, max_steps: int | None, json: bool) -> None:
    """Where there is nothing to play in."""
    from fqi.reports.accuracy.measure import Wanted, measure
    from fqi.reports.accuracy.summary import audit_by_round, fitted_by_round

    if max_steps is not None:
        raise UserError(f"--max-steps has no effect: the log of {run.path} names no environment; give one by --env")
    say(f"run {run.path}: its log names no environment, so that its values are judged by the log alone", json)
    log = _log_of(run)
    with progress("measure", 1, "") as advance:
        measured = measure(run, log, chosen, Wanted(0, True, seed), None, lambda note: advance(0, note))
    audit, fitted = audit_by_round(run.measured("audit"))[-1], fitted_by_round(run.measured("policy_values"))[-1]
    lines = [
        f"round {audit['round']}: mean V over the log {audit['value'].mean:,.3f}; unsupported greedy actions "
        f"{_share(audit['unsupported'])}; beyond what rewards can earn {_share(audit['beyond'])}; gap of the maximum "
        f"{'unknown: one head alone' if audit['gap'] is None else format(audit['gap'].mean, '+,.4g')}",
        f"fitted Q-evaluation at the first frames: {fitted['fitted'].mean:,.3f}; predicted there "
        f"{fitted['predicted'].mean:,.3f}",
        f"next: fqi report {shlex.quote(str(run.path))}, or give an environment by --env",
    ]
    keep = {k: _interval(v) if v is not None and hasattr(v, "mean") else v for k, v in (audit | fitted).items()}
    show({"run": str(run.path), "measured": measured, **keep}, json, lines)


def _share(interval: Any) -> str:
    return "unknown" if interval is None else f"{interval.mean:.1%}"


_NAMES = "Predicted and realised: discounted value from the same starts; bias: predicted - realised"


def _method(last: Any) -> str:
    """How intervals came about, and what they rest on."""
    counts = f"{counted(last.episodes, 'episode')} of {counted(last.members, 'member')}"
    return f"95 % intervals: {last.method}; {counts}"


def _sweep(run: Any, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Every setting at the last of these rounds, the one that earned most first."""
    from fqi.reports.overestimation import by_round
    from fqi.reports.sweeps import judged_settings

    judged = [(setting.label, by_round(setting.evaluations)) for setting in judged_settings(run, rows)]
    last = judged[0][1][-1]
    table = _table([summary[-1] for _, summary in judged])
    width = max(len("setting"), *(len(label) for label, _ in judged))
    heads = ["setting", *(label for label, _ in judged)]
    lines = [f"{head.ljust(width)}  {line}" for head, line in zip(heads, table, strict=True)]
    result = {
        "run": str(run.path),
        "settings": [{"setting": label} | _result(str(run.path), summary) for label, summary in judged],
    }
    return result, [*lines, f"{_method(last['return'])} of each setting. {_NAMES}"]


def pick(existing: list[int], wanted: str, path: str) -> list[int]:
    """The rounds that the user asked for, in order."""
    from fqi.reports.evaluation import SPREAD, spread

    if not existing:
        raise UserError(f"{path} has no finished round to evaluate")
    kind, _, number = wanted.partition(":")
    if wanted in ("last", "all", "spread"):
        return {"last": existing[-1:], "all": existing, "spread": spread(existing, SPREAD)}[wanted]
    if kind == "spread" and number.isascii() and number.isdigit() and int(number) >= 1:
        return spread(existing, int(number)) if int(number) > 1 else existing[-1:]
    parts = [part.strip() for part in wanted.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--rounds must be last, all, spread, spread:N or numbers such as 10,20,50; found {wanted!r}")
    numbers = sorted({int(part) for part in parts})
    for n in numbers:
        if n not in existing:
            raise UserError(f"{path} has no round {n}; it has {existing[0]} to {existing[-1]}")
    return numbers


def _interval(interval: Any) -> dict[str, Any]:
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "episodes": interval.episodes,
        "members": interval.members,
    }


def _result(path: str, summary: list[dict[str, Any]]) -> dict[str, Any]:
    """The last evaluated round in full, and every round in short."""

    def one(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "round": row["round"],
            "return": _interval(row["return"]),
            "per_member": row["per_member"],
            "predicted": row["predicted"].mean,
            "realised": row["discounted"].mean,
            "bias": row["bias"].mean,
            "bias_interval": _interval(row["bias"]),
            "success": row["success"],
        }

    return {"run": path, **one(summary[-1]), "rounds": [one(row) for row in summary]}


def _table(summary: list[dict[str, Any]]) -> list[str]:
    """A line for each round, columns aligned to the right; success where the environment tells it."""
    told = any(row["success"] is not None for row in summary)
    lines = [["round", "return", "95 % interval", *(["success"] if told else []), "predicted", "realised", "bias"]]
    for row in summary:
        gain = row["return"]
        interval = "unknown" if gain.low is None or gain.low != gain.low else f"{gain.low:,.2f} to {gain.high:,.2f}"
        success = [] if not told else ["" if row["success"] is None else f"{row['success']:.0%}"]
        values = [f"{row['predicted'].mean:,.3f}", f"{row['discounted'].mean:,.3f}", f"{row['bias'].mean:+,.3f}"]
        lines.append([str(row["round"]), f"{gain.mean:,.2f}", interval, *success, *values])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
