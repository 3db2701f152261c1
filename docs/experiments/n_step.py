"""What looking further along the log does: how fast reward spreads, and the bias of ignoring what was played.

    python docs/experiments/n_step.py

Tables, so that nothing but the returns differs; under two minutes on one core.
"""

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
from scipy import stats

from fqi.datasets.collect import Request, collect
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.returns import prepared
from fqi.run import build
from fqi.training import configure, training_rows
from fqi.values import Value

STATES = 40  # of the chain


def chain(states=STATES, episodes=200, right=0.9, seed=0):
    """States in a row: to the right with this chance, else to the left; right of the last one a reward of 1 ends it."""
    draws = np.random.default_rng(seed)
    frames, actions, lengths = [], [], []
    for _ in range(episodes):
        state, length = 0, 0
        frames.append(state)
        while state < states:
            action = int(draws.random() < right)
            state = max(0, state + 2 * action - 1)
            actions.append(action)
            frames.append(min(state, states - 1))
            length += 1
        lengths.append(length)
    ends = np.isin(np.arange(len(actions)), np.cumsum(lengths) - 1)
    actions = np.array(actions)
    return Log(
        observations=np.array(frames), actions=actions, rewards=ends.astype(np.float64), terminations=ends,
        truncations=np.zeros(len(ends), np.bool_), lengths=np.array(lengths),
        observation_space=gym.spaces.Discrete(states), action_space=gym.spaces.Discrete(2),
        propensity=np.where(actions == 1, right, 1 - right),
    )  # fmt: skip


def rounds(log, flags, count):
    """[rounds + 1, S, A] the table after each round."""
    config = configure(log, flags={"regressor": "table", "iterations": count, **flags})
    rows, returns = prepared(log, config.train)
    q = build(config, log.observation_space, log.action_space, "cpu", 1)
    q.bind(rows, training_rows(len(rows), config))
    every = np.arange(int(log.observation_space.n))
    found = [q.values(every)[0].numpy().copy()]
    for _ in fitted_q_iteration(rows, q, Value.of(config), range(1, count + 1), returns=returns):
        found.append(q.values(every)[0].numpy().copy())
    return np.stack(found)


def spread():
    """Rounds until the start of the chain is worth what it is worth, within 1 %."""
    log, gamma = chain(), 0.97
    truth = gamma ** (STATES - 1)
    print(f"chain of {STATES} states, {log.steps} steps, nine of ten to the right; the start is worth {truth:.4f}")
    for flags in (
        {}, {"n_step": 3}, {"n_step": 10}, {"n_step": 3, "n_step_rule": "cut"}, {"n_step": 10, "n_step_rule": "cut"},
        {"n_step": 10, "n_step_rule": "importance"}, {"n_step": 10, "trace_decay": 0.8},
    ):  # fmt: skip
        values = rounds(log, {"gamma": gamma, **flags}, 60).max(2)[:, 0]
        near = np.flatnonzero(np.abs(values / truth - 1) < 0.01)
        when = f"after {near[0]} rounds" if len(near) else "never"
        print(f"  {flags or 'one step'}: within 1 % {when}; after 60 rounds {values[-1]:.4f}", flush=True)


def bias(seeds=range(5), steps=10_000, count=120, gamma=0.99):
    """FrozenLake from uniformly random steps: the start's value less that of one-step targets on the same log, and what
    the greedy policy is worth by the true model."""
    env = gym.make("FrozenLake-v1").unwrapped
    onward, reward = np.zeros((16, 4, 16)), np.zeros((16, 4))
    for s in range(16):
        for a in range(4):
            for chance, following, paid, ended in env.P[s][a]:
                reward[s, a] += chance * paid
                onward[s, a, following] += chance * (not ended)

    def worth(policy):
        chosen, every = onward[np.arange(16), policy], reward[np.arange(16), policy]
        return np.linalg.solve(np.eye(16) - gamma * chosen, every)[0]

    weighed = {"n_step": 3, "n_step_rule": "importance"}
    options = [
        {}, {"n_step": 3}, {"n_step": 3, "trace_decay": 0.7}, {"n_step": 3, "n_step_rule": "cut"}, weighed,
        weighed | {"importance_cap": 4.0}, weighed | {"importance_cap": 4.0, "propensities": "estimated"},
    ]  # fmt: skip
    found = {str(o): [] for o in options}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            request = Request.new("FrozenLake-v1", {"policies": ["random"], "seed": seed}, steps, None)
            log = collect(request, Path(folder) / "log.h5")
        for option in options:
            table = rounds(log, {"gamma": gamma, **option}, count)[-1]
            found[str(option)].append((table[0].max(), worth(table.argmax(1))))
    first = np.array(found["{}"])
    print(f"FrozenLake, {steps} random steps, gamma {gamma}, {len(seeds)} logs; the optimum is worth 0.5420")
    for option, rows in found.items():
        rows = np.array(rows)
        means, half = [], []
        for column in (rows[:, 0], rows[:, 0] - first[:, 0], rows[:, 1]):
            means.append(column.mean())
            half.append(stats.t.ppf(0.975, len(column) - 1) * column.std(ddof=1) / len(column) ** 0.5)
        print(f"  {option}: start {means[0]:.4f} ± {half[0]:.4f}, less one step {means[1]:+.4f} ± {half[1]:.4f}, "
              f"policy worth {means[2]:.4f} ± {half[2]:.4f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    spread()
    bias()
