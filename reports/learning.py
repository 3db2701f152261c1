"""Figures of how training went inside: norms, what the greedy policy chooses, how values are spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from fqi.nest import Array
from fqi.reports.drawing import FOURTH, PREDICTED, REALISED, SOFT, THIRD, Drawn, Sheet
from fqi.reports.evidence import Evidence, Rows
from fqi.reports.words import number, percent, plural

VALUE = "value (discounted reward)"
ACTIONS = 6  # drawn one by one; the rest together
COLOURS = (REALISED, PREDICTED, THIRD, FOURTH, SOFT, "#1f2328")


def action_shares(evidence: Evidence) -> Drawn | None:
    """How often the greedy policy takes each action in the frames of the log."""
    rounds, shares = _lists(evidence.metrics, "greedy_shares")
    if not len(rounds):
        return None
    mean = shares.mean(1)  # [K, A]
    order = np.argsort(-mean.max(0), kind="stable")[:ACTIONS]
    sheet = Sheet("actions", "Actions of the greedy policy", "round", "share of the log's frames")
    for place, action in enumerate(sorted(order.tolist())):
        sheet.line(rounds, mean[:, action], COLOURS[place], f"action {action}", dashed=place % 2 == 1)
    sheet.over_rounds(rounds)
    sheet.axes.set_ylim(-0.02, 1.02)
    last = "; ".join(f"action {a} {percent(float(mean[-1, a]))}" for a in sorted(order.tolist()))
    rest = shares.shape[2] - len(order)
    more = f" The {plural(rest, 'action')} that are taken least are left out." if rest > 0 else ""
    return sheet.drawn(
        f"In how many frames of the log each action is the greedy one, mean of {plural(shares.shape[1], 'member')}. A "
        f"policy that swings from round to round has no clear preference.{more}",
        f"Line chart over rounds {rounds[0]} to {rounds[-1]}; at the last: {last}.",
    )


def spread_of_values(evidence: Evidence) -> Drawn | None:
    """The histogram of Q over the log as it moves with the rounds: where a tenth, a half, nine tenths of it lie."""
    rows = [r for r in evidence.metrics if r.get("q_counts") and None not in (r["min_q"], r["max_q"])]
    if not rows:
        return None
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    of: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["round"], []).append(row)
    rounds = np.array(sorted(of))
    found = np.array([_quantiles(of[k], quantiles) for k in sorted(of)])  # [K, 5]
    sheet = Sheet("spread", "How Q is spread over the log", "round", VALUE)
    sheet.band(rounds, found[:, 0], found[:, 4], REALISED, "90 % of all")
    sheet.band(rounds, found[:, 1], found[:, 3], REALISED, "50 %")
    sheet.line(rounds, found[:, 2], REALISED, "median")
    sheet.over_rounds(rounds)
    low, mid, high = (number(float(found[-1, i])) for i in (0, 2, 4))
    return sheet.drawn(
        "From each round's histogram of Q over all logged rows and heads. Where the band narrows to a line, states are "
        "hardly told apart any more.",
        f"Band chart over rounds {rounds[0]} to {rounds[-1]}: at the last one the median is {mid}, and nine tenths lie "
        f"between {low} and {high}.",
    )


def norms(evidence: Evidence) -> Drawn | None:
    """The size of the weights, and of the gradient when each round ends."""
    from fqi.reports.series import series

    if not any(row.get("weight_norm") is not None for row in evidence.metrics):
        return None
    sheet = Sheet("norms", "Weights and gradients", "round", "norm")
    words = []
    for name, label, colour in (("weight_norm", "weights", THIRD), ("gradient_norm", "gradient", FOURTH)):
        curve = series(evidence.metrics, name)
        if not np.isfinite(curve.values).any():
            continue
        if curve.values.shape[1] > 1:
            sheet.band(curve.rounds, curve.values.min(1), curve.values.max(1), colour)
        sheet.line(curve.rounds, curve.mean, colour, label, dashed=label == "gradient")
        sheet.over_rounds(curve.rounds)
        words.append(f"{label} {number(float(curve.mean[0]))} to {number(float(curve.mean[-1]))}")
    sheet.logarithm()
    return sheet.drawn(
        "Euclidean norm of a head's weights after each round, and of its gradient in the round's last step, targets "
        "being standardised; means over heads, bands from the lowest to the highest member.",
        f"Line chart: {'; '.join(words)}.",
    )


def _lists(rows: Rows, name: str) -> tuple[Array, Array]:
    """Rounds [K] and a list-valued metric [K, M, n]."""
    kept = [row for row in rows if row.get(name)]
    rounds, members = sorted({r["round"] for r in kept}), sorted({r["member"] for r in kept})
    of = {(r["round"], r["member"]): r[name] for r in kept}
    whole = [k for k in rounds if all((k, m) in of for m in members)]
    return np.array(whole, np.int64), np.array([[of[k, m] for m in members] for k in whole], np.float64)


def _quantiles(rows: Rows, shares: tuple[float, ...]) -> list[float]:
    """Of the histograms of all members together, linear within a part."""
    places, weights = [], []
    for row in rows:
        edges = np.linspace(row["min_q"], row["max_q"], len(row["q_counts"]) + 1)
        places.append((edges[:-1] + edges[1:]) / 2)
        weights.append(np.array(row["q_counts"], np.float64))
    place, weight = np.concatenate(places), np.concatenate(weights)
    order = np.argsort(place, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    return [float(np.interp(share, reached, place[order])) for share in shares]


FIGURES = (spread_of_values, action_shares, norms)
