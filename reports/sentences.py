"""What a verdict is made of: sentences that carry their numbers, and what to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """One finding."""

    kind: str  # healthy, too high, too low, uncertain, runaway, collapse, climbing, disagreement, best, …
    level: str  # good, bad or note
    text: str  # without the full stop; `…` marks what is typed


def command(words: str, run: str, rest: str = "") -> str:
    """A command about this run, marked as typed."""
    return f"`{words} {shlex.quote(run)}{' ' + rest if rest else ''}`"


def policy(run: str, number: int, member: int | None) -> str:
    """The policy of this round, and of this member where it matters which, marked as typed."""
    return f"`{shlex.quote(f'run:{run}@{number}' + ('' if member is None else f',member={member}'))}`"


def longer(run: str, rounds: int) -> str:
    """The command that trains twice as many rounds."""
    return command("fqi train --resume", run, f"--iterations {2 * rounds}")
