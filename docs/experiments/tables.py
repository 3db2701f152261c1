"""Tables against known answers: returns of the greedy policies on Taxi, CliffWalking and FrozenLake.

    python docs/experiments/tables.py

Each log holds every outcome of every state-action pair with its true probability, so table FQI must reach the optimum:
7.93 and 6.327464 (Taxi, gamma 1 and 0.99), -13 and -12.247898 (CliffWalking), 0.542026 (FrozenLake, gamma 0.99).
"""

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np

from fqi.log import Log
from fqi.policies import Greedy
from fqi.training import configure, train

# gamma and rounds: what is stochastic converges only in the limit
TASKS = [
    ("Taxi-v4", 1.0, 100),
    ("Taxi-v4", 0.99, 100),
    ("CliffWalking-v1", 1.0, 100),
    ("CliffWalking-v1", 0.99, 100),
    ("FrozenLake-v1", 0.99, 800),
]


def model(env):
    """Transitions [S, A, S'], expected rewards [S, A] and probabilities of not ending [S, A, S'] of the true model."""
    S, A = int(env.observation_space.n), int(env.action_space.n)
    go, rewards = np.zeros((S, A, S)), np.zeros((S, A))
    for s, actions in env.unwrapped.P.items():
        for a, outcomes in actions.items():
            for p, after, reward, ended in outcomes:
                rewards[s, a] += p * reward
                go[s, a, int(after)] += 0.0 if ended else p
    return go, rewards


def covering_log(env):
    """One episode of one step for each outcome of each pair, as often as is likely (in twelfths)."""
    frames, actions, rewards, ends = [], [], [], []
    for s, choices in env.unwrapped.P.items():
        for a, outcomes in choices.items():
            for p, after, reward, ended in outcomes:
                for _ in range(round(12 * p)):
                    frames += [s, int(after)]
                    actions.append(a)
                    rewards.append(float(reward))
                    ends.append(bool(ended))
    count = len(actions)
    return Log(
        observations=np.array(frames),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminations=np.array(ends),
        truncations=~np.array(ends),
        lengths=np.ones(count, np.int64),
        observation_space=env.observation_space,
        action_space=env.action_space,
    )


def main():
    for name, gamma, rounds in TASKS:
        env = gym.make(name)
        go, rewards = model(env)
        best = np.zeros(rewards.shape)
        for _ in range(2000):
            best = rewards + gamma * go @ best.max(1)
        with tempfile.TemporaryDirectory() as folder:
            log = covering_log(env)
            run = train(log, configure(log, flags={"gamma": gamma, "iterations": rounds}), Path(folder) / "run")
            q = run.build()
            run.load(q, rounds)
            states = np.arange(len(rewards))
            found = q.values(states)[0].numpy()
            choice = Greedy(q).probabilities(states).argmax(1)
        # the policy's own value, by solving its linear equations as an iteration from zero
        value = np.zeros(len(rewards))
        for _ in range(2000):
            value = rewards[states, choice] + gamma * go[states, choice] @ value
        starts = env.unwrapped.initial_state_distrib
        print(
            f"{name:16} gamma {gamma:4}: largest error of Q {np.abs(found - best).max():.1e}, "
            f"policy's value at the starts {starts @ value:.6f}, optimum {starts @ best.max(1):.6f}"
        )


if __name__ == "__main__":
    main()
