"""All that can be measured of a run's values beyond its start states, kept in the run for its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from fqi.environments.models import model_of
from fqi.errors import UserError
from fqi.log import Log, fingerprint
from fqi.reports.accuracy.audit import measure_audit
from fqi.reports.accuracy.exact import measure_exact
from fqi.reports.accuracy.policy_values import measure_policy_values
from fqi.reports.accuracy.sample import Neighbours
from fqi.reports.accuracy.states import measurable, measure_states, states_of_exact
from fqi.run import Run
from fqi.threads import one_thread

FRAMES = 400  # of the log, for what is asked of the log alone


@dataclass(frozen=True)
class Wanted:
    """What to measure."""

    states: int = 100  # of the log, to which the environment is set; 0: none
    fitted: bool = False  # fitted Q-evaluation of the last of the rounds
    seed: int = 0


def measure(
    run: Run,
    log: Log,
    rounds: Sequence[int],
    wanted: Wanted,
    environment: dict[str, Any] | None = None,
    listen: Callable[[str], None] | None = None,
) -> list[str]:
    """Measure these rounds and keep the rows in the run; returns what was measured, by the names of their files."""
    if not isinstance(run.action_space, gym.spaces.Discrete) or run.config.train.stack > 1:
        raise UserError(f"{run.path}: continuous actions and stacks of frames are judged from the start states alone")
    if len(run.config.settings) > 1:
        raise UserError(
            f"{run.path}: a sweep is judged from the start states alone; train the setting that matters by itself"
        )
    if fingerprint(log) != run.record["log"]["fingerprint"]:
        raise UserError(f"{run.path}: the log has changed since training began: its content has another fingerprint")
    if run.config.train.maximise == "cem":  # all that follows compares the values of all actions
        if wanted.fitted:
            raise UserError("fitted Q-evaluation looks at the values of all actions, and continuous ones have no end")
        return []
    if run.config.train.stack > 1:  # all that follows asks about single frames
        if wanted.fitted:
            raise UserError(
                "fitted Q-evaluation asks policies about single frames, and this run is shown several at once"
            )
        return []
    environment = environment or run.record["environment"]
    near, done = Neighbours(log), []
    say = listen or (lambda _: None)
    with one_thread():
        for number in rounds:
            say(f"audit of round {number}")
            run.keep("audit", measure_audit(run, log, number, near, frames=FRAMES, seed=wanted.seed))
        done.append("audit")
        model = model_of(environment)
        if model is not None and environment is not None:
            say("exact values")
            for exact in measure_exact(run, log, list(rounds), model, environment):
                run.keep("exact", exact)
                if wanted.states and "worth" in exact[0]:
                    run.keep("states", states_of_exact(run, log, near, exact, states=wanted.states, seed=wanted.seed))
            done.append("exact")
        elif wanted.states and environment is not None and measurable(run, environment):
            for number in rounds:
                say(f"states of the log at round {number}")
                rows = measure_states(
                    run, log, number, near, states=wanted.states, seed=wanted.seed, environment=environment
                )
                run.keep("states", rows)
            done.append("states")
        if wanted.fitted:
            say("fitted Q-evaluation")
            run.keep("policy_values", measure_policy_values(run, log, rounds[-1]))
            done.append("policy_values")
    return done
