"""What the returns say: the best round, a collapse, a return that still rises, members that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fqi.reports.overestimation import best_round
from fqi.reports.sentences import Sentence, longer, policy
from fqi.reports.statistics import Interval, over_members, paired
from fqi.reports.words import basis, number, plural, span, triple

# A return must fall by this share of its size (or of its range over rounds) to be called a collapse. The best of many
# rounds is partly luck, so that a significant difference alone would be found too often.
FALL = 0.1
RISE = 0.05  # likewise for a return that still rises, which costs less to be wrong about
# Best and worst member differ by this share of the return's size before their policies count as different.
APART = 0.25


def best_sentence(alike: list[dict[str, Any]], episodes: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    """Which round returned most."""
    best = best_round(alike)
    if best is None or len(alike) == 1:
        return
    earns: Interval = best["return"]
    text = f"The best round by return is {best['round']}: {triple(earns)[0]} ({span(earns)})"
    last = alike[-1]
    if best is not last:
        text += f"; the last evaluated round, {last['round']}, returns {triple(last['return'])[0]}"
        if not _change(last, best, episodes).low > 0:
            few = plural(last["members"], "member") if last["members"] > 1 else "the episodes"
            text += f", which {few} do not tell apart from it"
    yield Sentence("best", "note", text)


def collapse(
    alike: list[dict[str, Any]], episodes: Sequence[dict[str, Any]], run: str, member: int | None
) -> Iterator[Sentence]:
    """A last round that returns clearly less than the best one."""
    best, last = best_round(alike), alike[-1]
    if best is None or best is last:
        return
    drop = _change(last, best, episodes)
    if drop.low > 0 and drop.mean > FALL * _return_scale(alike):
        yield Sentence("collapse", "bad", (
            f"The policy collapsed after its peak: the return of {number(best['return'].mean)} at round "
            f"{best['round']} fell to {number(last['return'].mean)} at round {last['round']}, by {triple(drop)[0]} "
            f"({span(drop)}); the policy of the better round is {policy(run, best['round'], member)}"
        ))  # fmt: skip


def rising(alike: list[dict[str, Any]], episodes: Sequence[dict[str, Any]], run: str) -> Iterator[Sentence]:
    """A last round that returns clearly more than the one before."""
    if len(alike) < 2:
        return
    before, last = alike[-2:]
    rise = _change(before, last, episodes)
    if rise.low > 0 and rise.mean > RISE * _return_scale(alike):
        yield Sentence("climbing", "note", (
            f"The return still rises: from {number(before['return'].mean)} at round {before['round']} to "
            f"{number(last['return'].mean)} at round {last['round']}, by {triple(rise)[0]} ({span(rise)}); "
            f"train more rounds by {longer(run, last['round'])}"
        ))  # fmt: skip


def _change(before: dict[str, Any], after: dict[str, Any], episodes: Sequence[dict[str, Any]]) -> Interval:
    """How much more the later argument returns; paired where members and start states are the same."""

    def returns(judged: dict[str, Any]) -> list[list[float]]:
        own = [row for row in episodes if row["round"] == judged["round"]]
        return [row["returns"] for row in sorted(own, key=lambda row: int(row["member"]))]

    first, second = returns(before), returns(after)
    if all(before[k] == after[k] for k in ("seed", "episodes", "members")):
        return paired(second, first)
    # Other start states: the difference lies between the nearest and the furthest ends of the two intervals.
    a, b = over_members(first), over_members(second)
    few, least = min(a.episodes, b.episodes), min(a.members, b.members)
    return Interval(b.mean - a.mean, b.low - a.high, b.high - a.low, few, least, "ends of the two intervals")


def _return_scale(alike: list[dict[str, Any]]) -> float:
    """The size of the best return, or the range over rounds where that is larger: returns may be negative."""
    means: list[float] = [row["return"].mean for row in alike if row["return"].mean == row["return"].mean]
    return max(abs(max(means)), max(means) - min(means), 1e-9) if means else 1e-9


def disagreement(alike: list[dict[str, Any]], episodes: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    """Members whose returns at the last round lie far apart."""
    last = alike[-1]
    own = [row["returns"] for row in episodes if row["round"] == last["round"]]
    earned = sorted((over_members([values]) for values in own), key=lambda interval: interval.mean)
    if len(earned) < 2:
        return
    worst, best = earned[0], earned[-1]
    if best.mean - worst.mean > APART * _return_scale(alike) and best.low > worst.high:
        yield Sentence("disagreement", "bad", (
            f"Members disagree: at round {last['round']} the best returns {number(best.mean)} and the worst "
            f"{number(worst.mean)} ({basis(last['return'])}); the mean over members tells little of any one"
        ))  # fmt: skip
