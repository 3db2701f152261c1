"""What each kind of learner does with a task: train over all seeds, play, and say what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.baselines.cloning import clone
from fqi.baselines.contract import Learned
from fqi.baselines.dagger import dagger
from fqi.baselines.dqn import dqn, offline_dqn
from fqi.baselines.person import Person, watched
from fqi.baselines.saved import save_learned
from fqi.errors import UserError
from fqi.log import Log
from fqi.networks.population import Population
from fqi.policies import Policy, Uniform
from fqi.reports.comparison.arena import LOOKS, PERSON, Arena
from fqi.reports.comparison.entries import Entry, settings_of
from fqi.reports.comparison.shift import shift
from fqi.reports.evaluation import evaluate, spread
from fqi.rollout import Played
from fqi.run import Run
from fqi.settings import Config
from fqi.slots import Slots
from fqi.training import configure, resume, train

CURVE = 10  # rounds of fitted Q-iteration that are evaluated


@dataclass(frozen=True, eq=False)
class Bout:
    """One learner on one task."""

    arena: Arena
    entry: Entry
    base: Mapping[str, Any]  # settings of fitted Q-iteration unless the learner has its own
    folder: Path  # where it may keep what it makes
    save: Callable[[Log, Path], None]
    tell: Callable[[float, str], None]  # the share that is done, and a note

    def place(self, name: str) -> str:
        """Where something of its folder lies in the comparison."""
        return f"{self.folder.parent.name}/{self.folder.name}/{name}"

    def actions(self) -> gym.Space[Any]:
        """The environment's actions."""
        slots = self.arena.slots(1)
        slots.close()
        return slots.action_space

    def log(self) -> Log:
        """The log to learn from."""
        if self.arena.log is None:
            raise UserError(f"{self.entry.name} learns from a log, and {self.arena.name} has none")
        return self.arena.log

    def shared(self) -> dict[str, Any]:
        """What all networks have in common unless told otherwise: that of fitted Q-iteration."""
        config = fitted_config(self.base, {}, self.arena)
        if config is None or config.train.regressor != "mlp":
            return {}
        network = config.regressor
        total = config.train.iterations * network.updates
        return {"width": network.width, "depth": network.depth} | (
            {"updates": total} if self.entry.kind in ("bc", "offline-dqn") else {}
        )


def compete(bout: Bout) -> dict[str, Any]:
    """The cell of this learner on this task."""
    return _KINDS[bout.entry.kind](bout)


def _fitted(bout: Bout) -> dict[str, Any]:
    """Fitted Q-iteration, in a run directory of its own that goes on where it was stopped."""
    log, path = bout.log(), bout.folder / "run"
    config = fitted_config(bout.base, bout.entry.given, bout.arena)
    if config is None:
        raise UserError(f"{bout.entry.name} needs Discrete actions, found {log.action_space}")
    K, clock = config.train.iterations, time.perf_counter()

    def listen(number: int, _: list[dict[str, Any]]) -> None:
        bout.tell(number / K, f"round {number}")

    if (path / "run.json").exists():
        run = resume(Run.open(path), log, listen=listen)
    else:
        run = train(log, config, path, listen=listen)
    return _played_run(bout, run) | {"artefacts": {"run": bout.place("run")}, "seconds": time.perf_counter() - clock}


def _other_run(bout: Bout) -> dict[str, Any]:
    """A run that was trained before, as it is."""
    run = Run.open(Path(bout.entry.name))
    return _played_run(bout, run)


def _played_run(bout: Bout, run: Run) -> dict[str, Any]:
    arena, config = bout.arena, run.config
    looked = [number for number in spread(run.rounds, CURVE) if number != run.rounds[-1]]

    def judged(rounds: list[int], episodes: int) -> list[dict[str, Any]]:
        return evaluate(
            run, rounds, episodes=episodes, seed=arena.seed, environment=arena.environment, trusted=arena.trusted
        )

    rows = judged(looked, LOOKS) if looked else []
    last = judged(run.rounds[-1:], arena.episodes)
    members = range(config.train.seeds)
    metrics = {row["member"]: row for row in run.metrics if row["round"] == run.rounds[-1]}
    updates = config.train.iterations * getattr(config.regressor, "updates", 0)
    return {
        "seeds": [config.train.seed + member for member in members],
        **{name: [row[name] for row in last] for name in ("returns", "discounted", "lengths", "predicted")},
        "success": None if last[0]["success"] is None else [row["success"] for row in last],
        "steps": 0,
        "rows": run.record["log"]["steps"],
        "queries": 0,
        "updates": updates * config.heads,
        "network": _network(config),
        "facts": [
            {"training_loss": metrics[m]["training_loss"], "mean_q": metrics[m]["mean_q"]} if m in metrics else {}
            for m in members
        ],
        "curve": [
            {"seed": config.train.seed + row["member"], "round": row["round"], "return": float(np.mean(row["returns"]))}
            for row in sorted([*rows, *last], key=lambda row: (row["round"], row["member"]))
        ],
    }


def _network(config: Config) -> str:
    heads = f", {config.heads} heads" if config.heads > 1 else ""
    if config.train.regressor == "mlp":
        return f"{config.regressor.depth} x {config.regressor.width}{heads}"
    return f"{config.train.regressor}{heads}"


def _cloned(bout: Bout) -> dict[str, Any]:
    """Behaviour cloning, and how far it agrees with the expert on the log's states and on its own."""
    log = bout.log()
    settings = settings_of(bout.entry, bout.shared())
    learned, seconds = _timed(lambda: clone(log, settings, bout.arena.seeds, listen=bout.tell))
    facts = [dict(found) for found in learned.facts]
    if bout.arena.tireless:
        for found, more in zip(facts, shift(learned.policies, bout.arena, log), strict=True):
            found |= more
    return _judged(bout, learned, seconds, rows=log.steps) | {"facts": facts}


def _daggered(bout: Bout) -> dict[str, Any]:
    arena = bout.arena
    settings = settings_of(bout.entry, bout.shared())
    log = bout.log() if settings.begin == "log" else None
    slots, expert = _who_answers(bout)
    try:
        learned, seconds = _timed(
            lambda: dagger(
                log, slots, expert, settings, arena.seeds, arena.limit, arena.look,
                environment=arena.environment, listen=bout.tell,
            )
        )  # fmt: skip
    finally:
        slots.close()
    return _judged(bout, learned, seconds, rows=0 if log is None else log.steps)


def _who_answers(bout: Bout) -> tuple[Slots, Policy]:
    """The environment of each seed, and who says what to do in it: the expert, or a person who watches it."""
    arena = bout.arena
    if arena.expert != PERSON:
        return arena.slots(len(arena.seeds)), arena.ask()
    if len(arena.seeds) > 1:
        raise UserError("a person can watch one environment at a time; give --seeds 1")
    slots, view = watched(arena.environment, arena.trusted)
    bout.folder.mkdir(parents=True, exist_ok=True)
    return slots, Person(slots.action_space, render=view, picture=bout.folder / "now.png")


def _online(bout: Bout) -> dict[str, Any]:
    """DQN, which gathers its own experience."""
    arena = bout.arena
    settings = settings_of(bout.entry, bout.shared())
    slots = arena.slots(len(arena.seeds))
    try:
        learned, seconds = _timed(
            lambda: dqn(
                slots, settings, arena.seeds, arena.limit, arena.look, environment=arena.environment, listen=bout.tell
            )
        )
    finally:
        slots.close()
    return _judged(bout, learned, seconds, rows=0)


def _offline(bout: Bout) -> dict[str, Any]:
    log = bout.log()
    settings = settings_of(bout.entry, bout.shared())
    learned, seconds = _timed(lambda: offline_dqn(log, settings, bout.arena.seeds, bout.arena.look, listen=bout.tell))
    return _judged(bout, learned, seconds, rows=log.steps)


def _timed(learn: Callable[[], Learned]) -> tuple[Learned, float]:
    clock = time.perf_counter()
    learned = learn()
    return learned, time.perf_counter() - clock


def _judged(bout: Bout, learned: Learned, seconds: float, rows: int) -> dict[str, Any]:
    """The cell of a baseline; its networks and what it gathered are kept beside it."""
    bout.folder.mkdir(parents=True, exist_ok=True)
    save_learned(learned, bout.actions(), bout.folder / "policies.safetensors")
    artefacts = {"policies": bout.place("policies.safetensors")}
    for seed, log in zip(bout.arena.seeds, learned.logs, strict=False):
        bout.save(log, bout.folder / f"gathered-{seed}.h5")
        artefacts[f"log of seed {seed}"] = bout.place(f"gathered-{seed}.h5")
    played = bout.arena.judge(learned.policies)
    return _returns(played, len(learned.policies)) | {
        "seeds": list(bout.arena.seeds),
        "predicted": None,
        "steps": learned.steps,
        "rows": rows,
        "queries": learned.queries,
        "updates": learned.updates,
        "network": _layers(learned.population),
        "seconds": seconds,
        "facts": learned.facts,
        "curve": learned.curve,
        "artefacts": artefacts,
    }


def _layers(population: Population) -> str:
    hidden = population.sizes[1:-1]
    return f"{'convolutions, ' if population.stack else ''}{len(hidden)} x {hidden[0] if hidden else 0}"


def _returns(played: Played, policies: int) -> dict[str, Any]:
    """What each policy earned from the same start states."""

    def split(values: Any) -> Any:
        return None if values is None else values.reshape(policies, -1).tolist()

    names = ("returns", "discounted", "lengths", "success")
    return {name: split(getattr(played, name)) for name in names}


def _reference(bout: Bout) -> dict[str, Any]:
    """Random or the expert, from the same start states."""
    policy: Policy
    if bout.entry.kind == "expert":
        policy = bout.arena.ask()
    else:
        slots = bout.arena.slots(1)
        policy = Uniform(slots.action_space)
        slots.close()
    return _returns(bout.arena.judge([policy]), 1)


def _behaviour(bout: Bout) -> dict[str, Any]:
    """A component of the log, by the returns of the episodes in which nobody else acted."""
    log, name = bout.log(), bout.entry.given["component"]
    own = episodes_of(log)[name]
    gamma = bout.arena.gamma
    steps = np.arange(log.steps) - np.repeat(log.starts, log.lengths)
    weighted = np.add.reduceat(log.rewards * gamma**steps, log.starts)
    return {
        "returns": [log.returns[own].tolist()],
        "discounted": [weighted[own].tolist()],
        "lengths": [log.lengths[own].tolist()],
        "rows": int(log.lengths[own].sum()),
    }


def episodes_of(log: Log) -> dict[str, Any]:
    """For each behaviour the episodes [m] that it acted in alone; `several` stands for those that several shared."""
    if log.behaviour is None:
        return {"logged": np.arange(log.episodes)}
    lowest, highest = (f.reduceat(log.behaviour, log.starts) for f in (np.minimum, np.maximum))
    alone = lowest == highest
    found = {name: np.flatnonzero(alone & (lowest == i)) for i, name in enumerate(log.behaviours)}
    return {name: own for name, own in (found | {"several": np.flatnonzero(~alone)}).items() if len(own)}


_KINDS: dict[str, Callable[[Bout], dict[str, Any]]] = {
    "fqi": _fitted,
    "run": _other_run,
    "bc": _cloned,
    "dagger": _daggered,
    "dqn": _online,
    "dqn-v1": _online,
    "dqn-v2": _online,
    "offline-dqn": _offline,
    "random": _reference,
    "expert": _reference,
    "behaviour": _behaviour,
}


def fitted_config(base: Mapping[str, Any], given: Mapping[str, Any], arena: Arena) -> Config | None:
    """The settings of fitted Q-iteration on this task; None where it cannot be trained there.

    A learner that names another regressor than the base, or acts in another kind of actions, keeps of it only what does
    not depend on that.
    """
    if arena.log is None:
        return None
    base = dict(base)
    other = given.get("regressor", base.get("regressor")) != base.get("regressor")
    kind = "cem" if isinstance(arena.log.action_space, gym.spaces.Box) else "enumerate"
    if other or base.get("maximise", kind) != kind:
        base = {name: base[name] for name in ("iterations", "gamma", "n_step", "bound", "device") if name in base}
    seeds = {"seed": arena.seeds[0], "seeds": len(arena.seeds)}
    return configure(arena.log, base, "comparison", flags=dict(given) | seeds)
