"""Bias in states of the log: the environment is set to each, every member's greedy policy goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fqi.behaviour import Blocks, Component, Mixture
from fqi.environments.make import make_slots
from fqi.environments.placing import PlacedSlots, certain, placer
from fqi.log import Log
from fqi.nest import Nest, leaves, unflatten
from fqi.policies import Greedy
from fqi.qfunctions.contract import enumerating
from fqi.reports.accuracy.sample import Neighbours, drawn_steps, frames_at
from fqi.reports.evaluation import predictions
from fqi.rollout import play
from fqi.run import Run

ROLLOUTS = 20  # from each state, where chance plays a part after the start


def settable(environment: dict[str, Any]) -> bool:
    """Whether the environment can be set to a frame."""
    slots = make_slots(environment, 1)
    try:
        return placer(slots) is not None
    finally:
        slots.close()


def measure_states(
    run: Run, log: Log, number: int, near: Neighbours, *, states: int, seed: int, environment: dict[str, Any]
) -> list[dict[str, Any]]:
    """What a round predicts in states of the log, and what its policies then earn from them; a row for each member.

    The realised value of a state is the mean of its rollouts, `error` the standard error of that mean: 0 where nothing
    is left to chance and one rollout is exact.
    """
    config, q = run.config, enumerating(run.build())
    steps = drawn_steps(log, states, seed)
    frames, members = frames_at(log, steps), config.train.seeds
    probe = make_slots(environment, 1)
    repeats = 1 if certain(probe) else ROLLOUTS
    probe.close()
    each = members * repeats
    inner = make_slots(environment, each * len(steps))
    slots = PlacedSlots(inner, _tiled(frames, each), environment["id"])
    try:
        run.load(q, number)
        policies = [Greedy(q, slice(m * config.heads, (m + 1) * config.heads)) for m in range(members)]
        legal = None if log.action_mask is None else log.action_mask[log.frame_of_step[steps]]
        greedy = [policy.among(frames, legal).argmax(1) for policy in policies]
        actor = Blocks([Mixture([Component(f"member {m}", p)], slots.action_space) for m, p in enumerate(policies)])
        seeds = np.random.SeedSequence((seed, 0x57A7F)).generate_state(repeats * len(steps), np.uint32)
        played = play(slots, actor, np.tile(seeds.astype(np.int64), members), None, config.train.gamma)
        predicted = predictions(run, q, frames, number, legal)
    finally:
        slots.close()
        q.close()
    earned = played.discounted.reshape(members, repeats, len(steps))  # rollouts of all states, one after the other
    left = played.tail.reshape(members, -1)
    rows = []
    for member in range(members):
        own = near.episode[steps]
        distance = near.distances(frames, greedy[member], own)
        error = earned[member].std(0, ddof=1) / repeats**0.5 if repeats > 1 else np.zeros(len(steps))
        rows.append({
            "round": number, "member": member, "environment": environment["id"], "seed": seed, "rollouts": repeats,
            "gamma": config.train.gamma, "steps": steps.tolist(), "predicted": predicted[member].tolist(),
            "realised": earned[member].mean(0).tolist(), "error": error.tolist(),
            "distance": None if distance is None else distance.tolist(), "tail": float(left[member].mean()),
        })  # fmt: skip
    return rows


def _tiled(frames: Nest, times: int) -> Nest:
    return unflatten({path: np.concatenate([array] * times) for path, array in leaves(frames).items()})


def measurable(run: Run, environment: dict[str, Any]) -> bool:
    """Values without discount have no end beyond a time limit, so that states in the middle of an episode have none."""
    return run.config.train.gamma < 1 and settable(environment)


def states_of_exact(
    run: Run, log: Log, near: Neighbours, exact: Sequence[dict[str, Any]], *, states: int, seed: int
) -> list[dict[str, Any]]:
    """The same from the rows of a known model: the realised values are exact, and nothing has to be played."""
    steps = drawn_steps(log, states, seed)
    frames = np.asarray(frames_at(log, steps)).astype(np.int64)
    rows = []
    for row in exact:
        values, worth, choices = (np.array(row[name]) for name in ("values", "worth", "choices"))
        distance = near.distances(frames, choices[frames], near.episode[steps])
        rows.append({
            **{k: row[k] for k in ("round", "member", "environment", "gamma")}, "seed": seed, "rollouts": None,
            "steps": steps.tolist(), "predicted": values[frames].tolist(), "realised": worth[frames].tolist(),
            "error": [0.0] * len(steps), "distance": None if distance is None else distance.tolist(), "tail": 0.0,
        })  # fmt: skip
    return rows
