"""One episode of a greedy policy, with a picture of every frame."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.car_on_the_hill import CarOnTheHill
from fqi.environments.make import make_single
from fqi.errors import UserError
from fqi.nest import Array, Nest, stack
from fqi.policies import Policy
from fqi.recent import Recent
from fqi.reports.films.sketch import car_on_the_hill


@dataclass(frozen=True, eq=False)
class Film:
    """An episode as it was played."""

    pictures: list[Array]  # [H, W, 3] uint8, the first one of the start
    rewards: list[float]
    seed: int
    terminated: bool

    @property
    def total(self) -> float:
        return float(sum(self.rewards))


def film(environment: dict[str, Any], policy: Policy, seed: int, limit: int | None, trusted: bool = False) -> Film:
    """Play one episode from this reset seed, to its end or the time limit."""
    env = _drawable(environment, trusted)
    try:
        frame, info = env.reset(seed=seed)
        pictures = [_picture(env, frame)]
        rewards: list[float] = []
        ended = cut = False
        recent = Recent(policy.stack)
        while not (ended or cut) and (limit is None or len(rewards) < limit):
            frames: Nest = stack([frame], env.observation_space)
            recent.see(frames, np.array([not rewards]))
            action = _action(policy, recent.last(policy.stack, frames), info, env)
            frame, reward, ended, cut, info = env.step(action)
            rewards.append(float(reward))
            pictures.append(_picture(env, frame))
        return Film(pictures, rewards, seed, bool(ended))
    finally:
        env.close()


def _action(policy: Policy, frames: Nest, info: dict[str, Any], env: gym.Env[Any, Any]) -> Any:
    if not isinstance(env.action_space, gym.spaces.Discrete):
        return policy.actions(frames, np.random.default_rng(0))[0]
    mask = info.get("action_mask")
    legal = None if mask is None else np.asarray(mask, np.bool_)[None]
    first = int(env.action_space.start)
    return int(policy.among(frames, legal)[0].argmax()) + first


def _drawable(environment: dict[str, Any], trusted: bool) -> gym.Env[Any, Any]:
    env = make_single(environment, trusted)
    if isinstance(env.unwrapped, CarOnTheHill) or _is_picture(env.observation_space):
        return env
    modes = env.metadata.get("render_modes") or []
    env.close()
    if "rgb_array" not in modes:
        raise UserError(f"{environment['id']} draws no pictures of itself, so that it cannot be filmed")
    kwargs = {**(environment.get("kwargs") or {}), "render_mode": "rgb_array"}
    return make_single({**environment, "kwargs": kwargs}, trusted)


def _is_picture(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def _picture(env: gym.Env[Any, Any], frame: Any) -> Array:
    if isinstance(env.unwrapped, CarOnTheHill):
        return car_on_the_hill(float(frame[0]))
    if _is_picture(env.observation_space):
        return _three_colours(np.asarray(frame))
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame then asks for no screen
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    try:
        drawn: Any = env.render()
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"its pictures need another package: {' '.join(str(error).split())}") from None
    if drawn is None:
        raise UserError("the environment drew nothing")
    return np.asarray(drawn, np.uint8)


def _three_colours(frame: Array) -> Array:
    """A picture that was observed: the newest of a stack, in three equal colours where it has one."""
    if frame.ndim == 3 and frame.shape[2] == 3:
        return frame
    flat = frame if frame.ndim == 2 else frame[-1] if frame.shape[0] <= 8 else frame[..., -1]
    return np.repeat(flat[..., None], 3, axis=2)
