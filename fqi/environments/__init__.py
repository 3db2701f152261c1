"""The problems of the literature that Gymnasium lacks; importing this package registers them with Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

_REGISTERED: dict[str, tuple[str, int | None, dict[str, Any]]] = {
    # id: (entry point, max_episode_steps, kwargs)
    "fqi/Atari-v0": ("fqi.environments.atari:atari", 27_000, {}),
    "fqi/Breakout-v0": ("fqi.environments.atari:atari", 27_000, {"game": "Breakout"}),
    "fqi/Bicycle-v0": ("fqi.environments.bicycle:bicycle", 50_000, {}),
    "fqi/CarOnTheHill-v0": ("fqi.environments.car_on_the_hill:CarOnTheHill", 500, {}),
    "fqi/CartPolePixels-v0": ("fqi.environments.cartpole_pixels:cartpole_pixels", 500, {}),
    "fqi/Corridor-v0": ("fqi.environments.corridor:corridor", 100, {}),
    "fqi/Discrete-v0": ("fqi.environments.make:discrete", None, {}),
    "fqi/Grasp-v0": ("fqi.environments.grasp:grasp", 1, {}),
    "fqi/GraspPoses-v0": ("fqi.environments.grasp_poses:grasp_poses", 8, {}),
    "fqi/LeftRight-v0": ("fqi.environments.left_right:left_right", 500, {}),
    "fqi/NfqMountainCar-v0": ("fqi.environments.nfq_control:mountain_car", 50, {}),
    "fqi/NfqRegulator-v0": ("fqi.environments.nfq_control:regulator", 100, {}),
    "fqi/NfqPole-v0": ("fqi.environments.nfq_pole:nfq_pole", 3000, {}),
    "fqi/Pacman-v0": ("fqi.environments.pacman:pacman", 100, {}),
    "fqi/Pong-v0": ("fqi.environments.atari:atari", 27_000, {"game": "Pong"}),
    "fqi/Qbert-v0": ("fqi.environments.atari:atari", 27_000, {"game": "Qbert"}),
    "fqi/Pendulum-v0": ("fqi.environments.make:discrete", 200, {"env": "Pendulum-v1", "actions": 5}),
    "fqi/Reacher-v0": ("fqi.environments.reacher:Reacher", 100, {}),
}

for _id, (_entry_point, _limit, _kwargs) in _REGISTERED.items():
    if _id not in gym.registry:
        gym.register(id=_id, entry_point=_entry_point, max_episode_steps=_limit, kwargs=_kwargs)
