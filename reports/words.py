"""Numbers as words of a report: the same digits in sentences, tables and on axes."""

from __future__ import annotations

import math
from typing import Any

from fqi.reports.statistics import Interval

MISSING = "–"


def number(value: Any, sign: bool = False) -> str:
    """Four significant digits, or a dash where there is no number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value != value:
        return MISSING
    size = abs(value)
    if math.isinf(size):
        text = "∞"
    elif isinstance(value, int):
        text = f"{size:,}"
    elif size and (size >= 1e6 or size < 1e-4):
        text = f"{size:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e−").replace("e-", "e−")
    elif size >= 1000:
        text = f"{size:,.0f}"
    else:
        text = f"{size:.4g}"
    return ("−" if value < 0 and text != "0" else "+" if sign and value > 0 else "") + text


def percent(share: Any) -> str:
    """A share in percent."""
    if share is None or share != share:
        return MISSING
    size = 100 * abs(share)
    text = f"{size:.0f}" if size >= 9.95 else f"{size:.2g}"
    return ("−" if share < 0 and text != "0" else "") + text + " %"


def triple(interval: Interval, sign: bool = False) -> tuple[str, str, str]:
    """Mean, low and high with the same decimals: as many as tell the ends of the interval apart by two digits."""
    parts = (interval.mean, interval.low, interval.high)
    reach = interval.high - interval.mean
    if not all(math.isfinite(part) for part in parts) or not 1e-4 <= reach < 1e6 or abs(interval.mean) >= 1e6:
        mean, low, high = (number(part, sign) for part in parts)
    else:
        decimals = max(0, 1 - math.floor(math.log10(reach)))
        mean, low, high = (_fixed(part, decimals, sign) for part in parts)
    return mean, low, high


def _fixed(value: float, decimals: int, sign: bool) -> str:
    text = f"{abs(value):,.{decimals}f}"
    zero = not any(digit in text for digit in "123456789")
    return ("" if zero else "−" if value < 0 else "+" if sign else "") + text


def span(interval: Interval) -> str:
    """The 95 % interval and what it rests on."""
    if interval.low != interval.low:
        return f"no interval; {basis(interval)}"
    _, low, high = triple(interval)
    return f"95 % interval {low} to {high}; {basis(interval)}"


def basis(interval: Interval) -> str:
    """How many episodes and members a number rests on."""
    return f"{plural(interval.episodes, 'episode')} × {plural(interval.members, 'member')}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def title(key: str) -> str:
    """A key of a record as words."""
    return key.replace("_", " ")
