"""What several tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import columns_of, head_of
from fqi.errors import UserError
from fqi.log import Log


def assert_same(found: Log, expected: Log) -> None:
    """Every column bit for bit, with its dtype, and all that the head says."""
    mine, theirs = columns_of(found), columns_of(expected)
    assert list(mine) == list(theirs)
    for name, array in theirs.items():
        assert mine[name].dtype == array.dtype, name
        np.testing.assert_array_equal(mine[name], array, err_msg=name)
    assert head_of(found).to_json() == head_of(expected).to_json()


def read_or_sentence(read: Callable[[], Log]) -> Log | None:
    """What the reading gives, or None if it ended in a sentence; any other error goes through."""
    try:
        return read()
    except UserError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return None


def played(env_id: str, steps: int, seed: int = 0, **said: Any) -> Log:
    """A log of a real environment under uniformly random actions."""
    env = gym.make(env_id)
    env.action_space.seed(seed)
    frames: list[Any] = []
    actions: list[Any] = []
    rewards: list[float] = []
    ends: list[tuple[bool, bool]] = []
    lengths: list[int] = []
    while len(actions) < steps:
        observation, _ = env.reset(seed=seed + len(lengths))
        frames.append(observation)
        begun = len(actions)
        while True:
            action = env.action_space.sample()
            observation, reward, terminated, truncated, _ = env.step(action)
            frames.append(observation)
            actions.append(action)
            rewards.append(float(reward))
            ends.append((terminated, truncated))
            if terminated or truncated:
                break
        lengths.append(len(actions) - begun)
    env.close()
    return Log(
        observations=np.asarray(frames, env.observation_space.dtype),
        actions=np.asarray(actions, env.action_space.dtype),
        rewards=np.array(rewards),
        terminations=np.array([end[0] for end in ends]),
        truncations=np.array([end[1] for end in ends]),
        lengths=np.array(lengths, np.int64),
        observation_space=env.observation_space,
        action_space=env.action_space,
        seeds=seed + np.arange(len(lengths)),
        environment={"id": env_id, "kwargs": {}, "max_episode_steps": env.spec.max_episode_steps if env.spec else None},
        **said,
    )


def small_log(episodes: int = 4, length: int = 5) -> Log:
    """Two-dimensional frames that tell where they came from, with every optional column."""
    steps = episodes * length
    last = np.zeros(steps, np.bool_)
    last[length - 1 :: length] = True
    frames = np.arange(2 * (steps + episodes), dtype=np.float32).reshape(-1, 2)
    return Log(
        observations=frames,
        actions=np.arange(steps) % 2,
        rewards=np.linspace(0, 1, steps),
        terminations=last & (np.arange(steps) < steps // 2),
        truncations=last & (np.arange(steps) >= steps // 2),
        lengths=np.full(episodes, length, np.int64),
        observation_space=gym.spaces.Box(-1e6, 1e6, (2,), np.float32),
        action_space=gym.spaces.Discrete(2),
        propensity=np.full(steps, 0.5),
        behaviour=np.zeros(steps, np.int32),
        behaviours=("random",),
        seeds=np.arange(episodes, dtype=np.int64),
        provenance={"made": "by hand"},
    )
