"""Policies by name, as a user types them: `random`, `scripted:cartpole,epsilon=0.2`, `run:runs/latest@50,weight=3`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.behaviour import Component, Mixture
from fqi.errors import UserError
from fqi.imports import imported
from fqi.policies import Function, Policy, Uniform, greedy
from fqi.run import Run
from fqi.scripted import EXPERTS, expert, expert_for
from fqi.spaces import alike

KINDS = (
    "random, scripted:NAME, run:DIR[@ROUND][,member=NUMBER], learned:FILE[@NUMBER], py:MODULE:CALLABLE or sb3:ALGO:ZIP"
)
_SUFFIX = re.compile(r",(epsilon|weight)=([^,]*)$")


def mixture(specs: Sequence[str], slots: Any, environment: dict[str, Any] | None, per: str) -> Mixture:
    """The mixture of these policies, for environments such as `slots` offers."""
    components = [component(spec, slots.observation_space, slots.action_space, environment) for spec in specs]
    return Mixture(components, slots.action_space, per)


def component(
    spec: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None
) -> Component:
    """One policy with its epsilon and weight."""
    name, options = spec, dict[str, float]()
    while match := _SUFFIX.search(name):
        if match[1] in options:
            raise UserError(f"policy {spec!r}: {match[1]} is given twice")
        try:
            options[match[1]] = float(match[2])
        except ValueError:
            raise UserError(f"policy {spec!r}: {match[1]} must be a number, found {match[2]!r}") from None
        name = name[: match.start()]
    kind, _, rest = name.partition(":")
    if kind not in _BUILDERS:
        raise UserError(f"policy {spec!r}: expected {KINDS}, with ,epsilon=… and ,weight=… behind it where wanted")
    policy = _BUILDERS[kind](rest, observation_space, action_space, environment)
    return Component(spec, policy, **options)


def _random(rest: str, _: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None) -> Policy:
    if rest:
        raise UserError(f"policy random takes no name, found {rest!r}")
    if isinstance(action_space, gym.spaces.Box) and not action_space.is_bounded():
        raise UserError(f"policy random needs a bounded action space, found {action_space}")
    return Uniform(action_space)


def _scripted(
    rest: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None
) -> Policy:
    if rest:
        found = expert(rest)
    else:
        known = expert_for(environment["id"]) if environment else None
        if known is None:
            raise UserError(f"no scripted policy is shipped for this environment; there are {', '.join(EXPERTS)}")
        found = known
    found.check_fits(observation_space, action_space)
    return Function(found.act, action_space, f"scripted:{found.name}")  # type: ignore[arg-type]


def _run(
    rest: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None
) -> Policy:
    name, _, member = rest.partition(",member=")
    if ",member=" in rest and not member.isdecimal():
        raise UserError(f"policy run:{rest}: the member must be a whole number, found {member!r}")
    path, _, number = name.partition("@")
    if "@" in name and not number.isdecimal():
        raise UserError(f"policy run:{rest}: the round behind @ must be a whole number, found {number!r}")
    run = Run.open(Path(path))
    if run.action_space != action_space or not alike(run.observation_space, observation_space):
        raise UserError(f"policy run:{rest}: it was trained for other observations or actions than this environment's")
    try:
        place, heads = run.pick_member(int(member) if member else None), run.config.heads
    except UserError as error:
        raise UserError(f"policy run:{rest}: {error}, by run:{name},member=NUMBER") from None
    q = run.build()
    run.load(q, run.pick_round(int(number) if number else None))
    return greedy(q, slice(place * heads, (place + 1) * heads))


def _learned(
    rest: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None
) -> Policy:
    from fqi.baselines.saved import saved_policies

    path, _, number = rest.partition("@")
    if "@" in rest and not number.isdecimal():
        raise UserError(f"policy learned:{rest}: what stands behind @ must be a whole number, found {number!r}")
    policies, observations, actions = saved_policies(Path(path))
    if actions != action_space or not alike(observations, observation_space):
        raise UserError(f"policy learned:{rest}: it was trained for other observations or actions than these")
    if int(number or 0) >= len(policies):
        raise UserError(f"policy learned:{rest}: the file holds the policies 0 to {len(policies) - 1}")
    return policies[int(number or 0)]


def _py(rest: str, _: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None) -> Policy:
    return Function(imported(rest, "policy"), action_space, f"py:{rest}")


def _sb3(
    rest: str, observation_space: gym.Space[Any], action_space: gym.Space[Any], environment: dict[str, Any] | None
) -> Policy:
    algorithm, _, path = rest.partition(":")
    if not algorithm or not path:
        raise UserError(f"policy sb3:{rest}: expected sb3:ALGO:ZIP, for instance sb3:PPO:model.zip")
    if not Path(path).is_file():
        raise UserError(f"policy sb3:{rest}: no such file: {path}")
    try:
        import stable_baselines3
    except ImportError:
        raise UserError("policy sb3:… needs stable-baselines3: pip install 'fqi[sb3]'") from None
    kind = getattr(stable_baselines3, algorithm.upper(), None)
    if kind is None:
        raise UserError(f"policy sb3:{rest}: stable-baselines3 has no algorithm {algorithm!r}")
    warnings.warn(f"{path} is a stable-baselines3 file, and loading it can execute code in it", stacklevel=2)
    try:
        model = kind.load(path, device="cpu")
    except Exception as error:  # whatever that library raises for a file it cannot read
        raise UserError(f"policy sb3:{rest}: {path} cannot be loaded as {algorithm}: {error}") from None
    if model.action_space != action_space:
        raise UserError(f"policy sb3:{rest}: it was trained for actions {model.action_space}, not {action_space}")

    def act(frames: Any) -> Any:
        return np.asarray(model.predict(frames, deterministic=True)[0])

    return Function(act, action_space, f"sb3:{rest}")


_BUILDERS = {
    "random": _random,
    "scripted": _scripted,
    "run": _run,
    "learned": _learned,
    "py": _py,
    "sb3": _sb3,
}
