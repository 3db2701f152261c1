"""Any Gymnasium environment in slots: as many single environments in a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.errors import UserError
from fqi.nest import Array, Nest, leaf_spaces, stack
from fqi.slots import refuse_ended

_ARRAYS = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)

_MASK = "action_mask"  # what environments call it in their infos


class SingleSlots:
    """V environments, stepped one after the other."""

    def __init__(self, count: int, make: Callable[[], gym.Env[Any, Any]]) -> None:
        self.count = count
        self.envs: list[gym.Env[Any, Any]] = []
        try:
            self.envs.append(make())
            self.observation_space = self.envs[0].observation_space
            self.action_space = self.envs[0].action_space
            _refuse_ragged(self.observation_space, self.action_space)
            self.envs += [make() for _ in range(count - 1)]
        except BaseException:
            self.close()
            raise
        self._ended = np.ones(count, np.bool_)  # [V]
        self.legal = self._every_action() if self._tells_legal() else None  # [V, A] bool, as the environments tell it

    def _tells_legal(self) -> bool:
        """Whether the environments say which actions are legal: a log must know before the first episode."""
        return isinstance(self.action_space, gym.spaces.Discrete) and _MASK in self.envs[0].reset(seed=0)[1]

    def _every_action(self) -> Array:
        assert isinstance(self.action_space, gym.spaces.Discrete)
        return np.ones((self.count, int(self.action_space.n)), np.bool_)

    def _hear_legal(self, slots: Array, infos: Sequence[dict[str, Any]]) -> None:
        if self.legal is None:
            return
        for slot, info in zip(slots.tolist(), infos, strict=True):
            told = np.asarray(info.get(_MASK, True), np.bool_)
            if told.shape not in ((), self.legal.shape[1:]):
                raise UserError(
                    f"the environment's {_MASK} must have {self.legal.shape[1]} entries, found shape {told.shape}"
                )
            self.legal[slot] = told

    def reset(self, slots: Array, seeds: Array) -> Nest:
        pairs = zip(slots.tolist(), seeds.tolist(), strict=True)
        frames, infos = zip(*(self.envs[slot].reset(seed=seed) for slot, seed in pairs), strict=True)
        self._ended[slots] = False
        self._hear_legal(slots, infos)
        return stack(list(frames), self.observation_space)

    def step(self, slots: Array, actions: Array) -> tuple[Nest, Array, Array, Array, Array | None]:
        refuse_ended(self._ended, slots)
        # Python integers: not every environment takes NumPy's.
        chosen = actions.tolist() if isinstance(self.action_space, gym.spaces.Discrete) else list(actions)
        steps = [self.envs[slot].step(action) for slot, action in zip(slots.tolist(), chosen, strict=True)]
        frames, rewards, terminations, truncations, infos = zip(*steps, strict=True)
        terminated, truncated = np.array(terminations, np.bool_), np.array(truncations, np.bool_)
        self._ended[slots] = terminated | truncated
        self._hear_legal(slots, infos)
        nest = stack(list(frames), self.observation_space)
        return nest, np.array(rewards, np.float64), terminated, truncated, _success(infos)

    def close(self) -> None:
        for env in self.envs:
            env.close()


def _success(infos: tuple[dict[str, Any], ...]) -> Array | None:
    """What the environments say of success; None where none of them says anything."""
    said = [info.get("is_success", info.get("success")) for info in infos]
    return None if all(word is None for word in said) else np.array([bool(word) for word in said])


def _refuse_ragged(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    for path, space in leaf_spaces(observation_space).items():
        if not isinstance(space, _ARRAYS):
            raise UserError(f"observations must be arrays of one shape, or nests of them ({path or 'found'}: {space})")
    if not isinstance(action_space, _ARRAYS):
        raise UserError(f"actions must be arrays of one shape (found: {action_space})")
