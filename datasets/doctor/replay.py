"""What the replay oracle finds: steps that contradict the environment, and columns that are off by one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fqi.datasets.doctor.finding import Finding, error, warning
from fqi.datasets.doctor.oracle import Oracle, Played
from fqi.log import Log
from fqi.nest import Array

_SURE = 0.99  # share of steps that a shifted column must explain
_MOST = 0.5  # above this share of contradicted steps, it is another environment or another reward
_TRIED = 4_000  # steps on which shifts are tried
_LEAST = 20  # steps below which no shift is named
_LIMIT_HOLDS = "the environment goes on from the final frame"


@dataclass(frozen=True)
class Shift:
    """What stands in the wrong row: the value of row t is found in row t + by."""

    column: str  # "actions", "rewards", "frames"
    by: int  # 1: one row late; -1: one row early; of frames: 1: one row ahead
    own: float  # share of the steps tried that agree as they are
    moved: float  # share that agree with the neighbour's value
    tried: int


@dataclass(frozen=True, eq=False)
class Replayed:
    """The oracle's work on one log."""

    oracle: Oracle
    played: Played
    shifts: tuple[Shift, ...]

    @property
    def confirmed(self) -> bool:
        """Every step that was played agrees."""
        return bool(self.played.agree.all()) and len(self.played.rows) > 0

    @property
    def knows_ends(self) -> bool:
        """The environment explains the frames, so that what it says of ends counts."""
        aligned = all(shift.column == "rewards" for shift in self.shifts)
        return aligned and len(self.played.rows) > 0 and _share(~self.played.frames) <= _MOST

    def to_json(self) -> dict[str, Any]:
        steps = self.oracle.log.steps
        environment = (self.oracle.log.environment or {}).get("id")
        agree = int(np.count_nonzero(self.played.agree))
        return {"environment": environment, "played": len(self.played.rows), "steps": steps, "agree": agree}


def replay(oracle: Oracle) -> Replayed:
    """Play a sample of the steps again and, where they disagree, try whether a column is off by one row."""
    played = oracle.play(oracle.sample())
    shifts = tuple(_shifts(oracle, played)) if not played.agree.all() else ()
    return Replayed(oracle, played, shifts)


def contradictions(replayed: Replayed) -> Iterator[Finding]:
    """Shifts by name; else single rows that the environment contradicts."""
    played, log = replayed.played, replayed.oracle.log
    yield from _strange(replayed.oracle)
    if not len(played.rows):
        return
    for shift in replayed.shifts:
        yield _shifted(shift, log)
    moved = {shift.column for shift in replayed.shifts}
    if not moved & {"actions", "frames"}:
        yield from _contradicted(played, log)
        if "rewards" not in moved:
            yield from _contradicted_rewards(played, log)
    if replayed.knows_ends:
        yield from _contradicted_ends(replayed, log)


def _strange(oracle: Oracle) -> Iterator[Finding]:
    rows = np.flatnonzero(oracle.strange)
    if not len(rows):
        return
    expected = f"frames of {oracle.replayer.observation_space}"
    found = f"{oracle.frames[oracle.frame[rows[0]]]}"
    if len(rows) > _MOST * (len(rows) + np.count_nonzero(oracle.usable)):
        yield warning("another environment", "observations", expected, found, rows)
    else:
        yield error("contradicted rows", "observations", expected, found, rows)


def _shifted(shift: Shift, log: Log) -> Finding:
    way = {1: "ahead of", -1: "behind"} if shift.column == "frames" else {1: "late", -1: "early"}
    says = f"one row {way[shift.by]} actions and rewards" if shift.column == "frames" else f"one row {way[shift.by]}"
    found = (
        f"they stand {says}: {shift.moved:.1%} of {shift.tried:,} replayed steps agree when moved by one row, "
        f"{shift.own:.1%} as they are"
    )
    expected = f"each step to replay with its own {'frame' if shift.column == 'frames' else shift.column[:-1]}"
    column = "observations" if shift.column == "frames" else shift.column
    return error(f"{shift.column} shifted", column, expected, found, count=log.steps, repairable=True)


def _contradicted(played: Played, log: Log) -> Iterator[Finding]:
    bad = ~played.frames
    if _share(bad) > _MOST:
        found = f"{np.count_nonzero(bad):,} of {len(bad):,} replayed steps end elsewhere"
        environment = (log.environment or {}).get("id")
        rows = played.rows[bad]
        yield warning("another environment", "observations", f"the dynamics of {environment}", found, rows)
    elif bad.any():
        expected = "the frame to which the action leads in the environment"
        yield error("contradicted rows", "observations", expected, _of(played, bad, log), played.rows[bad])


def _contradicted_rewards(played: Played, log: Log) -> Iterator[Finding]:
    bad = ~played.rewards & played.frames
    if not bad.any():
        return
    rows = played.rows[bad]
    found = f"{log.rewards[rows[0]]:.6g} where the environment gives {played.reward[bad][0]:.6g}"
    if _share(bad[played.frames]) > _MOST:
        yield warning("another reward", "rewards", f"the rewards of {(log.environment or {}).get('id')}", found, rows)
    else:
        expected = "the reward that the environment gives"
        yield error("contradicted rows", "rewards", expected, f"{found}; {_of(played, bad, log)}", rows)


def _contradicted_ends(replayed: Replayed, log: Log) -> Iterator[Finding]:
    played = replayed.played
    bad = ~played.ends & played.frames
    false = played.rows[bad & log.terminations[played.rows]]
    if len(false):
        length = int(log.lengths[log.episode_of_step[false[0]]])
        expected = f"no termination, since {_LIMIT_HOLDS}"
        found = f"terminated after {length:,} steps"
        yield error("false termination", "terminations", expected, found, false, repairable=True)
    missed = played.rows[bad & ~log.terminations[played.rows]]
    if len(missed):
        where = "truncated alone" if replayed.oracle.last[missed[0]] else "a further step in the same episode"
        yield error("missed termination", "terminations", "a termination, as in the environment", where, missed,
                    repairable=True)  # fmt: skip


def _of(played: Played, bad: Array, log: Log) -> str:
    whole = "all" if len(played.rows) == log.steps else f"a sample of {len(played.rows):,} of {log.steps:,}"
    return f"{np.count_nonzero(bad):,} of {whole} replayed steps disagree"


def _share(flags: Array) -> float:
    return float(np.count_nonzero(flags)) / max(1, len(flags))


# ---- shifts by one row


def _shifts(oracle: Oracle, played: Played) -> Iterator[Shift]:
    log = oracle.log
    inner = np.flatnonzero(oracle.usable & ~oracle.first & ~oracle.last)
    inner = inner[oracle.usable[inner - 1] & oracle.usable[inner + 1]]
    inner = inner[:: max(1, len(inner) // _TRIED)]
    if len(inner) < _LEAST:
        return
    plays = {0: oracle.play(inner)}
    if not plays[0].frames.all():
        plays |= {by: oracle.play(inner, log.actions[inner + by]) for by in (1, -1)}
    explained = {by: _share(p.frames) for by, p in plays.items()}
    actions = _best(explained)
    rows = inner[plays[actions].frames]
    if len(rows) < _LEAST:
        return
    taken = log.actions[rows + actions]
    earned = {by: _share(oracle.play(rows, taken, log.rewards[rows + by], nudge=False).rewards) for by in (0, 1, -1)}
    rewards = _best(earned)
    if actions and (rewards == actions or (earned[0] == earned[actions] and _ends_move(oracle, actions))):
        yield Shift("frames", actions, explained[0], explained[actions], len(inner))
        return
    if actions:
        yield Shift("actions", actions, explained[0], explained[actions], len(inner))
    if rewards:
        yield Shift("rewards", rewards, earned[0], earned[rewards], len(rows))
    elif not actions and (rewards := _rolled_rewards(oracle, played)):
        yield Shift("rewards", rewards, _share(played.rewards), 1.0, len(played.rows))


def _best(shares: dict[int, float]) -> int:
    """The shift that explains nearly all, if it explains more than none does."""
    best = max(shares, key=lambda k: (shares[k], k == 0))
    return best if shares[best] >= _SURE and shares[best] > shares[0] else 0


def _rolled_rewards(oracle: Oracle, played: Played) -> int:
    """Rewards that differ at the ends alone (as a goal's do): rolled back by a row they explain every step."""
    rows = played.rows
    if played.rewards.all() or not played.frames.all():
        return 0
    for by in (1, -1):
        for moved in rolled(oracle.log, oracle.log.rewards, by).values():
            if oracle.play(rows, rewards=moved[rows]).rewards.all():
                return by
    return 0


def rolled(log: Log, column: Array, by: int) -> dict[str, Array]:
    """The column [N, …] moved so that row t holds what stood in row t + by, in two ways at the ends of episodes."""
    order = np.arange(log.steps)
    starts = log.starts[log.episode_of_step]
    lengths = log.lengths[log.episode_of_step]
    within = starts + (order - starts + by) % lengths
    return {"log": column[(order + by) % log.steps], "episode": column[within]}


def _ends_move(oracle: Oracle, by: int) -> bool:
    """Whether terminations belong to the neighbouring row, too: then it is the frames that are off."""
    log = oracle.log
    lasts = np.cumsum(log.lengths) - 1
    rows = lasts[log.terminations[lasts] & (log.lengths > 2)][:_TRIED]
    rows = rows - 1 if by == 1 else rows
    rows = rows[oracle.usable[rows] & oracle.usable[rows + by]]
    if not len(rows):
        return False
    ended = oracle.play(rows, log.actions[rows + by]).terminated
    share = _share(ended)
    return share > 0.5 if by == 1 else share < 0.5
