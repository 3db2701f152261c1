"""A finding: what is wrong or odd, where, what it does to fitted Q-iteration, and how it is mended."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fqi.nest import Array

FIRST = 10  # rows that a finding names

# What each does to the targets y = return + discount * V(next frame), or to the regression on them.
WHY = {
    "unreadable": "no target can be computed from it",
    "missing column": "without it there is no y = return + discount * V(next frame)",
    "checksum": "the column was changed or damaged after it was written, so any y computed from it may be wrong",
    "not finite": "one such number makes its y, and by the next regression every y, not a number",
    "invariant": "y would be computed from rows that do not belong together",
    "end inside an episode": "the discount of a terminated step is 0, so y there leaves out a value that goes on",
    "open episode": "nobody knows whether the discount of its last step is 0 or not, and with it the last y",
    "both ends": "termination wins: the discount is 0 and y the return alone, even if the episode was only cut",
    "false termination": "the discount is 0, so y leaves out the value of a final frame from which life goes on",
    "missed termination": "y adds discount * V(final frame), a value that no data corrects, and it spreads backwards",
    "merged ends": "if these episodes were only cut, their last y leaves out discount * V(final frame)",
    "never terminated": "every y bootstraps, so that values rest on nothing but discount: check that ends are recorded",
    "longer than the limit": "an end may be lost, and y then bootstraps from the first frame of another episode",
    "actions shifted": "each y is learned for an action that was not taken in its frame",
    "rewards shifted": "each y holds the return of a neighbouring step",
    "frames shifted": "each y is learned for a frame in which neither its action was taken nor its reward earned",
    "contradicted rows": "y joins a frame, an action, a reward and a next frame that do not belong together",
    "another environment": "y describes other dynamics than those in which the policy will be evaluated",
    "another reward": "y adds up other rewards than those by which the policy will be evaluated",
    "discontinuity": "y bootstraps from a frame that the action hardly led to: a join of episodes or a glitch",
    "next frame differs": "y bootstraps from the following row, which is not the frame that the action led to",
    "outside the observation space": "scaling by the declared bounds misleads, and V is asked where it never learned",
    "action outside the space": "y is learned for an action that the maximum in V never looks at",
    "action not allowed": "y is learned for an action that the maximum in V leaves out by the mask",
    "constant column": "the regression on y learns nothing from it",
    "unscaled columns": "unless each column is scaled, a regression fits y to the large ones and overlooks the small",
    "reward outlier": "one y far from all others draws the squared error of the whole regression to itself",
    "duplicate episodes": "their y count twice in every regression, and leak from training to held-out rows",
    "repeated rows": "the same y counts twice, and one of the two bootstraps from its own frame",
    "propensity": "weights by importance sampling would be wrong or huge; y itself does not depend on it",
    "propensities that do not add up": "weights by importance sampling would be biased; y itself does not depend on it",
}
_MEND = {
    "unreadable": "take another copy, or convert the source again",
    "missing column": "convert the source again with that column",
    "checksum": "take another copy, or collect it again",
    "not finite": "look for the numbers in the source, and convert it again",
    "invariant": "convert the source again; a column of another length or type cannot be mended for certain",
    "end inside an episode": "split the episode there in the source, or clear the flag, and convert again",
    "open episode": "record in the source whether it terminated or was truncated, and convert again",
    "both ends": "record in the source which of the two it was, and convert again",
    "false termination": "record truncations apart from terminations in the source, and convert again",
    "missed termination": "record terminations apart from truncations in the source, and convert again",
    "merged ends": "record truncations apart from terminations in the source, and convert again",
    "never terminated": "look whether the source knows how its episodes ended; if none ever terminates, all is well",
    "longer than the limit": "look at the source for an end that was lost, or correct max_episode_steps",
    "actions shifted": "move the actions by one row in the source, and convert again",
    "rewards shifted": "move the rewards by one row in the source, and convert again",
    "frames shifted": "move the frames by one row in the source, and convert again",
    "contradicted rows": "look at these rows in the source: which of frame, action and reward is wrong is not known",
    "another environment": "name the environment and the arguments that the log was collected with",
    "another reward": "nothing if the rewards were shaped or scaled on purpose; else convert the source again",
    "discontinuity": "look at these frames in the source",
    "next frame differs": "cut the episode before such a row in the source, and convert again",
    "outside the observation space": "widen the bounds of the space, or mend the unit in the source",
    "action outside the space": "correct the action space or the action in the source, and convert again",
    "action not allowed": "correct the mask or the action in the source, and convert again",
    "constant column": "nothing, or leave the column out in the source",
    "unscaled columns": "scale the columns in the source, or use a regressor that scales each column by itself",
    "reward outlier": "look at these rewards in the source; if they are real, leave them",
    "duplicate episodes": "leave them out in the source, and convert again",
    "repeated rows": "look at these rows in the source",
    "propensity": "correct the propensities in the source, or leave the column out",
    "propensities that do not add up": "correct the propensities in the source, or leave the column out",
}


@dataclass(frozen=True)
class Finding:
    """One fault or oddity, in one place."""

    name: str
    severity: str  # "error": something is wrong; "warning": look at it
    column: str
    rows: tuple[int, ...]  # the first ten
    count: int
    expected: str
    found: str
    repairable: bool = False  # `fqi data repair` mends it for certain
    of: str = "LOG"  # the log's name, for the command

    @property
    def why(self) -> str:
        """Why it matters for the target."""
        return WHY[self.name]

    @property
    def mend(self) -> str:
        """The command that mends it, or what else to do."""
        if not self.repairable:
            return _MEND[self.name]
        return _command(self.of, [self.name])

    def __str__(self) -> str:
        where = "" if not self.rows else f" row {self.rows[0]}:" if self.count == 1 else f" {self.count:,} rows:"
        rows = f" (rows {', '.join(map(str, self.rows))}{', …' if self.count > len(self.rows) else ''})"
        return (
            f"{self.severity}: {self.name}: {self.column}:{where} expected {self.expected}, found {self.found}"
            f"{rows if self.count > 1 and self.rows else ''}; {self.why}"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rows": list(self.rows), "why": self.why, "mend": self.mend}


def slug(name: str) -> str:
    """A finding's name as it is typed."""
    return name.replace(" ", "-")


def repair_command(findings: Iterable[Finding]) -> str | None:
    """The one command that mends all that can be mended for certain; None where there is nothing of that kind."""
    some = [finding for finding in findings if finding.repairable]
    return _command(some[0].of, list(dict.fromkeys(finding.name for finding in some))) if some else None


def _command(log: str, names: list[str]) -> str:
    only = [word for name in names for word in ("--only", slug(name))]
    return shlex.join(["fqi", "data", "repair", log, *only, "--out", repaired_name(log)])


def repaired_name(log: str) -> str:
    """Where the repaired log goes, unless the user says otherwise."""
    path = Path(log.rpartition(":")[2].rstrip("/") or "log")
    return str(path.with_name(f"{path.name.removesuffix('.h5')}-repaired.h5"))


def error(name: str, column: str, expected: str, found: object, rows: Array | None = None, **more: Any) -> Finding:
    return _finding("error", name, column, expected, found, rows, **more)


def warning(name: str, column: str, expected: str, found: object, rows: Array | None = None, **more: Any) -> Finding:
    return _finding("warning", name, column, expected, found, rows, **more)


def _finding(
    severity: str, name: str, column: str, expected: str, found: object, rows: Array | None, *,
    count: int | None = None, repairable: bool = False,
) -> Finding:  # fmt: skip
    first = () if rows is None else tuple(int(row) for row in rows[:FIRST])
    number = (1 if rows is None else len(rows)) if count is None else count
    return Finding(name, severity, column, first, number, expected, str(found), repairable)
