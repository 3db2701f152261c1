"""Made-up comparisons: nothing in them was ever trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fqi.reports.comparison.record import REFERENCES, Comparison

EPISODES = 6
# name: (kind, normalised score, spread over seeds)
LEARNERS: dict[str, tuple[str, float, float]] = {
    "fqi": ("fqi", 0.9, 0.02),
    "fqi:target=double,n-step=3": ("fqi", 0.85, 0.05),
    "bc": ("bc", 0.5, 0.05),
    "offline-dqn": ("offline-dqn", 0.7, 0.15),
    "dagger": ("dagger", 0.97, 0.01),
    "dqn": ("dqn", 0.9, 0.1),
    "mixed": ("behaviour", 0.4, 0.2),
    "random": ("random", 0.0, 0.0),
    "expert": ("expert", 1.0, 0.0),
}


def task(name: str = "Made-up-v0", **more: Any) -> dict[str, Any]:
    log = {"reference": "logs/x.h5", "fingerprint": "f00d", "steps": 5000, "episodes": 70, "behaviours": ["mixed"]}
    return {"name": name, "environment": {"id": name}, "log": log, "expert": "scripted", "limit": 500} | more


def created(path: Path, tasks: list[dict[str, Any]] | None = None, seeds: int = 5, **more: Any) -> Comparison:
    entries = [
        {"name": name, "kind": kind, "settings": {} if kind in REFERENCES else {"gamma": 0.99, "updates": 600}}
        for name, (kind, *_) in LEARNERS.items()
    ]
    given: dict[str, Any] = {
        "command": ["fqi", "compare", "bc", "dagger", "dqn", "--seeds", str(seeds)], "seeds": seeds,
        "episodes": EPISODES, "seed": 0, "tasks": [task()] if tasks is None else tasks, "learners": entries,
    }  # fmt: skip
    return Comparison.create(path, **given | more)


def cell(task: str, learner: str, seeds: int = 5, **more: Any) -> dict[str, Any]:
    """A cell of invented returns between 20 and 500."""
    kind, middle, spread = LEARNERS[learner]
    rows = 1 if kind in REFERENCES else seeds
    generator = np.random.default_rng([len(task), *learner.encode()])
    share = np.minimum(1.0, middle + spread * generator.normal(size=(rows, 1)))
    returns = 20 + 480 * np.minimum(1.0, share + 0.1 * spread * generator.normal(size=(rows, EPISODES)))
    found: dict[str, Any] = {
        "task": task, "learner": learner, "kind": kind, "seeds": None if kind in REFERENCES else list(range(rows)),
        "returns": returns.tolist(), "discounted": (0.2 * returns).tolist(), "lengths": returns.round().tolist(),
    }  # fmt: skip
    if kind not in REFERENCES:
        online = kind in ("dqn", "dagger")
        found |= {
            "rows": 0 if online else 5000, "steps": 6000 if online else 0, "queries": 2000 if kind == "dagger" else 0,
            "updates": 600, "network": "mlp 2x64", "seconds": 1.5,
        }  # fmt: skip
        unit = {"dqn": "steps", "dagger": "iteration"}.get(kind, "round")
        found["curve"] = [{"seed": s, unit: i, "return": 20.0 + 4 * i + s} for s in range(rows) for i in (10, 20, 30)]
    if kind in ("fqi", "dqn"):
        found["predicted"] = (0.25 * returns).tolist()
    if kind in ("bc", "dagger"):
        found["facts"] = [{"agreement_log": 0.9 + 0.01 * s, "agreement_own": 0.7} for s in range(rows)]
    return found | more


def filled(path: Path, tasks: int = 1, seeds: int = 5, leave: tuple[str, ...] = (), **changes: Any) -> Comparison:
    """A whole comparison but for the learners in `leave`; `changes` by learner with _ for - replace parts of cells."""
    names = [f"Made-up-v{i}" for i in range(tasks)]
    comparison = created(path, [task(name) for name in names], seeds)
    for name in names:
        for learner in LEARNERS:
            if learner not in leave:
                comparison.write_cell(cell(name, learner, seeds, **changes.get(learner.replace("-", "_"), {})))
    comparison.set_status("interrupted" if leave else "finished")
    return comparison
