"""Repairs of a log: asked for by name, never in place, and only what can be mended with certainty.

A repair takes a log whose birth was not checked and gives another, with what it did in words; it refuses, with the
reason, where the log leaves more than one possibility. What the environment can tell, the replay oracle proves: a shift
is undone only if every step of the outcome replays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fqi.datasets.check import examine
from fqi.datasets.columns import Columns, columns_of, head_of
from fqi.datasets.doctor import mending, shifting, structure
from fqi.datasets.doctor.finding import WHY, Finding, slug
from fqi.datasets.load import load_columns
from fqi.errors import UserError
from fqi.log import Log, fingerprint

Repair = Callable[[Log], tuple[Log, str]]


@dataclass(frozen=True, eq=False)
class Repaired:
    """A sound log, and what was done to it."""

    log: Log
    done: tuple[dict[str, str], ...]  # {"name", "did"} of each repair, in order
    left: tuple[Finding, ...]  # warnings that remain


def repair(reference: str | Path, names: Sequence[str]) -> Repaired:
    """The log with these findings mended. One sentence where one of them is not there, or cannot be mended for certain,
    or where something else would still keep it from being a log."""
    wanted = [_known(name) for name in names]
    columns = load_columns(reference)
    log = _whole(columns)
    done = []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [name for name in REPAIRS if name in wanted]:
            before = _findings(log)
            if name not in before:
                raise UserError(f"{reference}: there is no finding {slug(name)!r} to mend; `fqi data check` lists them")
            log, did = REPAIRS[name](log)
            done.append({"name": name, "did": did})
            if not log.episodes:
                raise UserError(f"{reference}: {slug(name)}: nothing would be left of the log")
            _judge(reference, name, before, _findings(log), wanted)
    return _born(reference, columns, log, done)


def _findings(log: Log) -> dict[str, str]:
    """The names of the log's findings, and how severe each is."""
    found = examine(Columns("log", head_of(log), columns_of(log))).findings
    return {finding.name: finding.severity for finding in reversed(found)}


def _judge(
    reference: str | Path, name: str, before: dict[str, str], after: dict[str, str], wanted: Sequence[str]
) -> None:
    """Refuse a repair that does not mend, or that brings another error to light which is left as it is."""
    if name in after:
        raise UserError(f"{reference}: {slug(name)}: the finding would remain, so nothing was repaired")
    new = [slug(n) for n, severity in after.items() if severity == "error" and n not in before and n not in wanted]
    if new:
        raise UserError(f"{reference}: {slug(name)}: mending it shows {new[0]} as well; name that, too, by --only")


def _known(name: str) -> str:
    words = name.replace("-", " ")
    if words in REPAIRS:
        return words
    if words in _REASONS:
        raise UserError(f"--only {name}: it cannot be mended with certainty: {_REASONS[words]}")
    if words in WHY:
        raise UserError(f"--only {name}: it cannot be mended with certainty; `fqi data check` says what else to do")
    raise UserError(f"--only {name}: there is no such finding; what can be mended is {', '.join(map(slug, REPAIRS))}")


def _whole(columns: Columns) -> Log:
    """The log, if all of it could be read and its rows can be told apart."""
    for name, problem in columns.problems.items():
        raise UserError(f"{columns.source}: {name} cannot be read, so nothing can be repaired for certain: {problem}")
    for name, (recorded, found) in columns.checksums.items():
        if recorded != found:
            raise UserError(
                f"{columns.source}: {name} was changed or damaged after it was written, and nobody knows where: take "
                "another copy or collect it again"
            )
    log = structure.unchecked(columns)
    if log is None or not structure.holds(log):
        raise UserError(
            f"{columns.source}: its columns do not fit together, so nothing can be repaired for certain; "
            "`fqi data check` says where: convert the source again"
        )
    return log


def _born(reference: str | Path, columns: Columns, log: Log, done: list[dict[str, str]]) -> Repaired:
    """The repaired log, checked as any log is, with what was done in its provenance."""
    before = columns.head.provenance if columns.head else {}
    original = structure.unchecked(columns)
    note = {"of": str(reference), "checksum": None if original is None else fingerprint(original), "repairs": done}
    try:
        # How it was collected lies below `before`: a repaired collection must not be gone on with.
        born = Log(**{**vars(log), "provenance": {"repaired": note, "before": before}})
    except UserError as error:
        raise UserError(f"{reference}: after these repairs it is no log yet: {error}; name more by --only") from error
    return Repaired(born, tuple(done), tuple(examine(born).findings))


# In the order in which they are done: a later one trusts what an earlier one has mended.
REPAIRS: dict[str, Repair] = {
    "not finite": mending.not_finite,
    "frames shifted": shifting.frames_shifted,
    "actions shifted": shifting.actions_shifted,
    "rewards shifted": shifting.rewards_shifted,
    "end inside an episode": mending.ends_inside,
    "open episode": mending.open_episodes,
    "false termination": mending.false_terminations,
    "missed termination": mending.missed_terminations,
    "both ends": mending.both_ends,
    "duplicate episodes": mending.duplicates,
}
_REASONS = {
    "invariant": "columns of the wrong length or type can be read in more than one way",
    "unreadable": "what cannot be read is not known",
    "checksum": "what a damaged column held is not known",
    "merged ends": "episodes of the same length need not have been cut; only a replay in the environment proves it",
    "contradicted rows": "which of frame, action, reward and next frame is wrong is not known",
    "discontinuity": "whether it is a glitch, a join or a true jump is not known",
    "next frame differs": "where the row belongs is not known",
    "action outside the space": "which action was taken is not known",
    "propensity": "with which probability the action was taken is not known",
    "propensities that do not add up": "which of them is wrong is not known",
    "reward outlier": "it may be a true reward",
    "repeated rows": "a state of rest repeats as well",
}
