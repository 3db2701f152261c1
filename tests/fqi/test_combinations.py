"""No option is silently ignored: beside every other one each changes what is learned, or is refused with a reason."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.each import slots
from fqi.errors import UserError
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.options import CODE, base_types
from fqi.regressors import REGRESSORS
from fqi.run import build
from fqi.settings import Config, TrainSettings
from fqi.training import configure, training_rows

# What an option is given here: its values, and what they need to have an effect. Without an entry: every choice but
# the default, or a number beside the default.
GIVEN = {
    "expectile": ([0.6], {"target": "expectile"}),
    "temperature": ([3.0], {"target": "softmax"}),
    "n_step_rule": (["cut", "importance"], {"n_step": 3}),
    "importance_cap": ([6.0], {"n_step": 3, "n_step_rule": "importance"}),
    "propensities": (["estimated"], {"n_step": 3, "n_step_rule": "importance", "importance_cap": 6.0}),
    "trace_decay": ([0.5], {"n_step": 3}),
    "gamma": ([0.4], {}),
    "constraint": ([0.8], {}),
    "priority_alpha": ([0.1], {"weights": "prioritised"}),
    "priority_beta": ([0.9], {"weights": "prioritised"}),
    "priority_rounds": ([5], {"weights": "prioritised"}),
    "behaviour_weights": (["random=9"], {}),
    "ensemble": ([3], {}),
    "holdout": ([0.5], {}),
    "holdout_by": (["episodes"], {"holdout": 0.5}),
    "subset": ([0.5], {}),
    "ridge": ([1.0], {}),
    "quantiles": ([4], {"loss": "quantile"}),
    "width": ([9], {}),
    "batch": ([8], {}),
    "updates": ([5], {}),
    "depth": ([2], {}),
    "dense": ([9], {}),
    "trees": ([3], {}),
    "huber": ([0.1], {"loss": "huber"}),
    "clip": ([0.05], {}),
    "conservative": ([1.0], {}),
    "lr": ([0.02], {}),
    "features": (["radial:6:1", "tiles:2:2"], {}),
    "freeze_structure_after": ([1], {}),
    "max_features": ([0.5], {}),
    "dueling": ([True], {}),
    "layer_norm": ([True], {}),
    "network": (["py:json:loads"], {}),
    "turn": ([0.5], {}),
    "precision": (["bf16"], {"depth": 2}),  # tf32 is for GPUs
}
Flags = dict[str, Any]
# Left out: they say where or how long to compute, which must not change a round; the rest choose the kind of run.
# A bound has an effect only where values run away, and patience takes a round's first weights where none are better: it
# then undoes whatever the other options did, as it should. An embedding needs categories, of which this log has none.
APART = {
    "device",
    "workers",
    "jobs",
    "iterations",
    "seed",
    "seeds",
    "regressor",
    "bound",
    "patience",
    "checks",
    "embedding",
}
SMALL = {
    "mlp": {"width": 8, "depth": 1, "updates": 3, "batch": 16, "ensemble": 2, "holdout": 0.0, "lr": 0.01},
    "cnn": {"updates": 3, "batch": 16, "ensemble": 2, "holdout": 0.0},
    "trees": {"trees": 2, "ensemble": 2, "jobs": 1},
    "linear": {"features": "radial:4:1", "ensemble": 2},
    "table": {},
}


@dataclass(frozen=True)
class Option:
    """A value of an option, and the flags that give it with all that it needs to have an effect."""

    name: str
    flags: Flags


@functools.cache
def small_log(kind: str) -> Log:
    """Eight episodes of two behaviours; what a step is paid can be learned from its frame and action."""
    generator = np.random.default_rng(0)
    lengths = np.array([7, 3, 9, 4, 8, 5, 6, 2])
    N, ends = int(lengths.sum()), np.cumsum(lengths) - 1
    terminations = np.isin(np.arange(N), ends[::2])
    place = generator.normal(size=(N + 8, 2)).astype(np.float32)
    actions = generator.choice(3, p=[0.4, 0.34, 0.26], size=N)
    frame_of_step = np.arange(N) + np.repeat(np.arange(8), lengths)
    return Log(
        observations=generator.integers(3, size=N + 8) if kind == "table" else place,
        actions=actions,
        rewards=np.tanh(2 * place[frame_of_step, 0]) + (actions == 0) - 0.5 * place[frame_of_step, 1],
        terminations=terminations,
        truncations=np.isin(np.arange(N), ends[1::2]),
        lengths=lengths,
        observation_space=gym.spaces.Discrete(3) if kind == "table" else gym.spaces.Box(-np.inf, np.inf, (2,)),
        action_space=gym.spaces.Discrete(3),
        propensity=np.array([0.4, 0.34, 0.26])[actions],
        behaviour=(np.arange(N) % 5 < 2).astype(np.int32),
        behaviours=("random", "scripted"),
    )


def learned(kind: str, flags: Flags) -> bytes | str:
    """The bits of two rounds and of the third one's targets with these options, or why they are refused."""
    log = small_log(kind)
    try:
        config = configured(kind, flags)
        own, training = slots(log, config), training_rows(log.steps, config, log.lengths)
        q = build(config, log.observation_space, log.action_space, "cpu", 1)
        with torch.no_grad():
            q.bind(own.rows, training)
            rounds = fitted_q_iteration(own.rows, q, own.value, range(1, 3), own.bound, (), own.returns, own.weights)
            bits = [done.next_targets.numpy().tobytes() for done in rounds]
            bits += [t.numpy().tobytes() for t in q.checkpoint().values()]
        played = q.support(own.rows.observations())
        return b"".join(bits) + (b"" if played is None else played.numpy().tobytes())
    except UserError as error:
        return str(error)


def values_of(field: dataclasses.Field[object]) -> list[object]:
    rule, types = field.metadata, base_types(field)
    if rule["choices"]:
        return [c for c in rule["choices"] if c not in (field.default, "auto", CODE)]
    assert int in types, f"{field.name}: give it a value in GIVEN"
    return [field.default + 1]  # type: ignore[operator]


def options_of(kind: str, *settings: type[object]) -> list[Option]:
    """Every option with every value that it is given here."""
    found = []
    for field in itertools.chain.from_iterable(dataclasses.fields(of) for of in settings):
        if field.name not in APART:
            values, needs = GIVEN.get(field.name) or (values_of(field), {})
            needs = {
                k: v for k, v in needs.items() if any(k in {f.name for f in dataclasses.fields(s)} for s in settings)
            }
            found += [Option(field.name, {**needs, field.name: value}) for value in values]
    return [option for option in found if not by_default(kind, option)]


def by_default(kind: str, option: Option) -> bool:
    """Whether the option is given what it has anyway."""
    if refused(kind, option.flags):
        return False
    without = {k: v for k, v in option.flags.items() if k != option.name}
    return not refused(kind, without) and configured(kind, without) == configured(kind, option.flags)


def configured(kind: str, flags: Flags) -> Config:
    found = _configured(kind, tuple(sorted(flags.items())))
    if isinstance(found, str):
        raise UserError(found)
    return found


@functools.cache
def _configured(kind: str, flags: tuple[tuple[str, Any], ...]) -> Config | str:
    """The settings, or why these options do not go together; the same ones are asked for again and again."""
    try:
        return configure(small_log(kind), flags={"regressor": kind, "gamma": 0.5, **SMALL.get(kind, {}), **dict(flags)})
    except UserError as error:
        return str(error)


def refused(kind: str, flags: Flags) -> str:
    """Why these options do not go together; empty if they do."""
    try:
        configured(kind, flags)
    except UserError as error:
        return str(error)
    return ""


def merged(flags: Flags, more: Flags) -> Flags | None:
    """Both, or None where they give one option two values."""
    return None if any(flags.get(k, v) != v for k, v in more.items()) else flags | more


def covering(kind: str, every: list[Option]) -> Iterator[tuple[Flags, set[str]]]:
    """Few sets of options in which every two that go together stand together; with those that are there for the first
    time beside some other. Those that do not go together must be refused in one sentence."""
    together = set()
    for i, j in itertools.combinations(range(len(every)), 2):
        flags = merged(every[i].flags, every[j].flags)
        if flags is not None:
            reason = refused(kind, flags)
            assert "\n" not in reason
            if not reason:
                together.add((i, j))
    left = set(together)
    while left:
        chosen = list(min(left))
        flags = merged(*(every[i].flags for i in chosen))
        assert flags is not None
        for k in sorted(set(range(len(every))) - set(chosen), key=lambda k: -sum(k in pair for pair in left)):
            pairs = {(min(c, k), max(c, k)) for c in chosen}
            more = merged(flags, every[k].flags)
            if more is not None and pairs <= together and pairs & left and not refused(kind, more):
                chosen, flags = [*chosen, k], more
        new = {pair for pair in itertools.combinations(sorted(chosen), 2) if pair in left}
        left -= new
        yield flags, {every[i].name for pair in new for i in pair}


def ignored(kind: str, every: list[Option]) -> list[str]:
    """Options that change nothing beside others and are not refused."""
    found = []
    for flags, names in covering(kind, every):
        whole = learned(kind, flags)
        assert isinstance(whole, bytes), whole
        for name in names:
            if learned(kind, {k: v for k, v in flags.items() if k != name}) == whole:
                found.append(f"{name} of {flags}")
    return found


@pytest.fixture(autouse=True)
def one_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows have the same clone: it is learned once."""
    from fqi.baselines import cloning

    real, kept = cloning.clone, {}

    def clone(log, settings, seeds, **rest):
        quick = dataclasses.replace(settings, updates=40, look_every=20)
        if "clone" not in kept:
            kept["clone"] = real(log, quick, seeds, **rest)
        return kept["clone"]

    monkeypatch.setattr(cloning, "clone", clone)


# Trees are left out for their slowness: what they have in common with linear is tested with it.
@pytest.mark.parametrize("kind", ["table", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("linear", "mlp"))])
def test_every_pair_of_options(kind: str) -> None:
    assert ignored(kind, options_of(kind, TrainSettings, REGRESSORS[kind].settings)) == []


@pytest.mark.parametrize("kind", REGRESSORS)
def test_the_options_of_other_regressors_are_refused(kind: str) -> None:
    own = {f.name for f in dataclasses.fields(REGRESSORS[kind].settings)}
    for option in options_of(kind, *(REGRESSORS[k].settings for k in REGRESSORS)):
        if option.name not in own:
            assert "has no effect" in refused(kind, {option.name: option.flags[option.name]}), option
