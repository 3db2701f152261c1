"""Is what a report says of its own accuracy true? Checked on tables whose values are known exactly.

    python docs/experiments/accuracy.py coverage 200   # do intervals of true values hold what they say?
    python docs/experiments/accuracy.py maximum 100    # does the reported bias hold the true one, with max and without?
    python docs/experiments/accuracy.py gap 60         # does the gap of the maximum rank runs as their true bias does?

Logs, tables and episodes are made with NumPy from the model alone, so that hundreds of runs take seconds. A table that
is the average of a log's rows is what `--regressor table` trains (a test holds that it is); the intervals are those of
the reports (`fqi.reports.statistics`), the gap is `fqi.reports.accuracy.crosswise`.
"""

import sys

import numpy as np
from scipy.stats import spearmanr

from fqi.environments.make import environment_record, make_single
from fqi.environments.models import from_table
from fqi.reports.accuracy.crosswise import crosswise
from fqi.reports.statistics import over_members, paired

GAMMA, ROUNDS = 0.95, 60


class World:
    """A toy-text table, its model, and episodes in it by the hundred."""

    def __init__(self, name):
        env = make_single(environment_record(name))
        self.model, P = from_table(env), env.unwrapped.P
        S, A = self.model.reward.shape
        most = max(len(P[s][a]) for s in range(S) for a in range(A))
        self.upto, self.reward = np.ones((S, A, most)), np.zeros((S, A, most))
        self.next, self.ends = np.zeros((S, A, most), int), np.zeros((S, A, most), bool)
        for s, a in np.ndindex(S, A):
            chances, after, rewards, ends = zip(*P[s][a], strict=True)
            k = len(chances)
            self.upto[s, a, :k] = np.cumsum(chances)
            self.next[s, a, :k], self.reward[s, a, :k], self.ends[s, a, :k] = after, rewards, ends

    def step(self, s, a, generator):
        k = (generator.random(len(s))[:, None] >= self.upto[s, a]).sum(1).clip(max=self.upto.shape[2] - 1)
        return self.next[s, a, k], self.reward[s, a, k], self.ends[s, a, k]

    def starts(self, count, generator):
        return generator.choice(len(self.model.starts), count, p=self.model.starts)

    def earned(self, policy, s, generator):
        """[E] discounted return of the policy from these states, until what is left weighs less than a thousandth."""
        found, weight = np.zeros(len(s)), np.ones(len(s))
        for _ in range(int(np.ceil(np.log(1e-3) / np.log(GAMMA)))):
            s, reward, ended = self.step(s, policy[s], generator)
            found += weight * reward
            weight *= np.where(ended, 0.0, GAMMA)
        return found

    def log(self, steps, generator):
        """Uniformly random episodes: state, action, reward, next, end, and the number of the episode of each step."""
        rows, episode, s = [], 0, self.starts(1, generator)
        for _ in range(steps):
            a = generator.integers(0, self.model.reward.shape[1], 1)
            after, reward, ended = self.step(s, a, generator)
            rows.append((s[0], a[0], reward[0], after[0], ended[0], episode))
            episode += int(ended[0])
            s = self.starts(1, generator) if ended[0] else after
        return [np.array(column) for column in zip(*rows, strict=True)]


def fit(world, log, rule, generator):
    """[H, S, A] tables after 60 rounds: one of all rows for max, two of half of the episodes each for double, clipped
    and `halves`, whose tables both believe their own maximum; and which pairs each of them has seen."""
    s, a, reward, after, ended, episode = log
    shape = world.model.reward.shape
    count = 1 if rule == "max" else 2
    owner = generator.integers(0, count, episode.max() + 1)[episode]
    parts = [owner == head for head in range(count)]
    rows = [np.bincount(s[p] * shape[1] + a[p], minlength=shape[0] * shape[1]).reshape(shape) for p in parts]
    known = [r > 0 for r in rows]
    q = np.zeros((count, *shape))
    for _ in range(ROUNDS):
        choice = [np.where(known[h], q[h], -np.inf).argmax(1) for h in range(count)]
        states, fitted = np.arange(shape[0]), np.zeros_like(q)
        for h in range(count):
            values = q[h]
            if rule == "double":
                values = q[1 - h]
            elif rule == "clipped":
                values = q.min(0)
            v = np.where(known[h].any(1), values[states, choice[h]], 0.0)
            targets = reward + GAMMA * np.where(ended, 0.0, v[after])
            p = parts[h]
            sums = np.bincount(s[p] * shape[1] + a[p], targets[p], minlength=shape[0] * shape[1]).reshape(shape)
            fitted[h] = sums / np.maximum(rows[h], 1)
        q = fitted
    return q, np.stack(known)


def judged(q, known, rule):
    """The greedy policy [S] by the mean of the tables, and the value [S] that the rule gives each state."""
    seen = known.any(0)
    policy = np.where(seen, q.mean(0), -np.inf).argmax(1)
    states, values = np.arange(q.shape[1]), []
    for h in range(len(q)):
        choice = np.where(known[h], q[h], -np.inf).argmax(1)
        of = {"double": q[-1 - h], "clipped": q.min(0)}.get(rule, q[h])
        values.append(np.where(known[h].any(1), of[states, choice], 0.0))
    return policy, np.mean(values, 0)


def worth(world, policy):
    return world.model.worth(policy, GAMMA, None)[np.arange(len(policy)), policy]


def coverage(repeats):
    """The share of repeats in which the 95 % interval holds the exact value."""
    for name in ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalkingSlippery-v1", "Taxi-v4"):
        world, chooser = World(name), np.random.default_rng(0)
        model, lasting = world.model, np.flatnonzero(world.model.lasting)
        best = np.where(model.legal, model.optimum(GAMMA, None), -np.inf).argmax(1)
        for wrong in (0.0, 0.3):
            other = np.where(model.legal, chooser.random(model.legal.shape), -1).argmax(1)
            policy = np.where(chooser.random(len(best)) < wrong, other, best)
            truth, held = worth(world, policy), [0, 0]
            for repeat in range(repeats):
                generator = np.random.default_rng((repeat, 7))
                found = over_members([world.earned(policy, world.starts(100, generator), generator).tolist()])
                held[0] += found.low <= model.starts @ truth <= found.high
                states = generator.choice(lasting, 100)  # 100 states, 20 rollouts of each
                earned = world.earned(policy, np.repeat(states, 20), generator).reshape(100, 20).mean(1)
                found = over_members([earned.tolist()])
                held[1] += found.low <= truth[lasting].mean() <= found.high
            print(
                f"{name:24} {wrong:4.0%} of the choices wrong, value {model.starts @ truth:8.4f}: held from 100 starts "
                f"{held[0] / repeats:.1%}, from 100 states x 20 rollouts {held[1] / repeats:.1%}",
                flush=True,
            )


def maximum(runs):
    """Reported bias with its interval against the exact one, for three value rules on the same logs."""
    world = World("FrozenLake-v1")
    for rule in ("max", "double", "clipped"):
        held, reported, true = 0, [], []
        for seed in range(runs):
            generator = np.random.default_rng((seed, 11))
            q, known = fit(world, world.log(2000, generator), rule, generator)
            policy, values = judged(q, known, rule)
            starts = world.starts(200, generator)
            found = paired([values[starts].tolist()], [world.earned(policy, starts, generator).tolist()])
            exact = float(world.model.starts @ (values - worth(world, policy)))
            held += found.low <= exact <= found.high
            reported.append(found.mean)
            true.append(exact)
        reach = 1.96 * np.std(true, ddof=1) / runs**0.5
        print(
            f"{rule:8} the interval holds the true bias in {held} of {runs} runs; true bias {np.mean(true):+.4f} +- "
            f"{reach:.4f}, reported {np.mean(reported):+.4f}",
            flush=True,
        )


def gap(runs):
    """Spearman's rank correlation, over runs of one task, of the gap of the maximum with the true bias."""
    sizes, rules = (500, 1000, 2000, 5000, 10_000), ("halves", "double")
    for name, times in (("FrozenLake-v1", 1), ("FrozenLake8x8-v1", 4)):
        world, rows = World(name), []
        for seed in range(runs):
            generator = np.random.default_rng((seed, 13))
            log = world.log(times * sizes[seed % 5], generator)
            rule = rules[seed // 5 % 2]
            q, known = fit(world, log, rule, generator)
            policy, values = judged(q, known, rule)
            frames = generator.choice(log[0], 400)
            found = crosswise(q[:, frames], known.any(0)[frames]).mean()
            rows.append((rule == "double", found, (values - worth(world, policy))[frames].mean()))
        double, gaps, bias = np.array(rows).T
        told = [f"all {runs} runs {spearmanr(gaps, bias)[0]:+.2f}"]
        for i, rule in enumerate(rules):
            own = double == i
            told.append(f"{rule} alone {spearmanr(gaps[own], bias[own])[0]:+.2f} (mean bias {bias[own].mean():+.3f})")
        print(f"{name:18} {', '.join(told)}", flush=True)


if __name__ == "__main__":
    {"coverage": coverage, "maximum": maximum, "gap": gap}[sys.argv[1]](int(sys.argv[2]))
