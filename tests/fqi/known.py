"""Problems whose answers are known, as logs built directly and as exact optima."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.nest import Array
from fqi.qfunctions.contract import QFunction
from fqi.transitions import Transitions
from fqi.values import Value

CPU = torch.device("cpu")


def step_log(
    states: Array, actions: Array, rewards: Array, terminations: Array, next_states: Array, env: gym.Env[Any, Any]
) -> Log:
    """A log of episodes of one step each: any set of transitions can be written so."""
    B = len(states)
    return Log(
        observations=np.stack([states, next_states], axis=1).reshape(2 * B, *states.shape[1:]),
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=~terminations,
        lengths=np.ones(B, np.int64),
        observation_space=env.observation_space,
        action_space=env.action_space,
    )


def chain(
    repeats: int = 1,
    only: Callable[[int, int], bool] = lambda state, action: True,
    reward: Callable[[int, int], float] = lambda state, action: float(state == 2 and action == 1),
) -> Log:
    """States 0, 1, 2 in a row: action 0 goes left (from 0 it stays), action 1 right; right of 2 is the end."""
    pairs = [(s, a) for s in range(3) for a in range(2) if only(s, a)] * repeats
    s, a = (np.array(column) for column in zip(*pairs, strict=True))
    return Log(
        observations=np.stack([s, np.clip(s + 2 * a - 1, 0, 2)], axis=1).reshape(-1),
        actions=a,
        rewards=np.array([reward(*pair) for pair in pairs]),
        terminations=(s == 2) & (a == 1),
        truncations=(s != 2) | (a != 1),
        lengths=np.ones(len(s), np.int64),
        observation_space=gym.spaces.Discrete(3),
        action_space=gym.spaces.Discrete(2),
    )


def model(env: gym.Env[Any, Any]) -> tuple[Array, Array]:
    """Toy text's true model: P [S, A, S] of going on (an end leads nowhere) and R [S, A]."""
    dynamics = env.unwrapped.P  # type: ignore[attr-defined]
    S, A = len(dynamics), len(dynamics[0])
    onward, reward = np.zeros((S, A, S)), np.zeros((S, A))
    for s, a in np.ndindex(S, A):
        for probability, following, r, terminated in dynamics[s][a]:
            reward[s, a] += probability * r
            onward[s, a, following] += probability * (not terminated)
    return onward, reward


def value_iteration(onward: Array, reward: Array, gamma: float, rounds: int) -> Array:
    """[S, A] after so many exact backups from 0."""
    q = np.zeros_like(reward)
    for _ in range(rounds):
        q = reward + gamma * onward @ q.max(1)
    return q


def covering(env: gym.Env[Any, Any], each: int, seed: int | None = None) -> Log:
    """So many outcomes of every state-action pair: drawn from the true model, or without a seed taken in turn.

    In turn, a number that every pair's count of (equally likely) outcomes divides makes the log imply the true model.
    """
    generator = np.random.default_rng(seed)
    columns: list[list[Array]] = [[], [], [], [], []]
    for s, of_state in env.unwrapped.P.items():  # type: ignore[attr-defined]
        for a, outcomes in of_state.items():
            chance, following, reward, terminated = (np.array(column) for column in zip(*outcomes, strict=True))
            turns = np.arange(each) % len(outcomes)
            drawn = turns if seed is None else generator.choice(len(outcomes), size=each, p=chance)
            made = (np.full(each, s), np.full(each, a), reward[drawn], terminated[drawn], following[drawn])
            for column, values in zip(columns, made, strict=True):
                column.append(values)
    states, actions, rewards, terminations, next_states = (np.concatenate(column) for column in columns)
    return step_log(states, actions, rewards.astype(np.float64), terminations.astype(np.bool_), next_states, env)


def implied(log: Log, S: int, A: int) -> tuple[Array, Array]:
    """P [S, A, S] of going on and R [S, A] as the log's own frequencies have them."""
    s, following = (np.asarray(log.observations)[i::2] for i in (0, 1))
    counts = np.zeros((S, A))
    onward, reward = np.zeros((S, A, S)), np.zeros((S, A))
    np.add.at(counts, (s, log.actions), 1)
    np.add.at(reward, (s, log.actions), log.rewards)
    np.add.at(onward, (s, log.actions, following), ~log.terminations)
    return onward / counts[:, :, None], reward / counts


def iterate(
    q: QFunction, rows: Transitions, rounds: int, training: torch.Tensor | None = None, value: Value | None = None
) -> None:
    """The fold, for what it leaves in q."""
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool) if training is None else training)
    for _ in fitted_q_iteration(rows, q, value or Value(), range(1, rounds + 1)):
        pass


def policy_value(onward: Array, reward: Array, gamma: float, policy: Array, steps: int) -> Array:
    """[S] the expected return of always taking policy [S] for so many steps, from the model."""
    states = np.arange(len(reward))
    chain, earned = onward[states, policy], reward[states, policy]  # [S, S], [S]
    value = np.zeros(len(reward))
    for _ in range(steps):
        value = earned + gamma * chain @ value
    return value
