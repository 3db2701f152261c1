"""Several tasks at once: the ones that are shipped, and those that a TOML file names.

seeds = 5
episodes = 100
learners = ["bc", "dqn:steps=20000"]

[[task]]
env = "CartPole-v1"
policies = ["random", "scripted,epsilon=0.3"]
steps = 50000

[[task]]
log = "logs/plant.h5"
env = "my_plant:Plant-v0"
expert = "py:my_plant:controller"
low = 0.0
high = 100.0
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqi.errors import UserError
from fqi.scripted import expert_for
from fqi.settings import read_toml

STEPS = 50_000  # logged for a task that brings no log
HALF = ("random", "scripted,epsilon=0.3")  # half of the episodes by each


@dataclass(frozen=True)
class Task:
    """An environment, and the log of it or how to collect one."""

    env: str | None = None  # None: the one that the log names
    log: str | None = None  # None: collected by `policies`
    policies: tuple[str, ...] = ()  # none: random, and where an expert is shipped half of it by that one with noise
    steps: int = STEPS
    expert: str | None = None  # None: the shipped one, if there is one
    low: float | None = None  # scores that count as 0 and 1; None: those of the random policy and the expert
    high: float | None = None

    def behaviours(self, environment_id: str) -> tuple[str, ...]:
        """Who collects the log."""
        return self.policies or (HALF if expert_for(environment_id) else HALF[:1])


@dataclass(frozen=True)
class Suite:
    """Tasks, and what else a file says of the comparison."""

    tasks: tuple[Task, ...]
    options: dict[str, Any]  # learners, seeds, episodes, seed, iterations


CLASSIC = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "fqi/Pendulum-v0")
_OPTIONS = {"learners": list, "seeds": int, "episodes": int, "seed": int, "iterations": int}
_TASK = {"env": str, "log": str, "policies": list, "steps": int, "expert": str, "low": float, "high": float}


def suite(name: str) -> Suite:
    """The shipped suite of this name, or the one in this file."""
    if name == "classic":
        boxed = importlib.util.find_spec("Box2D") is not None
        return Suite(tuple(Task(env=env) for env in (*CLASSIC, *(["LunarLander-v3"] if boxed else []))), {})
    if not name.endswith(".toml"):
        raise UserError(f"--suite {name}: expected classic, or a file that ends in .toml")
    return _read(name, read_toml(Path(name)))


def _read(where: str, values: Mapping[str, Any]) -> Suite:
    tasks = values.get("task")
    if not isinstance(tasks, list) or not tasks:
        raise UserError(f"{where}: expected at least one [[task]], found none")
    found = []
    for number, task in enumerate(tasks, start=1):
        place = f"{where}: task {number}"
        given = _checked(place, task, _TASK)
        if "policies" in given:
            given["policies"] = _texts(place, "policies", given["policies"])
        if "env" not in given and "log" not in given:
            raise UserError(f"{place}: expected env or log, found neither")
        if "log" in given and {"policies", "steps"} & set(given):
            raise UserError(f"{place}: policies and steps say how to collect a log, but it names one: {given['log']}")
        if ("low" in given) != ("high" in given) or given.get("low", 0.0) >= given.get("high", 1.0):
            raise UserError(f"{place}: expected low and high, low being the smaller one")
        if given.get("steps", 1) < 1:
            raise UserError(f"{place}: steps must be at least 1, found {given['steps']}")
        found.append(Task(**given))
    options = _checked(where, {k: v for k, v in values.items() if k != "task"}, _OPTIONS)
    if "learners" in options:
        options["learners"] = list(_texts(where, "learners", options["learners"]))
    for name in ("seeds", "episodes", "iterations"):
        if options.get(name, 1) < 1:
            raise UserError(f"{where}: {name} must be at least 1, found {options[name]}")
    return Suite(tuple(found), options)


def _checked(where: str, values: Any, known: Mapping[str, type]) -> dict[str, Any]:
    """The values under these names, each of its type."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected a table, found {values!r}")
    found = {}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{where}: unknown name {name!r}; known are {', '.join(known)}")
        kind = known[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"{where}: {name} must be {_WORDS[kind]}, found {value!r}")
        found[name] = value
    return found


_WORDS = {str: "a text", int: "a whole number", float: "a number", list: "a list of texts"}


def _texts(where: str, name: str, values: Any) -> tuple[str, ...]:
    if not values or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: {name} must be a list of texts, found {values!r}")
    return tuple(values)
