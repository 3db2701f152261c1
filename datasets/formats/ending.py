"""How the episodes of a table end, by whichever flags it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fqi.datasets.formats.ordering import Rows
from fqi.datasets.formats.sheet import Sheet
from fqi.errors import UserError
from fqi.nest import Array


@dataclass(frozen=True)
class Ends:
    """[M] each: what happens at the last row of an episode."""

    termination: Array
    truncation: Array
    final: Array  # the row is itself the final frame and no step
    given: Array  # the final frame is given by the columns of next observations


def ends(sheet: Sheet, rows: Rows) -> Ends:
    lasts = rows.lasts
    if sheet.options.is_last is not None:
        return _rlds_ends(sheet, rows)
    termination, truncation = _end_flags(sheet, rows)
    neither = ~(termination | truncation)
    if sheet.options.ends == "termination":
        termination |= neither
        sheet.note("episodes that end without a flag, read as terminated", np.count_nonzero(neither))
    else:
        truncation |= neither
        sheet.note("episodes that end without a flag, read as cut", np.count_nonzero(neither))
    given = sheet.next_present()[rows.order][lasts]
    final = truncation & ~termination & ~given
    sheet.note("cut episodes without a final frame: their last row gives it and is no step", np.count_nonzero(final))
    missing = termination & ~given
    sheet.note(
        "terminated episodes without a final frame: their last one is repeated, which no target reads",
        np.count_nonzero(missing),
    )
    return Ends(termination, truncation, final, given)


def _end_flags(sheet: Sheet, rows: Rows) -> tuple[Array, Array]:
    lasts, lengths = rows.lasts, rows.lengths
    found = {}
    for role in ("termination", "truncation"):
        name = getattr(sheet.options, role)
        found[role] = _at_ends(sheet, rows, role) if name is not None else np.zeros(len(lasts), np.bool_)
    if sheet.options.done is not None:
        done = _at_ends(sheet, rows, "done")
        if sheet.options.time_limit is not None:
            over = lengths > sheet.options.time_limit
            if over.any():
                episode = int(np.flatnonzero(over)[0])
                row = rows.row(int(rows.starts[episode]) + sheet.options.time_limit)
                raise UserError(
                    f"{sheet.source}: row {row}: episode {rows.ids[episode]!r} has {lengths[episode]} steps, "
                    f"more than the time limit of {sheet.options.time_limit}"
                )
            cut = done & (lengths == sheet.options.time_limit)
            found["truncation"] |= cut
            found["termination"] |= done & ~cut
        elif sheet.options.done_means is not None:
            found[sheet.options.done_means] |= done
        else:  # one of both is known: what is done and not that one is the other
            known = "termination" if sheet.options.termination is not None else "truncation"
            other = "truncation" if known == "termination" else "termination"
            found[other] |= done & ~found[known]
    return found["termination"], found["truncation"]


def _at_ends(sheet: Sheet, rows: Rows, role: str) -> Array:
    """[M] the flag in each episode's last row; it may be set nowhere else."""
    flags = sheet.flag(role)[rows.order]
    inside = flags.copy()
    inside[rows.lasts] = False
    if inside.any():
        at = int(np.flatnonzero(inside)[0])
        episode = rows.ids[int(np.searchsorted(rows.starts, at, "right")) - 1]
        found = f"one, though episode {episode!r} goes on after it"
        raise sheet.fault(getattr(sheet.options, role), "no end inside an episode", found, rows.row(at))
    return np.asarray(flags[rows.lasts])


def _rlds_ends(sheet: Sheet, rows: Rows) -> Ends:
    last = sheet.flag("is_last")[rows.order]
    if sheet.options.is_first is not None:
        first = sheet.flag("is_first")[rows.order]
        expected = np.zeros(len(first), np.bool_)
        expected[rows.starts] = True
        _same_flags(sheet, rows, first, expected, "is_first", "an episode's first row")
    expected = np.zeros(len(last), np.bool_)
    expected[rows.lasts] = True
    _same_flags(sheet, rows, last | expected, expected, "is_last", "an episode's last row")
    sheet.note("episodes without a last row marked, read as cut", np.count_nonzero(~last[rows.lasts]))
    if sheet.options.termination is None:
        raise UserError(f"{sheet.source}: which column is is_terminal? name it by --termination COLUMN")
    termination = _at_ends(sheet, rows, "termination")
    every = np.ones(len(rows.starts), np.bool_)
    return Ends(termination, ~termination, every, ~every)


def _same_flags(sheet: Sheet, rows: Rows, found: Array, expected: Array, role: str, where: str) -> None:
    if (found != expected).any():
        at = int(np.flatnonzero(found != expected)[0])
        name = getattr(sheet.options, role)
        why = f"{bool(expected[at])}, since this is {'' if expected[at] else 'not '}{where}"
        raise sheet.fault(name, why, bool(found[at]), rows.row(at))
