"""Predicted against realised value, round by round, from logged evaluations alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fqi.errors import UserError
from fqi.reports.statistics import Interval, mean_of, over_members, paired, share

SAME = ("environment", "seed", "episodes", "gamma", "limit")  # of all members of a round


def by_round(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each evaluated round earned and predicted.

    Each entry holds round, environment, seed, episodes, members, gamma, limit; the intervals return (undiscounted),
    discounted (realised), predicted, bias (predicted - discounted, paired by episode) and length; ratio (predicted /
    discounted, None where that says nothing); terminated; tail; success with success_interval; and per_member.
    """
    rounds: dict[int, list[dict[str, Any]]] = {}
    for row in evaluations:
        rounds.setdefault(int(row["round"]), []).append(row)
    return [_round(number, rounds[number]) for number in sorted(rounds)]


def best_round(judged: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The round with the highest mean return; the earliest where several are equal."""
    finite = [row for row in judged if row["return"].mean == row["return"].mean]
    return max(finite, key=lambda row: (row["return"].mean, -row["round"]), default=None)


def comparable(judged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rounds that were played in the same environment, under the same limit, as the last evaluated one."""
    same = ("environment", "gamma", "limit")
    return [row for row in judged if all(row[k] == judged[-1][k] for k in same)]


def _round(number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: int(row["member"]))
    for name in SAME:
        found = {row[name] for row in rows}
        if len(found) > 1:
            raise UserError(
                f"evaluations.jsonl: the members of round {number} were evaluated with different {name}: "
                f"{', '.join(sorted(map(str, found)))}; evaluate the round again"
            )

    def column(name: str) -> list[list[Any]]:
        return [row[name] for row in rows]

    realised, predicted = over_members(column("discounted")), over_members(column("predicted"))
    success = None if any(row["success"] is None for row in rows) else share(column("success"))
    return {
        "round": number,
        **{name: rows[0][name] for name in SAME},
        "members": len(rows),
        "return": over_members(column("returns")),
        "discounted": realised,
        "predicted": predicted,
        "bias": paired(column("predicted"), column("discounted")),
        "ratio": _ratio(predicted, realised),
        "length": over_members(column("lengths")),
        "terminated": share(column("terminated")).mean,
        "tail": over_members(column("tail")).mean,
        "success": None if success is None else success.mean,
        "success_interval": success,
        "per_member": [_member(row) for row in rows],
    }


def _member(row: dict[str, Any]) -> dict[str, Any]:
    """One member's means, as JSON values."""

    def mean(values: Sequence[Any]) -> float | None:
        found = mean_of(values)
        return found if found == found else None

    gaps = [
        None if None in pair else pair[0] - pair[1] for pair in zip(row["predicted"], row["discounted"], strict=True)
    ]
    return {
        "member": int(row["member"]),
        "return": mean(row["returns"]),
        "discounted": mean(row["discounted"]),
        "predicted": mean(row["predicted"]),
        "bias": mean(gaps),
        "success": None if row["success"] is None else mean([float(hit) for hit in row["success"]]),
    }


def _ratio(predicted: Interval, realised: Interval) -> float | None:
    """None where the realised value may be zero or negative: a ratio then misleads."""
    return predicted.mean / realised.mean if realised.low > 0 and predicted.mean > 0 else None
