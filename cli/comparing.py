"""From what the user typed to a comparison on disk; everything is checked before it is begun."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fqi.baselines.cloning import chosen_episodes
from fqi.cli.shared import LOGS, RUNS, counted, newest, progress, say, trust_code, trust_options, unused
from fqi.errors import UserError
from fqi.files import refuse_existing
from fqi.log import Log
from fqi.reports.comparison.arena import PERSON, Arena
from fqi.reports.comparison.entries import SETTINGS, Entry, entries, settings_of
from fqi.reports.comparison.learners import episodes_of, fitted_config
from fqi.reports.comparison.record import Comparison
from fqi.reports.comparison.suites import Suite, Task
from fqi.reports.comparison.suites import suite as suite_of
from fqi.run import Run
from fqi.scripted import expert_for

COMPARISONS = Path("comparisons")
BARE = ("bc", "dagger", "dqn")
SEEDS, EPISODES = 5, 100
_ITS_OWN = ("seed", "seeds")  # of a run's settings: what a comparison says itself


@dataclass(frozen=True)
class Choice:
    """What the user typed; None or nothing where it was left out."""

    learners: tuple[str, ...] = ()
    run: Path | None = None
    log: str | None = None
    env: tuple[str, ...] = ()
    suite: str | None = None
    seeds: int | None = None
    episodes: int | None = None
    seed: int | None = None
    iterations: int | None = None
    steps: int | None = None
    expert: str | None = None

    def typed(self) -> list[str]:
        """The names of the options that were typed."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) not in (None, ())]

    def check(self) -> None:
        """Refuse what would have no effect beside something else."""
        for name, others in {"suite": ("log", "env", "run", "expert"), "log": ("run",)}.items():
            for other in others:
                if {name, other} <= set(self.typed()):
                    raise UserError(f"--{name} and --{other} say the same thing twice; give one of them")
        if len(self.env) > 1 and (self.log or self.run):
            raise UserError("several --env collect a log for each; --log and --run name one log, so give one --env")
        if self.steps and not (self.suite or (self.env and not (self.log or self.run))):
            raise UserError("--steps is the size of logs that are collected for --env or --suite; give one of them")
        if len(set(self.env)) < len(self.env):
            raise UserError("the same --env is named twice")


def begin(choice: Choice, out: Path | None, json: bool) -> Comparison:
    """A new comparison, without a cell yet."""
    choice.check()
    _taking_part(choice.learners)  # what is typed wrongly is said before anything is looked for
    run = _run(choice)
    suite = _suite(choice, run)
    options = suite.options
    taking_part = _taking_part(choice.learners or options.get("learners") or BARE)
    for one in taking_part:
        trust_options(one.given)
    seeds = choice.seeds or options.get("seeds") or max(SEEDS, run.config.train.seeds if run else 0)
    episodes = choice.episodes or options.get("episodes", EPISODES)
    seed = choice.seed if choice.seed is not None else options.get("seed", 0)
    base = _base(run, choice.iterations or options.get("iterations"))
    tasks = [_Prepared.of(task, typed=bool(choice.env or choice.suite)) for task in suite.tasks]
    for task in tasks:
        task.check(taking_part)
    _refuse_silence(taking_part, tasks)
    if seeds > 1 and any(task.expert == PERSON for task in tasks):
        raise UserError("a person can watch one environment at a time; give --seeds 1")
    path = out or unused(COMPARISONS, Path(choice.suite).stem if choice.suite else tasks[0].environment["id"], "")
    refuse_existing(path)
    names, places = ([one.name for one in taking_part], [task.environment["id"] for task in tasks])
    say(
        f"compare {', '.join(names)} on {', '.join(places)}: "
        f"{counted(seeds, 'seed')} of each, judged by {counted(episodes, 'episode')} → {path}",
        json,
    )
    logs = [task.load(choice.steps, seed, json) for task in tasks]
    learners = _learners(taking_part, tasks, logs, base, tuple(range(seed, seed + seeds)), json)
    return Comparison.create(
        path,
        command=["fqi", *sys.argv[1:]],
        seeds=seeds,
        episodes=episodes,
        seed=seed,
        base=base,
        tasks=[task.record(log) for task, log in zip(tasks, logs, strict=True)],
        learners=learners,
    )


def _run(choice: Choice) -> Run | None:
    """The run that is named, or the newest one where nothing else says what to compare on."""
    if choice.run is not None:
        return Run.open(choice.run)
    if choice.log or choice.suite or choice.env:
        return None
    return Run.open(newest(RUNS, "run", "fqi train")) if (RUNS / "latest").is_symlink() else None


def _suite(choice: Choice, run: Run | None) -> Suite:
    if choice.suite:
        return suite_of(choice.suite)
    if choice.env and not (choice.log or run):
        return Suite(tuple(Task(env=env, expert=choice.expert) for env in choice.env), {})
    reference = choice.log or (run.record["log"]["reference"] if run else str(newest(LOGS, "log", "fqi collect")))
    return Suite((Task(env=next(iter(choice.env), None), log=reference, expert=choice.expert),), {})


def _taking_part(texts: Sequence[str]) -> list[Entry]:
    """Who is named, and fitted Q-iteration as it is."""
    found = entries(texts)
    return found if any(one.name == "fqi" for one in found) else [Entry("fqi", "fqi"), *found]


def _base(run: Run | None, iterations: int | None) -> dict[str, Any]:
    """The settings of fitted Q-iteration: the run's, or none but its defaults."""
    base: dict[str, Any] = {}
    if run is not None:
        trust_code(run.config)
        base = {name: value for name, value in run.config.table().items() if name not in _ITS_OWN}
    return base | ({} if iterations is None else {"iterations": iterations})


def _refuse_silence(taking_part: Sequence[Entry], tasks: Sequence[_Prepared]) -> None:
    """DAgger needs somebody to ask on one task at least; it is left out on the others."""
    if any(one.kind == "dagger" for one in taking_part) and all(task.expert is None for task in tasks):
        names = ", ".join(task.environment["id"] for task in tasks)
        raise UserError(f"dagger asks an expert, and {names} has none; name one by --expert")


@dataclass(frozen=True)
class _Prepared:
    """A task whose environment and expert are known."""

    task: Task
    environment: dict[str, Any]
    expert: str | None
    typed: bool  # the user typed the environment's name

    @classmethod
    def of(cls, task: Task, typed: bool) -> _Prepared:
        from fqi.environments.make import environment_record

        record = environment_record(task.env, trusted=True) if task.env else _environment_of(str(task.log))
        expert = task.expert or ("scripted" if expert_for(record["id"]) else None)
        return cls(task, record, expert, typed)

    def check(self, taking_part: Sequence[Entry]) -> None:
        """Refuse learners that cannot learn this task, before anything is begun."""
        arena = self.arena(None, ())
        slots = arena.slots(1)
        slots.close()
        if arena.tireless:
            arena.ask()
        for one in taking_part:
            if one.kind in SETTINGS:
                settings_of(one, {})

    def arena(self, log: Log | None, seeds: tuple[int, ...]) -> Arena:
        return Arena(self.environment["id"], self.environment, log, self.expert, seeds, 1, 0, 0.99, self.typed)

    def load(self, steps: int | None, seed: int, json: bool) -> Log:
        """The log of the task, collected where none is named."""
        from fqi.datasets.collect import Request, collect
        from fqi.datasets.load import load_log

        if self.task.log is not None:
            return load_log(self.task.log)
        name = self.environment["id"]
        path = unused(LOGS, name, ".h5")
        policies = self.task.behaviours(name)
        request = Request.new(name, {"policies": policies, "seed": seed}, steps or self.task.steps, None)
        say(f"collect {path}: {counted(request.steps or 0, 'step')} of {name} by {' + '.join(policies)}", json)
        with progress("collect", float(request.steps or 0), "steps") as advance:
            log = collect(request, path, listen=lambda done: advance(done, ""))
        object.__setattr__(self, "task", dataclasses.replace(self.task, log=str(path)))
        return log

    def record(self, log: Log) -> dict[str, Any]:
        """As it stands in the comparison."""
        from fqi.log import fingerprint

        scores = None if self.task.low is None else {"low": self.task.low, "high": self.task.high}
        return {
            "name": self.environment["id"],
            "environment": self.environment,
            "log": {
                "reference": str(self.task.log),
                "fingerprint": fingerprint(log),
                "steps": log.steps,
                "episodes": log.episodes,
                "behaviours": list(episodes_of(log)),
            },
            "expert": self.expert,
            "limit": self.environment["max_episode_steps"],
            "reference_scores": None if scores is None else scores | {"source": "the suite"},
        }


def _environment_of(reference: str) -> dict[str, Any]:
    from fqi.datasets.load import load_log

    environment = load_log(reference).environment
    if environment is None:
        raise UserError(f"{reference}: the log names no environment to play in; give one by --env")
    return environment


def _refuse_what_cannot_learn(
    one: Entry, task: _Prepared, log: Log, base: dict[str, Any], seeds: tuple[int, ...]
) -> None:
    """Say what a learner could not do with a task's log before the first one learns."""
    try:
        if one.kind == "fqi":
            fitted_config(base, one.given, task.arena(log, seeds))
        elif one.kind == "bc":
            chosen_episodes(log, settings_of(one, {}))
    except UserError as error:
        raise UserError(f"{one.name} on {task.environment['id']}: {error}") from error


def _learners(
    taking_part: Sequence[Entry],
    tasks: Sequence[_Prepared],
    logs: Sequence[Log],
    base: dict[str, Any],
    seeds: tuple[int, ...],
    json: bool,
) -> list[dict[str, Any]]:
    """Who takes part, on which tasks, and the lines that they are held against."""
    import gymnasium as gym

    from fqi.maximise import searchable

    found: list[dict[str, Any]] = []
    for one in taking_part:
        names = []
        for task, log in zip(tasks, logs, strict=True):
            discrete = isinstance(log.action_space, gym.spaces.Discrete)
            able = discrete or (one.kind == "fqi" and searchable(log.action_space))
            if one.kind == "dagger" and task.expert is None:
                say(f"note: {one.name} is left out on {task.environment['id']}, which has no expert to ask", json)
            elif one.kind in ("bc", "dagger") or able:
                names.append(task.environment["id"])
                _refuse_what_cannot_learn(one, task, log, base, seeds)
            elif one.given or one.kind != "fqi":
                needed = "Discrete or bounded continuous" if one.kind == "fqi" else "Discrete"
                raise UserError(f"{one.name} needs {needed} actions; {task.environment['id']} has {log.action_space}")
            else:
                say(f"note: fqi is left out on {task.environment['id']}, whose actions are {log.action_space}", json)
        if names:
            found.append({"name": one.name, "kind": one.kind, "settings": one.given, "tasks": names})
    behaviours: dict[str, list[str]] = {}
    for task, log in zip(tasks, logs, strict=True):
        for name in episodes_of(log):
            behaviours.setdefault(name, []).append(task.environment["id"])
    found += [
        {"name": f"behaviour {name}", "kind": "behaviour", "settings": {"component": name}, "tasks": names}
        for name, names in behaviours.items()
    ]
    found.append({"name": "random", "kind": "random", "settings": {}})
    asked = [task.environment["id"] for task in tasks if task.arena(None, ()).tireless]
    return found + ([{"name": "expert", "kind": "expert", "settings": {}, "tasks": asked}] if asked else [])
