"""Online evaluation: every member plays from the same start states, and what it predicted there is kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fqi.behaviour import Blocks, Component, Mixture
from fqi.each import value_of
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.maximise import search, unmoved
from fqi.nest import Array, Nest, rows, take
from fqi.policies import greedy
from fqi.qfunctions.contract import ContinuousQ, Fitted, QFunction
from fqi.recent import first_shown
from fqi.rollout import play
from fqi.run import Run
from fqi.scan import both
from fqi.slots import Slots
from fqi.spaces import alike
from fqi.threads import one_thread
from fqi.values import Value, worth_of_best

SPREAD = 10  # rounds evaluated unless told otherwise


def spread(rounds: Sequence[int], count: int = SPREAD) -> list[int]:
    """So many rounds, evenly over all of them, the first and the last among them."""
    index = np.unique(np.linspace(0, len(rounds) - 1, min(count, len(rounds))).round().astype(int))
    return [rounds[i] for i in index]


def start_seeds(seed: int, episodes: int) -> Array:
    """[E] reset seeds of the evaluation's start states; collection never draws from this stream."""
    return np.random.SeedSequence((seed, 0xE7A1)).generate_state(episodes, np.uint32).astype(np.int64)


def evaluate(
    run: Run,
    rounds: Sequence[int],
    *,
    episodes: int = 100,
    seed: int = 0,
    environment: dict[str, Any] | None = None,
    trusted: bool = False,
    max_steps: int | None = None,
    listen: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """Play every member's greedy policy at these rounds; the rows are kept in the run and returned."""
    if not rounds:
        raise UserError(f"{run.path} has no finished round to evaluate")
    environment = environment or run.record["environment"]
    if environment is None:
        raise UserError(f"{run.path}: its log names no environment; give one by --env")
    config, q = run.config, run.build()
    members, limit = config.members, max_steps or environment.get("max_episode_steps")
    slots = make_slots(environment, members * episodes, trusted=trusted)
    _check_spaces(run, slots, environment)
    seeds = start_seeds(seed, episodes)
    found = []
    try:
        with one_thread():
            for number in rounds:
                run.load(q, number)
                new = _one_round(run, q, slots, seeds, number, limit)
                for row in new:
                    row |= {"environment": environment["id"], "seed": seed}
                run.add_evaluations(new)
                found += new
                if listen:
                    listen(new)
    finally:
        slots.close()
        q.close()
    return found


def _one_round(run: Run, q: Fitted, slots: Slots, seeds: Array, number: int, limit: int | None) -> list[dict[str, Any]]:
    """Every member's episodes at one round, side by side."""
    config, episodes = run.config, len(seeds)
    members = config.members
    gammas = [setting.train.gamma for setting in config.settings for _ in range(config.train.seeds)]
    policies = [greedy(q, slice(m * config.heads, (m + 1) * config.heads)) for m in range(members)]
    actor = Blocks([Mixture([Component(f"member {m}", p)], slots.action_space) for m, p in enumerate(policies)])
    played = play(slots, actor, np.tile(seeds, members), limit, np.repeat(gammas, episodes))
    own = slice(0, episodes)
    legal = None if played.legal is None else played.legal[own]
    predicted = predictions(run, q, take(played.starts, own), number, legal)
    return [
        {
            "round": number,
            "member": member,
            "episodes": episodes,
            "gamma": gammas[member],
            "limit": limit,
            "returns": played.returns[own].tolist(),
            "discounted": played.discounted[own].tolist(),
            "predicted": predicted[member].tolist(),
            "lengths": played.lengths[own].tolist(),
            "terminated": played.terminated[own].tolist(),
            "success": None if played.success is None else played.success[own].tolist(),
            "tail": played.tail[own].tolist(),
        }
        for member, own in enumerate(slice(m * episodes, (m + 1) * episodes) for m in range(members))
    ]


def predictions(run: Run, q: Fitted, frames: Nest, number: int, legal: Array | None = None) -> Array:
    """[M, B] value that each member's own value rule gives to these first frames of episodes at a round: the mean over
    its heads. `legal` [B, A] says which actions may be played there. `q` is left at the oldest round that the rule
    looks back at."""
    value, recent, shown = value_of(run.config), list[torch.Tensor](), first_shown(frames, q.stack)
    if isinstance(q, ContinuousQ):
        return searched_predictions(run, q, shown, number)
    assert isinstance(q, QFunction)
    for earlier in range(number, max(0, number - value.rounds), -1):
        run.load(q, earlier)
        recent.append(q.values(shown))
    may = None if legal is None else torch.from_numpy(legal).to(recent[0].device)
    chances = q.chances(shown) if value.asks_chances else None
    found = value(recent, both(q.support(shown), may), number, chances)  # [P, B]
    means: Array = found.double().reshape(value.members, -1, rows(frames)).mean(1).cpu().numpy()
    return means


def searched_predictions(run: Run, q: ContinuousQ, frames: Nest, number: int) -> Array:
    """[M, B] as `predictions`, the best actions being searched for."""
    value, heads = Value.of(run.config), run.config.heads
    run.load(q, number)
    found = []
    for m in range(value.members):
        score, own = q.score(frames, slice(m * heads, (m + 1) * heads)), value.of_members(slice(m, m + 1))
        shift = unmoved(q.cem, rows(frames), int(np.prod(q.box.shape))).to(q.like())
        best = search(score, own.aim(number), q.cem, shift)
        found.append(worth_of_best(best, score, own, number).double().mean(0).cpu().numpy())
    return np.stack(found)


def _check_spaces(run: Run, slots: Any, environment: dict[str, Any]) -> None:
    for name in ("observation_space", "action_space"):
        trained, offered = getattr(run, name), getattr(slots, name)
        if not alike(trained, offered):
            what = name.replace("_", " ")
            raise UserError(f"{environment['id']} has the {what} {offered}, but {run.path} was trained on {trained}")
