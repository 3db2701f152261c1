"""What figures are drawn from: the rows that a run has logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """Rows as they stand in the run's files."""

    metrics: Rows
    evaluations: Rows  # of the rounds in `judged`
    judged: Rows  # comparable rounds, in order
    states: Rows = field(default_factory=list)
    exact: Rows = field(default_factory=list)
    audit: Rows = field(default_factory=list)
    policy_values: Rows = field(default_factory=list)
