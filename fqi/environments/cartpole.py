"""Gymnasium's CartPole in slots, on its own vectorised entry point."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from fqi.environments.starts import uniforms
from fqi.nest import Array
from fqi.slots import all_slots, refuse_ended


class CartPoleSlots:
    """The vectorised CartPole without its automatic reset: each slot starts where `reset(seed=seed)` would."""

    def __init__(self, count: int, sutton_barto_reward: bool = False) -> None:
        self.count = count
        never = int(np.iinfo(np.int32).max)
        env: Any = CartPoleVectorEnv  # Any: Gymnasium declares the state as None
        self._env = env(count, max_episode_steps=never, sutton_barto_reward=sutton_barto_reward)
        self._env.state = np.zeros((4, count))  # [4, V]
        self.observation_space: gym.Space[Any] = self._env.single_observation_space
        self.action_space: gym.Space[Any] = self._env.single_action_space
        self._all = all_slots(self)
        self._ended = np.ones(count, np.bool_)  # [V]

    def reset(self, slots: Array, seeds: Array) -> Array:
        state = (-0.05 + (0.05 - -0.05) * uniforms(seeds, 4)).T  # [4, len(slots)]
        self._env.state[:, slots] = state
        self._env.steps[slots] = 0
        self._ended[slots] = False
        return state.T.astype(np.float32)

    def place(self, slots: Array, frames: Array) -> None:
        """Go on from these frames: what `fqi.environments.placing` asks for."""
        self._env.state[:, slots] = frames.T

    def step(self, slots: Array, actions: Array) -> tuple[Array, Array, Array, Array, Array | None]:
        refuse_ended(self._ended, slots)
        if len(slots) == self.count and (slots == self._all).all():
            frames, rewards, terminations, truncations = self._step(actions)
            self._ended[:] = terminations
            return frames, rewards.astype(np.float64), terminations, truncations, None
        everyones = np.zeros(self.count, np.int64)
        everyones[slots] = actions
        before = self._env.state  # `step` replaces this array and leaves it as it was
        frames, rewards, terminations, truncations = self._step(everyones)
        before[:, slots] = self._env.state[:, slots]
        self._env.state = before
        self._ended[slots] = terminations[slots]
        return frames[slots], rewards[slots].astype(np.float64), terminations[slots], truncations[slots], None

    def _step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        frames, rewards, terminations, truncations, _ = self._env.step(actions.astype(np.int64, copy=False))
        self._env.prev_done[:] = False  # else the next step would reset what ended in this one
        return frames, rewards, terminations, truncations

    def close(self) -> None:
        self._env.close()
