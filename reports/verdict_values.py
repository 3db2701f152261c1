"""Whether predicted values agree with what the policy earns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fqi.reports.sentences import Sentence, command
from fqi.reports.statistics import Interval
from fqi.reports.words import basis, number, percent, span, triple

# A bias must be told apart from zero by its interval and also matter: a tenth of what is earned changes few decisions.
CLOSE = 0.1
# An interval that reaches further than this from zero is too wide to call values right.
WIDE = 0.25
LARGEST_RATIO = 100.0  # beyond it a ratio says only that the denominator is small


def state(row: dict[str, Any], scale: float) -> str:
    """The bias of a round in a word."""
    bias: Interval = row["bias"]
    if bias.mean != bias.mean:
        return "not finite"
    if bias.low != bias.low:
        return "uncertain"
    if bias.low > 0 and bias.mean > CLOSE * scale:
        return "too high"
    if bias.high < 0 and bias.mean < -CLOSE * scale:
        return "too low"
    return "healthy" if max(abs(bias.low), abs(bias.high)) <= WIDE * scale else "uncertain"


def scale(row: dict[str, Any], episodes: Sequence[dict[str, Any]], width: float) -> float:
    """What differences in value are held against: never zero where values themselves are."""
    realised = np.array([v for e in episodes if e["round"] == row["round"] for v in e["discounted"]], np.float64)
    spread = float(realised.std()) if np.isfinite(realised).all() else 0.0
    return max(abs(float(row["discounted"].mean)), spread, 0.01 * width, 1e-9)


def sentence(alike: list[dict[str, Any]], states: list[str], run: str) -> Sentence:
    """What the bias at the last of these rounds comes to; `states` holds the state of each."""
    last, found = alike[-1], states[-1]
    bias: Interval = last["bias"]
    at, off = f"at round {last['round']}", abs(bias.mean)
    numbers = (
        f"predicted {number(last['predicted'].mean)}, realised {number(last['discounted'].mean)}, "
        f"bias {triple(bias, sign=True)[0]} ({span(bias)})"
    )
    if found in ("too high", "too low"):
        ratio = last["ratio"]
        if ratio is None or ratio > LARGEST_RATIO:
            size = number(off)
        elif ratio >= 1.5:
            size = f"{number(round(ratio, 1))}x"
        else:
            size = percent(abs(ratio - 1))
        return Sentence(found, "bad", f"Values are {size} {found}{_since(alike, states)}: {at} {numbers}")
    if found == "healthy":
        reach = max(abs(bias.low), abs(bias.high))
        realised: Interval = last["discounted"]
        apart = realised.low > 0 or realised.high < 0
        size = percent(reach / abs(realised.mean)) if apart and reach < abs(realised.mean) else number(reach)
        text = f"At round {last['round']} the values are within {size} of what the policy earns: {numbers}"
        return Sentence(found, "good", text)
    if found == "not finite":
        return Sentence(found, "bad", f"Some values {at} are not finite numbers ({basis(bias)})")
    more = (
        f"type {command('fqi evaluate', run, f'--episodes {4 * bias.episodes}')}"
        if bias.members == 1
        else f"train more members than {bias.members} by --seeds"
    )
    return Sentence(found, "note", f"Whether the values are right {at} cannot be told yet: {numbers}; {more}")


def _since(alike: list[dict[str, Any]], states: list[str]) -> str:
    """Since which evaluated round it has been so."""
    first = len(states) - 1
    while first and states[first - 1] == states[-1]:
        first -= 1
    if len(alike) == 1:
        return ""
    if first == 0:
        return f" at every evaluated round, {alike[0]['round']} to {alike[-1]['round']}"
    return f" from round {alike[first]['round']} on"
