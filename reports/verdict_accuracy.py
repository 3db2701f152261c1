"""What was measured beyond the start states says: states of the log, exact values, and the log alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fqi.reports.accuracy.summary import audit_by_round, exact_by_round, fitted_by_round, states_by_round
from fqi.reports.overestimation import best_round
from fqi.reports.sentences import Sentence, policy
from fqi.reports.statistics import Interval, standard_error
from fqi.reports.words import basis, number, percent, plural, triple

Measured = Mapping[str, Sequence[dict[str, Any]]]

# A greedy action that no near row of the log has is worth what the regressor guesses. Some lie at any log's edge.
UNCOVERED = 0.2
BEYOND = 0.05  # share of values beyond what rewards can earn
DIFFER = 0.4  # share of frames in which two members choose differently, of two actions at random a half
TELLING = 0.1  # of the value predicted: a gap or an excess that changes what one would believe
ALIKE = 0.01  # of the best return: rounds this close to it are as good


def narrow(measured: Measured) -> Iterator[Sentence]:
    """Data that do not cover the policy."""
    found = audit_by_round(measured.get("audit", ()))
    if not found or found[-1]["unsupported"] is None:
        return
    last, share = found[-1], found[-1]["unsupported"]
    if (share.low if share.low == share.low else share.mean) > UNCOVERED:
        yield Sentence("narrow", "bad", (
            f"The data do not cover the policy: at round {last['round']}, {percent(share.mean)} of its greedy actions "
            f"over {plural(last['frames'], 'frame')} of the log were taken neither there nor in the ten nearest logged "
            "states, so that their values are guesses; keep to the data by --constraint 0.3, or collect more varied "
            "actions"
        ))  # fmt: skip


def exact(measured: Measured) -> Iterator[Sentence]:
    """What the known model says of the last measured round."""
    found = exact_by_round(measured.get("exact", ()))
    if not found:
        return
    last = found[-1]
    largest = max(last["parts"], key=lambda part: abs(last["parts"][part]))
    words = {
        "regressor": "the regressor and its value rule", "maximum": "the maximum over noisy averages",
        "luck": "the luck of the sample", "missing": "pairs that the log lacks",
        "rounds": "rounds that are yet to come", "policy": "the policy's own distance from the optimum",
    }  # fmt: skip
    size = "" if abs(last["bias"]) < 1e-9 else (
        f"; the largest part, {number(last['parts'][largest], sign=True)}, is due to {words[largest]}"
    )  # fmt: skip
    yield Sentence("exact", "note", (
        f"The model is known: at round {last['round']} the exact bias at the start states is "
        f"{number(last['bias'], sign=True)}, where the policy earns {number(last['earned'])} of "
        f"{number(last['optimum'])}{size}"
    ))  # fmt: skip


def states(measured: Measured) -> Iterator[Sentence]:
    """The bias in states of the log."""
    found = states_by_round(measured.get("states", ()))
    if not found:
        return
    last = found[-1]
    bias: Interval = last["bias"]
    yield Sentence("states", "note", (
        f"In {plural(last['states'], 'state')} of the log the bias at round {last['round']} is "
        f"{triple(bias, sign=True)[0]} [{', '.join(triple(bias, sign=True)[1:])}], for predictions of "
        f"{number(last['predicted'].mean)} on average"
    ))  # fmt: skip


def by_the_log(measured: Measured) -> Iterator[Sentence]:
    """Without an environment: what the log alone has to say of the values."""
    audit, fitted = (
        audit_by_round(measured.get("audit", ())), fitted_by_round(measured.get("policy_values", ()))
    )  # fmt: skip
    if not audit:
        return
    last = audit[-1]
    yield from _beyond(last)
    if fitted:
        yield from _fitted(fitted[-1])
    if last["gap"] is not None:
        size = abs(last["gathered"]) / max(abs(last["value"].mean), 1e-9)
        yield Sentence("gap", "bad" if size > TELLING and last["gap"].low > 0 else "note", (
            f"By the {last['units']}' own account the maximum adds {number(last['gap'].mean, sign=True)} a backup at "
            f"round {last['round']}, {number(last['gathered'], sign=True)} in all if every backup does, to values of "
            f"{number(last['value'].mean)}"
        ))  # fmt: skip
    else:
        yield Sentence("alone", "note", (
            "One head alone was trained, so that nobody can say how optimistic its maximum is; train with --ensemble 2 "
            "--weights split"
        ))  # fmt: skip
    if last["differs"] is not None and last["differs"] > DIFFER:
        yield Sentence("differ", "bad", (
            f"Members disagree: two of them choose differently in {percent(last['differs'])} of the log's frames at "
            f"round {last['round']} ({plural(last['members'], 'member')})"
        ))  # fmt: skip


def _beyond(last: dict[str, Any]) -> Iterator[Sentence]:
    if last["beyond"].mean > BEYOND:
        yield Sentence("beyond", "bad", (
            f"{percent(last['beyond'].mean)} of the values at round {last['round']} lie beyond what the rewards seen "
            "can earn"
        ))  # fmt: skip


def _fitted(last: dict[str, Any]) -> Iterator[Sentence]:
    excess: Interval = last["excess"]
    size = abs(excess.mean) / max(abs(last["fitted"].mean), 1e-9)
    where = "held-out episodes" if last["held_out"] else "the episodes that it was trained on"
    flattered = "" if last["held_out"] else "; held-out episodes would be a fairer judge: --holdout-by episodes"
    sure = excess.low > 0
    yield Sentence("fitted", "bad" if sure and size > TELLING else "good" if last["held_out"] else "note", (
        f"Fitted Q-evaluation on {where} values the policy of round {last['round']} at "
        f"{triple(last['fitted'])[0]}, where {number(last['predicted'].mean)} is predicted: "
        f"{number(excess.mean, sign=True)} too much ({basis(excess)}){flattered}"
        if excess.mean >= 0 else
        f"Fitted Q-evaluation on {where} values the policy of round {last['round']} at "
        f"{triple(last['fitted'])[0]}, above the {number(last['predicted'].mean)} predicted ({basis(excess)})"
        f"{flattered}"
    ))  # fmt: skip


def recommended(
    alike: Sequence[dict[str, Any]], states_of: Sequence[str], measured: Measured, run: str, member: int | None
) -> Iterator[Sentence]:
    """The round to use, with the reason."""
    best = best_round(alike)
    if best is not None:
        least = best["return"].mean - max(standard_error(best["return"]), ALIKE * abs(best["return"].mean))
        close = [
            (row, found) for row, found in zip(alike, states_of, strict=True)
            if row["return"].mean >= least or row is best
        ]  # fmt: skip
        row, state = min(close, key=lambda pair: (pair[1] != "healthy", abs(pair[0]["bias"].mean), pair[0]["round"]))
        why = (
            "it returns most, alone"
            if len(close) == 1
            else f"of the {len(close)} rounds that return as much as the best, to one standard error or "
            f"{percent(ALIKE)}, its bias is the smallest"
        )
        yield Sentence("recommended", "good" if state == "healthy" else "note", (
            f"Use round {row['round']} ({policy(run, row['round'], member)}): {why}; it returns "
            f"{number(row['return'].mean)} with a bias of {number(row['bias'].mean, sign=True)}"
        ))  # fmt: skip
        return
    audit = audit_by_round(measured.get("audit", ()))
    told = [row for row in audit if row["gap"] is not None and row["beyond"].mean <= BEYOND]
    if len(told) > 1:
        half = told[len(told) // 2 :]  # the first rounds are worth little, and so are their gaps
        row = min(half, key=lambda r: (r["unsupported"].mean if r["unsupported"] else 0.0, abs(r["gap"].mean)))
        yield Sentence("recommended", "note", (
            f"Use round {row['round']} ({policy(run, row['round'], member)}) unless something better is known: in the "
            "later half of the rounds it has the fewest unsupported actions, and of equals the smallest gap"
        ))  # fmt: skip
