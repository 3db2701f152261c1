"""Where the model is known: exact values beside predicted ones, and what each part of the difference is due to.

At the start states the bias is taken apart into a chain of differences, so that the parts add up to it:

    regressor   predicted V                       minus  V of the log's own frequencies, maximised, after as many rounds
    maximum     V of the log's own frequencies    minus  the same frequencies under the choices of the next line
    luck        those frequencies and choices     minus  V of the true model with the pairs in the log
    missing     V of the true model, logged pairs minus  V of the true model with all pairs, after as many rounds
    rounds      that                              minus  V*, the optimum
    policy      V*                                minus  V of the greedy policy, which is what it earns

The maximum's and the policy's parts are never below 0. The regressor's holds all in which its fit differs from exact
averages of the log's rows: generalisation, a value rule that is not the plain maximum, longer returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fqi.environments.models import Model
from fqi.log import Log
from fqi.nest import Array
from fqi.policies import Greedy
from fqi.qfunctions.contract import enumerating
from fqi.reports.evaluation import predictions
from fqi.run import Run

PARTS = ("regressor", "maximum", "luck", "missing", "rounds", "policy")
LARGEST = 4096  # pairs of state and action that are kept one by one


@dataclass(frozen=True, eq=False)
class Frequencies:
    """What the log says of a table, as plain averages."""

    onward: Array  # [S, A, S]
    reward: Array  # [S, A]
    counts: Array  # [S, A] rows

    @classmethod
    def of(cls, log: Log, model: Model) -> Frequencies:
        S, A = model.reward.shape
        frames, index = np.asarray(log.observations).astype(np.int64), log.frame_of_step
        s, following, a = frames[index], frames[index + 1], log.actions.astype(np.int64)
        counts, reward, onward = np.zeros((S, A)), np.zeros((S, A)), np.zeros((S, A, S))
        np.add.at(counts, (s, a), 1)
        np.add.at(reward, (s, a), log.rewards)
        np.add.at(onward, (s, a, following), ~log.terminations)
        rows = np.maximum(counts, 1)
        return cls(onward / rows[:, :, None], reward / rows, counts.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Backed:
    """Exact values [S, A] after some rounds from 0."""

    whole: Array  # the true model, all pairs
    seen: Array  # the true model, the log's pairs
    same: Array  # the log's frequencies, choices of `seen`
    logged: Array  # the log's frequencies, maximised


def backed_up(model: Model, log: Frequencies, gamma: float) -> Iterator[Backed]:
    """Round after round, from the first."""
    known, states = log.counts > 0, np.arange(len(model.reward))
    whole, seen, same, logged = (np.zeros_like(model.reward) for _ in range(4))
    allowed = model.legal & known
    while True:
        choice = np.where(allowed, seen, -np.inf).argmax(1)
        under = np.where(allowed.any(1), same[states, choice], 0.0)
        same = np.where(known, log.reward + gamma * (log.onward @ under), 0.0)
        logged = np.where(known, log.reward + gamma * (log.onward @ model.best(logged, known)), 0.0)
        seen = np.where(known, model.backup(model.best(seen, known), gamma), 0.0)
        whole = model.backup(model.best(whole), gamma)
        yield Backed(whole, seen, same, logged)


def measure_exact(
    run: Run, log: Log, rounds: list[int], model: Model, environment: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """For each round, in order, a row for each member."""
    gamma, frequencies = run.config.train.gamma, Frequencies.of(log, model)
    horizon = environment.get("max_episode_steps")
    optimum = model.optimum(gamma, horizon)
    q, states = enumerating(run.build()), np.arange(len(model.reward))
    steps = backed_up(model, frequencies, gamma)
    done, exact = 0, None
    legal = None if model.legal.all() else model.legal
    try:
        for number in sorted(rounds):
            while done < number:
                exact, done = next(steps), done + 1
            assert exact is not None
            run.load(q, number)
            values = q.values(states).double().numpy()  # [P, S, A]
            heads = run.config.heads
            policies = [Greedy(q, slice(m * heads, (m + 1) * heads)) for m in range(run.config.train.seeds)]
            choices = [policy.among(states, legal).argmax(1) for policy in policies]
            predicted = predictions(run, q, states, number, legal)
            yield [
                {"round": number, "member": m, "environment": environment["id"], "gamma": gamma}
                | _member(model, frequencies, exact, optimum, values[m * heads : (m + 1) * heads].mean(0),
                          predicted[m], choices[m], gamma, horizon)
                for m in range(len(policies))
            ]  # fmt: skip
    finally:
        q.close()


def _member(
    model: Model,
    log: Frequencies,
    exact: Backed,
    optimum: Array,
    q: Array,
    predicted: Array,
    choice: Array,
    gamma: float,
    horizon: int | None,
) -> dict[str, Any]:
    states, starts, known = np.arange(len(q)), model.starts, log.counts > 0
    earned_q = model.worth(choice, gamma, horizon)
    earned, best = earned_q[states, choice], model.best(optimum)
    seen_choice = np.where(model.legal & known, exact.seen, -np.inf).argmax(1)
    same = np.where((model.legal & known).any(1), exact.same[states, seen_choice], 0.0)
    chain = (
        predicted, model.best(exact.logged, known), same, model.best(exact.seen, known), model.best(exact.whole),
        best, earned,
    )  # fmt: skip
    means = [float(starts @ values) for values in chain]
    asked = model.lasting[:, None] & model.legal & known
    error, distance = (q - earned_q)[asked], (q - optimum)[asked]
    row: dict[str, Any] = {
        "predicted": means[0],
        "earned": means[-1],
        "optimum": means[-2],
        "bias": means[0] - means[-1],
        "parts": dict(zip(PARTS, (a - b for a, b in pairwise(means)), strict=True)),
        "pairs": int(asked.sum()),
        "pairs_missing": int((model.lasting[:, None] & model.legal & ~known).sum()),
        "error_mean": _mean(error),
        "error_rms": _mean(error**2) ** 0.5,
        "error_most": float(np.abs(error).max(initial=0.0)),
        "optimum_rms": _mean(distance**2) ** 0.5,
        "grid": None if model.grid is None else list(model.grid),
    }
    if q.size <= LARGEST:
        row |= {
            "values": predicted.tolist(), "worth": earned.tolist(), "choices": choice.tolist(),
            "lasting": model.lasting.tolist(), "q": q.tolist(), "q_worth": earned_q.tolist(),
            "q_optimum": optimum.tolist(), "counts": log.counts.tolist(),
        }  # fmt: skip
    return row


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else 0.0
