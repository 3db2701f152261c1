"""Is what a report says of its own accuracy true? Checked where the values are known exactly.

python docs/experiments/accuracy.py coverage 200   # do intervals of true values hold what they say?
python docs/experiments/accuracy.py maximum 100    # does the reported bias hold the true one, with max and without?
python docs/experiments/accuracy.py gap 60         # does the gap of the maximum rank runs as their true bias does?
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from fqi.behaviour import Component, Mixture
from fqi.datasets.collect import Request, collect
from fqi.datasets.load import load_log
from fqi.environments.make import environment_record, make_slots
from fqi.environments.models import model_of
from fqi.environments.placing import PlacedSlots
from fqi.policies import Function
from fqi.reports.accuracy.audit import measure_audit
from fqi.reports.accuracy.exact import measure_exact
from fqi.reports.accuracy.sample import Neighbours
from fqi.reports.accuracy.states import ROLLOUTS, states_of_exact
from fqi.reports.accuracy.summary import audit_by_round
from fqi.reports.evaluation import evaluate, start_seeds
from fqi.reports.overestimation import by_round
from fqi.reports.statistics import over_members
from fqi.rollout import play
from fqi.training import configure, train

GAMMA = 0.95
# Centres that reach no further than their own state: the mean of each pair's rows, as a table has it, but with heads.
FIT = {"gamma": GAMMA, "iterations": 60, "regressor": "linear", "features": "radial:96:0.3"}


def trained(folder, name, seed, steps, **flags):
    """A log of uniformly random steps, and a run on it."""
    path = folder / f"{name}-{seed}-{steps}.h5"
    if not path.exists():
        collect(Request.new(name, {"seed": seed}, steps, None), path)
    log = load_log(str(path))
    out = Path(tempfile.mkdtemp(dir=folder)) / "run"
    return log, train(log, configure(log, flags={"seed": seed, "device": "cpu"} | flags), out, log_reference=str(path))


def acting(policy, space):
    return Mixture([Component("policy", Function(lambda states: policy[states], space, "policy"))], space)


def policies(model):
    """The best policy, one that is often wrong, and one in between, each as an action for every state."""
    best = np.where(model.legal, model.optimum(GAMMA, None), -np.inf).argmax(1)
    generator = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.6):
        wrong = np.where(model.legal, generator.random(model.legal.shape), -1).argmax(1)
        yield share, np.where(generator.random(len(best)) < share, wrong, best)


def coverage(repeats):
    """The share of repeats in which the 95 % interval holds the exact value, for start states and states of a log."""
    for name, episodes in (("FrozenLake-v1", 100), ("CliffWalkingSlippery-v1", 100), ("Taxi-v4", 100)):
        record = environment_record(name)
        model = model_of(record)
        for share, policy in policies(model):
            truth = model.worth(policy, GAMMA, None)[np.arange(len(policy)), policy]
            slots = make_slots(record, episodes)
            actor, lead = (acting(policy, slots.action_space) for _ in range(2))
            held, generator = {"starts": 0, "states": 0}, np.random.default_rng(1)
            legs = np.flatnonzero(model.lasting)  # the states of the log: each as likely as any other here
            few = episodes // ROLLOUTS * 4
            inner = make_slots(record, few * ROLLOUTS)
            for repeat in range(repeats):
                played = play(slots, actor, start_seeds(repeat, episodes), None, GAMMA)
                found = over_members([played.discounted.tolist()])
                held["starts"] += found.low <= model.starts @ truth <= found.high
                states = generator.choice(legs, few)
                placed = PlacedSlots(inner, np.tile(states, ROLLOUTS), name)
                played = play(placed, lead, start_seeds(10**6 + repeat, few * ROLLOUTS), None, GAMMA)
                found = over_members([played.discounted.reshape(ROLLOUTS, few).mean(0).tolist()])
                held["states"] += found.low <= truth[legs].mean() <= found.high
            print(
                f"{name:24} {share:3.0%} wrong: value {model.starts @ truth:8.4f}; held from starts "
                f"{held['starts'] / repeats:6.1%}, from states {held['states'] / repeats:6.1%}",
                flush=True,
            )


def maximum(runs):
    """Reported bias with its interval against the exact one, for three value rules on the same logs."""
    rules = {
        "max": {"target": "max", "ensemble": 1},
        "double": {"target": "double", "ensemble": 2, "weights": "split"},
        "clipped": {"target": "clipped", "ensemble": 2, "weights": "split"},
    }
    name = "FrozenLake-v1"
    model, record = model_of(environment_record(name)), environment_record(name)
    with tempfile.TemporaryDirectory() as place:
        for rule, flags in rules.items():
            held, reported, true, maxima = 0, [], [], []
            for seed in range(runs):
                log, run = trained(Path(place), name, seed, 2000, **FIT, **flags)
                last = by_round(evaluate(run, [60], episodes=200, seed=1))[-1]["bias"]
                (exact,) = next(measure_exact(run, log, [60], model, record))
                held += last.low <= exact["bias"] <= last.high
                reported.append(last.mean)
                true.append(exact["bias"])
                maxima.append(exact["parts"]["maximum"])
            error = np.std(true, ddof=1) / runs**0.5
            print(
                f"{rule:8} interval holds the true bias in {held} of {runs}; true bias {np.mean(true):+.4f} +- "
                f"{1.96 * error:.4f}, reported {np.mean(reported):+.4f}; of it the plain maximum would add "
                f"{np.mean(maxima):+.4f}",
                flush=True,
            )


def gap(runs):
    """Spearman's rank correlation, over runs of one task, of what the log alone says with the truth."""
    sizes, rules = (500, 1000, 2000, 5000, 10_000), ("max", "double")
    for name, steps in (("FrozenLake-v1", 1), ("FrozenLake8x8-v1", 4)):
        record = environment_record(name)
        model = model_of(record)
        rows = []
        with tempfile.TemporaryDirectory() as place:
            for seed in range(runs):
                flags = {"target": rules[seed % 2], "ensemble": 2, "weights": "split"}
                log, run = trained(Path(place), name, seed, steps * sizes[seed % 5], **FIT, **flags)
                near = Neighbours(log)
                audit = audit_by_round(measure_audit(run, log, 60, near, frames=400, seed=0))[-1]
                exact = next(measure_exact(run, log, [60], model, record))
                (states,) = states_of_exact(run, log, near, exact, states=400, seed=0)
                bias = np.mean(np.subtract(states["predicted"], states["realised"]))
                rows.append((seed % 2, audit["gap"].mean, audit["gathered"], bias))
        rule, gaps, gathered, bias = np.array(rows).T
        print(
            f"{name:24} all {runs}: gap {spearmanr(gaps, bias)[0]:+.2f}, gathered {spearmanr(gathered, bias)[0]:+.2f}; "
            + ", ".join(
                f"{r} alone: gap {spearmanr(gaps[rule == i], bias[rule == i])[0]:+.2f}, mean bias "
                f"{bias[rule == i].mean():+.3f}, gathered {gathered[rule == i].mean():+.3f}"
                for i, r in enumerate(rules)
            ),
            flush=True,
        )


if __name__ == "__main__":
    {"coverage": coverage, "maximum": maximum, "gap": gap}[sys.argv[1]](int(sys.argv[2]))
