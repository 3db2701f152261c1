"""All settings of a training run: the one home of defaults, resolved before training and written into the run."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fqi.errors import UserError
from fqi.options import CODE, build, check, option
from fqi.regressors import REGRESSORS, Regressor
from fqi.sweep import flagged, grid, plain

TARGETS = ("max", "mean", "min", "clipped", "double", "double-previous", "mixture", "softmax", "mellowmax", "expectile")
"""The names in `fqi.values.VALUE_RULES`, which cannot be imported here: it needs torch."""

SEARCHED_HEADS = 2  # of each member where actions are continuous and every value costs a search


INSTEAD = {
    "conservative": ", whose fit follows no gradient that a penalty could change; constraint holds every regressor to "
    "what the behaviour does",
}
"""Why regressors do without an option, and what does the same for all of them."""


@dataclass(frozen=True)
class TrainSettings:
    """What holds for every regressor."""

    iterations: int = option(100, "Rounds to train: K frozen targets, K regressions.", low=1)
    gamma: float = option(0.99, "Discount of a reward one step later.", low=0, high=1, sweep=True)
    stack: int = option(
        1, "Frames that Q is shown at once, the last ones of the episode, the oldest first.", low=1, high=64
    )
    n_step: int = option(1, "Rewards summed before the target bootstraps, at most.", low=1)
    n_step_rule: str = option(
        "ignore",
        "What is done about logged actions beyond the first that the greedy policy would not take: ignore it; cut the "
        "sum there, anew in each round; or weigh by importance, greedy over the log's propensity.",
        choices=("ignore", "cut", "importance"),
    )
    importance_cap: float = option(
        2.0, "Largest importance weight of an action; 1 is cut.", above=0, only=("n_step_rule", "importance")
    )
    propensities: str = option(
        "logged",
        "The behaviour's probabilities in importance weights: those that the log tells, or estimated: by counts for a "
        "table, else by a clone of the behaviour.",
        choices=("logged", "estimated"),
        only=("n_step_rule", "importance"),
    )
    trace_decay: float = option(
        1.0,
        "Lambda: weight of each further reward against bootstrapping at once; 1: plain n-step.",
        low=0,
        high=1,
        sweep=True,
    )
    regressor: str = option(
        "auto",
        "What Q is regressed with; auto: table for discrete observations, else mlp.",
        choices=("auto", *REGRESSORS),
    )
    target: str = option(
        "auto",
        "Value of the next state: max of each head; max of the heads' mean, of their minimum (Maxmin), or of a random "
        "mixture of them; clipped: each head chooses, the lowest values; double: each head chooses, the next one "
        "values; double-previous: the newest Q chooses, the last round's values; softmax: expected under exp(Q / "
        "temperature); mellowmax: temperature x log mean exp(Q / temperature); expectile: of the actions that the "
        "behaviour takes (IQL); your own function; auto: of an ensemble mean if some rewards are below 0, else min, or "
        "clipped where actions are continuous; of one head max.",
        choices=("auto", *TARGETS, CODE),
        sweep=True,
    )
    average: int = option(1, "Newest rounds whose mean Q values the next state.", low=1, sweep=True)
    temperature: float = option(
        1.0,
        "How soft the targets softmax and mellowmax are, in units of value.",
        above=0,
        only=("target", ("softmax", "mellowmax")),
        sweep=True,
    )
    expectile: float = option(
        0.9,
        "Which expectile of Q over the behaviour's actions the target expectile takes: 0.5 is their mean, close to 1 "
        "their best.",
        low=0.5,
        high=0.9999,
        only=("target", "expectile"),
    )
    maximise: str = option(
        "auto",
        "How the best action is found: enumerate tries all Discrete ones; cem searches continuous ones by the "
        "cross-entropy method; auto: as the log's actions are.",
        choices=("auto", "enumerate", "cem"),
    )
    cem_samples: int = option(64, "Actions tried in each iteration of the search.", low=2, only=("maximise", "cem"))
    cem_elites: int = option(
        6, "Best of them, whose mean and spread say where the next are tried.", low=1, only=("maximise", "cem")
    )
    cem_iterations: int = option(2, "Iterations of the search for targets.", low=1, only=("maximise", "cem"))
    cem_acting: int = option(
        4, "Iterations of the search when the policy acts, which costs little.", low=1, only=("maximise", "cem")
    )
    cem_acting_samples: int = option(
        256,
        "Actions tried in each of them: more than for targets, as an acting policy has no last round's best to begin "
        "with.",
        low=2,
        only=("maximise", "cem"),
    )
    cem_start: str = option(
        "last",
        "Where the search for targets begins: anywhere in the box, with a share of the tries around the last round's "
        "best action; or without.",
        choices=("last", "box"),
        only=("maximise", "cem"),
    )
    constraint: float | None = option(
        None,
        "Value and play only actions that the behaviour takes at least this share as often as its most frequent one "
        "(BCQ): a table counts, other regressors ask a clone of the behaviour; 0: all actions. [default: 0.5 for mlp "
        "on a log in which somebody acted who was not random, where the behaviour can be cloned; else 0]",
        low=0,
        high=1,
    )
    bound: str = option(
        "earnable",
        "Keep values of next states within what the rewards seen can earn, or let them run.",
        choices=("earnable", "none"),
        sweep=True,
    )
    weights: str = option(
        "uniform",
        "How often rows are regressed on: all alike; by the residuals that the last round left; or split, each head "
        "of an ensemble on episodes of its own, so that their errors are independent.",
        choices=("uniform", "prioritised", "split"),
    )
    priority_alpha: float = option(
        0.6, "Power of a residual in a row's priority; 0: all alike.", low=0, high=1, only=("weights", "prioritised")
    )
    priority_beta: float = option(
        0.4,
        "Share of the bias by priorities that importance weights undo in the first round.",
        low=0,
        high=1,
        only=("weights", "prioritised"),
    )
    priority_rounds: int = option(
        100, "Rounds over which that share rises to 1.", low=1, only=("weights", "prioritised")
    )
    behaviour_weights: str | None = option(
        None, "How much rows count by who acted in them, such as random=1,scripted=3. [default: all alike]"
    )
    occupancy: str = option(
        "logged",
        "Rows count as the log holds them; or discounted: by gamma^t, t steps after their episode began, so that they "
        "weigh as in the discounted occupancy of the behaviour.",
        choices=("logged", "discounted"),
    )
    subset: float = option(
        1.0,
        "Share of the log's episodes that a member is regressed on, drawn from its own seed; smaller shares lie within "
        "larger ones.",
        above=0,
        high=1,
        sweep=True,
    )
    seed: int = option(0, "Seed of everything random in the run.", low=0)
    seeds: int = option(1, "Members: Q-functions trained independently, on the seeds SEED, SEED + 1, …", low=1)
    ensemble: int | None = option(
        None, "Heads of each member, which most targets compare. [default: 5 for mlp, else 1]", low=1
    )
    holdout: float | None = option(
        None, "Share of the rows kept out of the regression. [default: 0.05 for mlp, else 0]", low=0, high=0.9
    )
    holdout_by: str = option(
        "rows",
        "What is held out: single rows, or whole episodes, of which the run then knows nothing and by which its policy "
        "can be judged without an environment.",
        choices=("rows", "episodes"),
    )
    device: str = option("auto", "Where to train; auto: the GPU if there is one.", choices=("auto", "cpu", "cuda"))
    workers: int | None = option(
        None, "Processes that share the heads out, on the CPU. [default: one for each core]", low=1
    )


@dataclass(frozen=True)
class Config:
    """Resolved settings: nothing is left to be chosen."""

    train: TrainSettings
    regressor: Any  # the settings of the chosen regressor
    sweep: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # options in which members differ, and their values
    each: tuple[Config, ...] = ()  # the settings that a sweep makes, in the order of the members

    @property
    def settings(self) -> tuple[Config, ...]:
        """One configuration for each setting; a run without a sweep has one, its own."""
        return self.each or (self,)

    @property
    def members(self) -> int:
        """M: every setting is trained on every seed."""
        return len(self.settings) * self.train.seeds

    @property
    def labels(self) -> list[str]:
        """What is said of each setting: the options that are swept, and their values."""
        names = [name for name, _ in self.sweep]
        return [", ".join(f"{flagged(n)} {plain(c.value(n))}" for n in names) for c in self.settings]

    def value(self, name: str) -> Any:
        """What this option is set to."""
        return getattr(self.train if hasattr(self.train, name) else self.regressor, name)

    def changed(self, **train: Any) -> Config:
        """With other values of options that hold for every setting."""
        each = tuple(config.changed(**train) for config in self.each)
        return dataclasses.replace(self, train=dataclasses.replace(self.train, **train), each=each)

    @property
    def kind(self) -> Regressor:
        return REGRESSORS[self.train.regressor]

    @property
    def heads(self) -> int:
        """H, heads of each member."""
        assert self.train.ensemble is not None
        return self.train.ensemble

    @property
    def asks_behaviour(self) -> bool:
        """Whether a model of the behaviour is made of the log."""
        train = self.train
        expectile = any(setting.train.target == "expectile" for setting in self.settings)
        return bool(train.constraint) or expectile or train.propensities == "estimated"

    @property
    def code(self) -> dict[str, str]:
        """The options that name a callable of the user's, as `py:MODULE:CALLABLE`."""
        every = dataclasses.asdict(self.train) | dataclasses.asdict(self.regressor)
        return {name: value for name, value in every.items() if isinstance(value, str) and value.startswith("py:")}

    def table(self) -> dict[str, Any]:
        """As it stands in the TOML file."""
        swept = dict(self.sweep)
        general = {k: v for k, v in dataclasses.asdict(self.train).items() if v is not None and k not in swept}
        own = {k: v for k, v in dataclasses.asdict(self.regressor).items() if v is not None and k not in swept}
        found = general | {self.train.regressor: own}
        return found | {"sweep": {k: list(v) for k, v in self.sweep}} if self.sweep else found

    def toml(self) -> str:
        return tomli_w.dumps(self.table())

    def head_seeds(self) -> list[int]:
        """A seed for each of the P heads. A member's heads depend on the member's own seed alone, so that settings are
        compared on the same draws."""
        import numpy as np

        seeds = []
        for member in range(self.train.seeds):
            draws = np.random.SeedSequence((self.train.seed + member, 0))
            seeds += [int(s) for s in draws.generate_state(self.heads, np.uint32)]
        return seeds * len(self.settings)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def resolve(
    values: Mapping[str, Any],
    *,
    discrete_observations: bool,
    costs: bool = False,
    continuous: bool | None = None,
    guided: bool = False,
    where: str = "settings",
    flags: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Any] | None = None,
) -> Config:
    """Settings from a nested mapping such as a TOML file's: top-level options, and one table for each regressor.

    `flags` are flat, as typed on the command line, and go before the mapping; so does `sweep`, values by the name of an
    option, before its table `sweep`. `costs` says that some rewards are below 0, `continuous` that actions are (None:
    that the settings say so themselves), `guided` that somebody acted who was not random and can be cloned.
    """
    values, flags = dict(values), dict(flags or {})
    kept = values.pop("sweep", {})
    if not isinstance(kept, Mapping):
        raise UserError(f"{where}: sweep must be a table of options and their values, found {kept!r}")
    swept = {**kept, **(sweep or {})}
    if not swept:
        return _resolve(values, flags, discrete_observations, costs, continuous, guided, where)
    names = {f.name for f in dataclasses.fields(TrainSettings)}
    table = values.get(flags.get("regressor", values.get("regressor", "")), {})
    for name in swept:
        if name in flags or name in values or (isinstance(table, Mapping) and name in table):
            raise UserError(f"{flagged(name)} is given both a value and a sweep; give one of them")
    each = []
    for setting in grid(swept, where):
        each.append(_resolve(values, {**flags, **setting}, discrete_observations, costs, continuous, guided, where))
        if not each[1:]:
            _check_sweep(swept, each[0], names)
    if "gamma" in swept and any(getattr(one.regressor, "loss", "") == "quantile" for one in each):
        raise UserError(f"{where}: the quantile loss looks ahead with one gamma; train a run for each value of gamma")
    first = each[0]
    return Config(first.train, first.regressor, tuple((k, tuple(v)) for k, v in swept.items()), tuple(each))


def _check_sweep(swept: Mapping[str, Any], first: Config, general: set[str]) -> None:
    fields = {f.name: f for kind in (TrainSettings, type(first.regressor)) for f in dataclasses.fields(kind)}
    for name in swept:
        if name not in fields or not fields[name].metadata["sweep"]:
            able = [n for n, f in fields.items() if f.metadata["sweep"] and (n in general or first.kind.sweeps)]
            raise UserError(
                f"members of one run cannot differ in {flagged(name)}; they can in {', '.join(map(flagged, able))}; "
                "train a run for each value"
            )
        if any(str(value).startswith("py:") for value in swept[name]):
            raise UserError(f"a sweep of {flagged(name)} cannot name functions of your own; train a run for each")
        if name not in general and not first.kind.sweeps:
            raise UserError(f"the {first.train.regressor} regressor has the same {flagged(name)} for every member")
    if first.train.maximise == "cem":
        raise UserError(
            "where the best of continuous actions is searched, a run has no sweep; train a run for each value"
        )
    if first.kind.deterministic:
        raise UserError(
            f"the {first.train.regressor} regressor trains a single member and cannot sweep; train a run for each value"
        )


def _resolve(
    values: Mapping[str, Any],
    flags: Mapping[str, Any],
    discrete_observations: bool,
    costs: bool,
    continuous: bool | None,
    guided: bool,
    where: str,
) -> Config:
    """One setting."""
    names = {f.name for f in dataclasses.fields(TrainSettings)}
    general = {k: v for k, v in values.items() if k not in REGRESSORS}
    typed = {k: v for k, v in flags.items() if k in names}
    check(TrainSettings, typed, "command line")  # so that what is wrong there is not said of the file
    general |= typed
    if general.get("maximise", "auto") == "auto":
        general["maximise"] = "cem" if continuous else "enumerate"
    train = build(TrainSettings, general, where)
    searched = train.maximise == "cem"
    table = discrete_observations and not searched
    name = train.regressor if train.regressor != "auto" else ("table" if table else "mlp")
    for other in REGRESSORS:
        if not isinstance(values.get(other, {}), Mapping):
            raise UserError(f"{where}: {other} must be a table of options, found {values[other]!r}")
        if other != name and values.get(other):
            first = str(next(iter(values[other]))).replace("_", "-")
            raise UserError(f"{where}: {first} belongs to the {other} regressor and has no effect on {name}")
    kind = REGRESSORS[name]
    typed = {k: v for k, v in flags.items() if k not in names}
    _check_flags(typed, name)
    check(kind.settings, typed, f"command line: {name}")
    settings = build(kind.settings, {**values.get(name, {}), **typed}, f"{where}: {name}")
    if continuous is not None and searched != continuous:
        found = "continuous" if continuous else "Discrete"
        raise UserError(f"{where}: maximise {train.maximise} has no meaning for the log's {found} actions; give auto")
    ensemble = (SEARCHED_HEADS if searched else kind.ensemble) if train.ensemble is None else train.ensemble
    target = train.target if train.target != "auto" else _target(ensemble, costs, searched)
    holdout = kind.holdout if train.holdout is None else train.holdout
    constraint = train.constraint
    if constraint is None:
        constraint = kind.constraint if guided and not searched and train.stack == 1 else 0.0
    train = dataclasses.replace(
        train, regressor=name, target=target, ensemble=ensemble, holdout=holdout, constraint=constraint
    )
    _check_combination(train, kind, settings, where)
    return Config(train, settings)


def _target(ensemble: int, costs: bool, searched: bool) -> str:
    """Values begin at 0. With rewards they climb, and what errs upwards drives them to the ceiling, where all states
    look alike; with costs they sink, and what errs downwards drives them to the floor."""
    if ensemble == 1:
        return "max"
    if costs:
        return "mean"
    return "clipped" if searched else "min"


def _check_flags(typed: Mapping[str, Any], name: str) -> None:
    for field in typed:
        owners = [r for r, kind in REGRESSORS.items() if field in {f.name for f in dataclasses.fields(kind.settings)}]
        flag = "--" + field.replace("_", "-")
        if not owners:
            raise UserError(f"{flag}: no such option")
        if name not in owners:
            raise UserError(
                f"{flag} belongs to the regressor {' or '.join(owners)} and has no effect on {name}"
                + INSTEAD.get(field, "")
            )


def _check_search(train: TrainSettings, kind: Regressor, where: str) -> None:
    """What has a meaning where actions are continuous, and their best is searched."""
    from fqi.values import VALUE_RULES, named_rule

    name = train.regressor
    if not kind.continuous:
        able = " or ".join(name for name, other in REGRESSORS.items() if other.continuous)
        raise UserError(
            f"{where}: the {name} regressor has one output per action, and the log's are continuous; give {able}"
        )
    if named_rule(train.target).aim is None:
        able = ", ".join(name for name, rule in VALUE_RULES.items() if rule.aim)
        raise UserError(
            f"{where}: target {train.target} looks at all actions together or at an earlier round's values of them, "
            f"which continuous ones do not allow; give one of {able}"
        )
    if train.average > 1:
        raise UserError(f"{where}: average needs the values of all actions, and continuous ones have no end; give 1")
    if train.n_step_rule != "ignore":
        why = {
            "cut": "a logged continuous action is never quite the greedy one, so that every trace would be cut at once",
            "importance": "a greedy policy has no density at a logged continuous action",
        }[train.n_step_rule]
        raise UserError(f"{where}: n-step-rule {train.n_step_rule}: {why}; give ignore")
    if train.constraint:
        raise UserError(f"{where}: constraint counts how often an action is taken, which continuous ones are once")
    for name in ("cem_samples", "cem_acting_samples"):
        if train.cem_elites > getattr(train, name):
            found = f"{name.replace('_', '-')} {getattr(train, name)}"
            raise UserError(f"{where}: cem-elites {train.cem_elites} are more than the {found}")


_PLAIN = ("outputs", "", False, 0)  # the ways of standing for actions that continuous ones do not ask about


def _check_precision(train: TrainSettings, settings: Any, where: str) -> None:
    precision = getattr(settings, "precision", "float32")
    if precision == "float32":
        return
    if train.maximise == "cem":
        raise UserError(
            f"{where}: precision {precision} is for Discrete actions: a search for the best of continuous ones "
            "computes in float32"
        )
    if precision == "tf32" and train.device == "cpu":
        raise UserError(
            f"{where}: precision tf32 is arithmetic of NVIDIA's GPUs, and not of a CPU; give float32 or bf16"
        )
    if precision == "bf16" and getattr(settings, "depth", 2) == 1 and train.regressor == "mlp":
        raise UserError(
            f"{where}: precision bf16 is for products between hidden layers, and there is one such layer; give depth "
            "2 or more"
        )


def _check_combination(train: TrainSettings, kind: Regressor, settings: Any, where: str) -> None:
    from fqi.values import named_rule
    from fqi.weights import parsed

    if train.behaviour_weights is not None:
        parsed(train.behaviour_weights)
    assert train.ensemble is not None
    rule = named_rule(train.target)
    if train.ensemble < rule.heads:
        raise UserError(f"{where}: target {train.target} compares the heads of an ensemble; give ensemble 2 or more")
    if train.weights == "split" and train.ensemble == 1:
        raise UserError(f"{where}: weights split shares the episodes out among heads; give ensemble 2 or more")
    if train.n_step == 1 and (train.n_step_rule != "ignore" or train.trace_decay != 1):
        idle = f"n-step-rule {train.n_step_rule}" if train.n_step_rule != "ignore" else "trace-decay"
        raise UserError(f"{where}: {idle} has an effect only with an n-step of 2 or more, found 1")
    if train.occupancy == "discounted" and train.gamma == 1:
        raise UserError(f"{where}: occupancy discounted weighs by gamma^t and has an effect only with gamma below 1")
    if train.average > 1 and rule.rounds > 1:
        raise UserError(
            f"{where}: target {train.target} looks at single rounds, and average {train.average} at their mean; "
            "give average 1 or another target"
        )
    if kind.deterministic and train.seeds * train.ensemble > 1:
        raise UserError(
            f"{where}: the {train.regressor} regressor is exact, so that several seeds or heads would all be the same; "
            "give seeds 1 and ensemble 1"
        )
    _check_precision(train, settings, where)
    if train.maximise == "cem":
        _check_search(train, kind, where)
        ways = [n for n in ("encoding", "dueling", "layer_norm", "embedding") if getattr(settings, n, "") not in _PLAIN]
        if ways:
            raise UserError(
                f"{where}: {ways[0].replace('_', '-')} is for Discrete actions: with continuous ones an action is an "
                "input beside the frame; leave it out"
            )
    asks = bool(train.constraint) or train.target == "expectile" or train.propensities == "estimated"
    if train.stack > 1 and asks and train.regressor != "table":
        raise UserError(
            f"{where}: the behaviour is cloned from single frames, and Q is shown {train.stack}; give stack 1"
        )
    if getattr(settings, "loss", "") == "quantile":
        _check_quantiles(train, where)
        if settings.encoding != "outputs" or settings.dueling:
            raise UserError(
                f"{where}: loss quantile learns several numbers for each action, one output each; give encoding "
                "outputs and dueling false"
            )
    if train.subset < 1 and not kind.sweeps:
        able = " or ".join(name for name, one in REGRESSORS.items() if one.sweeps)
        raise UserError(f"{where}: subset draws the rows of each member's batches; it has an effect only on {able}")
    if train.workers is not None and not kind.workers:
        raise UserError(f"{where}: workers has no effect on the {train.regressor} regressor")
    if train.holdout_by == "episodes" and not train.holdout:
        raise UserError(f"{where}: holdout-by episodes has an effect only with a holdout greater than 0")
    if getattr(settings, "patience", 0) and not train.holdout:
        raise UserError(f"{where}: patience looks at held-out rows; give a holdout greater than 0")


def _check_quantiles(train: TrainSettings, where: str) -> None:
    if train.maximise == "cem":
        raise UserError(f"{where}: loss quantile is for Discrete actions, found maximise cem; give another loss")
    if train.n_step_rule != "ignore" or train.trace_decay != 1:
        raise UserError(
            f"{where}: loss quantile takes a return's distribution from the best action of one next frame: it does not "
            "go with n-step-rule or trace-decay; give another loss"
        )
