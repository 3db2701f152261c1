"""The verdict in words: whether the values can be believed, which round to use, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fqi.reports import verdict_accuracy as accuracy
from fqi.reports import verdict_returns as returns
from fqi.reports import verdict_training as training
from fqi.reports import verdict_values as values
from fqi.reports.overestimation import by_round, comparable
from fqi.reports.sentences import Sentence, command
from fqi.reports.words import percent, plural

NOTHING: accuracy.Measured = {}
CUT = 0.01  # weight that was left when play stopped, above which the realised value is short by something that shows


def verdict(
    metrics: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    *,
    discount: float,
    run: str = "RUN",
    member: int | None = None,
    status: str = "finished",
    message: str = "",
    measured: accuracy.Measured = NOTHING,
) -> list[Sentence]:
    """What logged rows say of a run, the most important first; `discount` is that of a target: gamma^n.

    `member` is one of those that the rows are of, where the run has others that were trained otherwise.
    """
    found = [*training.ended(metrics, run, status, message)]
    runaway = [] if status == "diverged" else [*training.runaway(metrics)]
    moving = [] if status == "diverged" or runaway else [*training.still_moving(metrics, discount, run)]
    judged = by_round(evaluations)
    if judged:
        return [*found, *_judged(metrics, evaluations, judged, runaway, moving, run, member, measured)]
    if measured.get("audit"):
        log = [*accuracy.narrow(measured), *accuracy.by_the_log(measured)]
        log.sort(key=lambda sentence: sentence.level != "bad")
        return [*found, *runaway, *log, *accuracy.recommended([], [], measured, run, member), *moving]
    text = (
        "This run was never evaluated, so that what its policy earns is not known and its values cannot be checked; "
        f"type {command('fqi evaluate', run)}"
    )
    return [*found, Sentence("unevaluated", "note", text), *runaway, *moving]


def _judged(
    metrics: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    judged: list[dict[str, Any]],
    runaway: list[Sentence],
    moving: list[Sentence],
    run: str,
    member: int | None,
    measured: accuracy.Measured,
) -> Iterator[Sentence]:
    alike = comparable(judged)
    numbers = {row["round"] for row in alike}
    episodes = [row for row in evaluations if row["round"] in numbers]
    width = training.width(metrics)
    states = [values.state(row, values.scale(row, episodes, width)) for row in alike]
    collapse = [*returns.collapse(alike, episodes, run, member)]
    yield values.sentence(alike, states, run)
    yield from (*runaway, *collapse, *accuracy.narrow(measured))
    yield from returns.disagreement(alike, episodes)
    if len(alike) > 1:
        yield from accuracy.recommended(alike, states, measured, run, member)
    yield from (*accuracy.exact(measured), *accuracy.states(measured))
    if not collapse:  # it names the best round already
        yield from returns.best_sentence(alike, episodes)
    if not runaway and states[-1] != "too high":  # more rounds of the same would not mend those
        yield from [*returns.rising(alike, episodes, run)] or moving
    yield from _limits(metrics, judged, alike, run)


def _limits(
    metrics: Sequence[dict[str, Any]], judged: list[dict[str, Any]], alike: list[dict[str, Any]], run: str
) -> Iterator[Sentence]:
    """What the evaluation cannot tell."""
    last, rounds = alike[-1], {row["round"] for row in metrics}
    more = command("fqi evaluate", run, "--rounds spread")
    if len(alike) == 1 and len(rounds) > 1:
        yield Sentence("one round", "note", (
            f"Only round {last['round']} was evaluated, so that a better round or a collapse before it would not be "
            f"seen; type {more}"
        ))  # fmt: skip
    elif max(rounds, default=0) > last["round"]:
        yield Sentence("later rounds", "note", (
            f"No round after {last['round']} was evaluated, though there are {max(rounds)}; type {more}"
        ))  # fmt: skip
    if last["members"] == 1:
        yield Sentence("one member", "note", (
            "One member was trained, so that the intervals tell how episodes differ and not how training with another "
            "seed would end; train several with --seeds 5, unless it is a table, which no seed changes"
        ))  # fmt: skip
    if last["tail"] > CUT:
        yield Sentence("cut short", "note", (
            f"Play stopped where {percent(last['tail'])} of the value's weight was left on average, so that the "
            f"realised value at round {last['round']} lacks what would have come after"
        ))  # fmt: skip
    if len(alike) < len(judged):
        other = sorted({row["environment"] for row in judged if row not in alike})
        yield Sentence("other environment", "note", (
            f"{plural(len(judged) - len(alike), 'round')} played in another environment or under another time limit "
            f"({', '.join(other)}) stand in the table and are left out of the verdict"
        ))  # fmt: skip
