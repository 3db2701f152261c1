"""The doctor: every fault of a log, also of one that is too broken to be read as a log."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.columns import Columns, columns_of, head_of
from fqi.datasets.doctor import ends, jumps, repeats, structure, values
from fqi.datasets.doctor.finding import Finding, error, repair_command
from fqi.datasets.doctor.oracle import Oracle, oracle
from fqi.datasets.doctor.replay import Replayed, contradictions, replay
from fqi.datasets.load import load_columns
from fqi.log import Log

__all__ = ["Examination", "Finding", "check", "examine"]


@dataclass(frozen=True, eq=False)
class Examination:
    """All that the doctor found in one log."""

    findings: tuple[Finding, ...]  # errors first
    log: Log | None  # the log, if it breaks no invariant
    replayed: Replayed | None
    not_replayed: str  # why there was no replay

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        played = {"reason": self.not_replayed} if self.replayed is None else self.replayed.to_json()
        found = [finding.to_json() for finding in self.findings]
        return {"ok": not self.errors, "findings": found, "repair": repair_command(self.findings), "replay": played}


def check(subject: str | Path | Columns | Log) -> list[Finding]:
    """Every finding, errors first. A name is loaded leniently; it is an error only if there is nothing of that name."""
    return list(examine(subject).findings)


def examine(subject: str | Path | Columns | Log) -> Examination:
    """Every finding, errors first, and what was replayed."""
    if isinstance(subject, Log):
        columns = Columns("LOG", head_of(subject), columns_of(subject))
    else:
        columns = subject if isinstance(subject, Columns) else load_columns(subject)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = list(structure.reading(columns))
        log, missing = structure.try_unchecked(columns)
        findings += missing
        whole, replayed, reason = None, None, "the columns do not make a log"
        if log is None:
            findings += structure.nonfinite(columns)
        elif log.lengths.size == 0:
            findings.append(error("invariant", "lengths", "at least one episode", "none"))
        elif not structure.holds(log):
            findings += structure.invariants(log)
            findings += structure.nonfinite(columns)
        else:
            found = oracle(log)
            if isinstance(found, Oracle):
                replayed, reason = replay(found), ""
            else:
                reason = found
            broken = list(structure.invariants(log, _mended(log, replayed)))
            findings += broken
            whole = None if broken else log
            findings += _oddities(log, columns, replayed)
    named = [replace(finding, of=str(columns.source)) for finding in findings]
    ordered = tuple(sorted(named, key=lambda finding: finding.severity != "error"))
    return Examination(ordered, whole, replayed, reason)


def _mended(log: Log, replayed: Replayed | None) -> frozenset[str]:
    """The broken invariants that a repair can mend for certain."""
    known = replayed is not None and replayed.knows_ends
    last = np.cumsum(log.lengths) - 1
    open_ = ~(log.terminations[last] | log.truncations[last])
    limit = ends.known_limit(log)
    at_limit = limit is not None and bool((log.lengths[open_] == limit).all())
    names = {"not finite"} | ({"end inside an episode"} if known else set())
    return frozenset(names | ({"open episode"} if known or at_limit else set()))


def _oddities(log: Log, columns: Columns, replayed: Replayed | None) -> Iterator[Finding]:
    found = None if replayed is None else replayed.oracle
    if replayed is not None:
        yield from contradictions(replayed)
    yield from values.outside(log)
    yield from ends.ends(log, replayed)
    yield from jumps.differing(log, columns.arrays)
    yield from jumps.discontinuities(log, found)
    yield from values.constants(log)
    yield from values.outliers(log)
    yield from repeats.duplicates(log)
    if replayed is None or not replayed.shifts:
        yield from repeats.repeated_rows(log, found)
    yield from values.propensities(log)
