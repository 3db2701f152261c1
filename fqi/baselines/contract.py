"""What a baseline leaves behind, whatever it learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fqi.log import Log
from fqi.nest import Array
from fqi.networks.population import Population
from fqi.policies import Policy

Judge = Callable[[Sequence[Policy]], Array]  # returns [P, E] of each policy from start states kept for looking on
Listen = Callable[[float, str], None]  # the share that is done, and a note


@dataclass(frozen=True, eq=False)
class Learned:
    """A policy for each seed, and what it took to get there."""

    policies: tuple[Policy, ...]  # P, one for each seed
    population: Population  # the networks that they ask
    updates: int  # gradient steps of each seed
    steps: int = 0  # environment steps that each seed took while it learned
    queries: int = 0  # states of each seed that an expert was asked to label
    curve: list[dict[str, Any]] = field(default_factory=list)  # rows with seed, steps, queries, updates, mean return …
    facts: list[dict[str, Any]] = field(default_factory=list)  # for each seed what else there is to say, by name
    logs: tuple[Log, ...] = ()  # what each seed gathered
