"""The problems of the literature that Gymnasium lacks; importing this package registers them with Gymnasium."""

from __future__ import annotations

import gymnasium as gym

_REGISTERED = {
    # id: (entry point, max_episode_steps)
    "fqi/CarOnTheHill-v0": ("fqi.environments.car_on_the_hill:CarOnTheHill", 500),
}

for _id, (_entry_point, _limit) in _REGISTERED.items():
    if _id not in gym.registry:
        gym.register(id=_id, entry_point=_entry_point, max_episode_steps=_limit)
