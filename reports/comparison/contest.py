"""Holding a comparison: every learner on every task over the same seeds, judged from the same start states."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fqi.errors import UserError
from fqi.log import Log, fingerprint
from fqi.reports.comparison.arena import Arena
from fqi.reports.comparison.entries import Entry
from fqi.reports.comparison.learners import Bout, compete
from fqi.reports.comparison.record import Comparison

Listen = Callable[[str, str, float, str], None]  # task, learner, the share that is done, a note


def hold(
    comparison: Comparison,
    *,
    load: Callable[[str], Log],
    save: Callable[[Log, Path], None],
    trusted: bool = False,
    listen: Listen | None = None,
) -> None:
    """Train and judge whatever is still missing; a finished cell is never touched again.

    `trusted` says that the user typed the names of environments and experts, which may then import modules.
    """
    record = comparison.record
    tasks = {task["name"]: task for task in record["tasks"]}
    learners = {learner["name"]: learner for learner in record["learners"]}
    with comparison.held():
        comparison.set_status("comparing")
        try:
            for name, cells in itertools.groupby(comparison.missing(), key=lambda key: key[0]):
                arena = _arena(record, tasks[name], load, trusted)
                for _, learner in cells:
                    bout = Bout(
                        arena=arena,
                        entry=Entry(learner, learners[learner]["kind"], learners[learner]["settings"]),
                        base=record["base"],
                        folder=comparison.artefacts(name, learner),
                        save=save,
                        tell=_teller(listen, name, learner),
                    )
                    comparison.write_cell({"task": name, "learner": learner, "kind": bout.entry.kind} | compete(bout))
        except BaseException:
            comparison.set_status("stopped")
            raise
        comparison.set_status("finished")


def _arena(record: dict[str, Any], task: dict[str, Any], load: Callable[[str], Log], trusted: bool) -> Arena:
    log = None if task["log"] is None else load(task["log"]["reference"])
    if log is not None and fingerprint(log) != task["log"]["fingerprint"]:
        raise UserError(f"{task['log']['reference']}: the log has changed since the comparison began; start a new one")
    return Arena(
        name=task["name"],
        environment=task["environment"] | {"max_episode_steps": task["limit"]},
        log=log,
        expert=task["expert"],
        seeds=tuple(range(record["seed"], record["seed"] + record["seeds"])),
        episodes=record["episodes"],
        seed=record["seed"],
        gamma=record["base"].get("gamma", 0.99),
        trusted=trusted,
    )


def _teller(listen: Listen | None, task: str, learner: str) -> Callable[[float, str], None]:
    def tell(share: float, note: str) -> None:
        if listen:
            listen(task, learner, share, note)

    return tell
