"""Scripted experts: policies written by hand for small problems, as pure functions from frames to actions.

They collect good data, answer for states that DAgger visits and give an honest mark to compare learners with.
Each works frame by frame: the same frame gives the same action in whatever batch it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments import grasp, nfq_pole
from fqi.environments.atari import pong
from fqi.environments.bicycle import riding
from fqi.environments.corridor import right_actions
from fqi.environments.grasp_expert import grasping
from fqi.environments.grasp_poses import FIELDS, skilled
from fqi.environments.pacman import eating
from fqi.environments.reacher import reaching
from fqi.errors import UserError
from fqi.nest import Array


@dataclass(frozen=True)
class Expert:
    """A policy for some environments, deterministic and without memory."""

    name: str
    environments: tuple[str, ...]  # ids that it was written for
    description: str
    observation_shape: tuple[int, ...]  # of one frame
    action_space: gym.Space[Any]
    act: Callable[[Array], Array]  # frames [B, *observation] to actions [B, *action]

    def check_fits(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        """Refuse spaces that the expert was not written for."""
        if observation_space.shape != self.observation_shape or action_space != self.action_space:
            raise UserError(
                f"the scripted policy {self.name!r} is for {' and '.join(self.environments)} (frames of shape "
                f"{self.observation_shape}, actions {self.action_space}), not for frames {observation_space} and "
                f"actions {action_space}"
            )


def expert(name: str) -> Expert:
    """The scripted expert of this name."""
    if name not in EXPERTS:
        raise UserError(f"there is no scripted policy {name!r}: choose one of {', '.join(EXPERTS)}")
    return EXPERTS[name]


def expert_for(environment_id: str) -> Expert | None:
    """The scripted expert written for this environment, None where there is none."""
    return next((found for found in EXPERTS.values() if environment_id in found.environments), None)


def cartpole(frames: Array) -> Array:
    """Push towards where a weighted sum of position, angle and their rates points.

    Mean return 500.0 (1,000 episodes, seeds 0 to 999, none below 500).
    """
    position, speed, angle, rate = np.asarray(frames, np.float64).T  # [B] each
    return np.where(position + speed + 10.0 * angle + 2.0 * rate > 0, 1, 0)


def mountaincar(frames: Array) -> Array:
    """Push right above a curve in the plane of position and speed, left below it.

    Mean return -98.9 (1,000 episodes, seeds 0 to 999, worst -106); the optimum is -97.6.
    """
    position, speed = np.asarray(frames, np.float64).T  # [B] each
    z = position + 0.5  # from the valley's foot
    curve = -0.0016 + z * (0.0651 + z * (0.2021 + z * (-0.1204 - 0.7279 * z)))
    return np.where(speed > curve, 2, 0)


def acrobot(frames: Array) -> Array:
    """Torque by the sign of a weighted sum: mostly against the first link's turning and along the second's.

    Mean return -75.7 (1,000 episodes, seeds 0 to 999, best -63, worst -233). The weights come from a search.
    """
    cos1, sin1, cos2, sin2, rate1, rate2 = np.asarray(frames, np.float64).T  # [B] each
    sin12 = sin1 * cos2 + cos1 * sin2  # of the second link's angle to the vertical
    cos12 = cos1 * cos2 - sin1 * sin2
    push = rate1 * (-0.617 + 0.765 * cos2 - 0.276 * cos1) + rate2 * (0.795 + 0.65 * cos2 - 0.301 * cos1)
    push += -0.188 * sin1 - 0.357 * sin2 - 1.0 * sin12 - 0.263 * cos1 * sin2 + 0.974 * cos12 * (rate1 + rate2)
    return np.where(push > 0, 2, 0)


def pendulum(frames: Array) -> Array:
    """Pump energy until it suffices to stand upright, then hold the top with a proportional-derivative law.

    Mean return -146.8 (1,000 episodes, seeds 0 to 999, worst -372).
    """
    cosine, sine, rate = np.asarray(frames, np.float64).T  # [B] each
    hold = -(8.5 * np.arctan2(sine, cosine) + 2.2 * rate)
    missing = 15.0 * (1.0 - cosine) - 0.5 * rate**2  # energy that the upright rest has more than this
    swing = np.where(rate >= 0, 0.38, -0.38) * (missing + 0.2)
    torque = np.where((np.abs(hold) < 3.6) & (cosine > 0.2), hold, swing)
    clipped: Array = np.clip(torque, -2.0, 2.0).astype(np.float32)
    return clipped[:, None]  # [B, 1]


def discrete_pendulum(frames: Array) -> Array:
    """The nearest of five torques to what `pendulum` would apply.

    Mean return -147.2 (1,000 episodes, seeds 0 to 999, worst -372), as good as continuous torques (-146.8). Three
    torques give -148.6, nine -146.8.
    """
    nearest: Array = np.rint(pendulum(frames)[:, 0]).astype(np.int64) + 2  # the torques are -2, -1, 0, 1, 2
    return nearest


def lunarlander(frames: Array) -> Array:
    """Lean towards the pad, sink the slower the lower, and turn the legs' engines off once they stand.

    Mean return 282.5 (1,000 episodes, seeds 0 to 999, worst -87.6, two below 200). The weights come from a search.
    """
    x, y, x_speed, y_speed, angle, rate, left, right = np.asarray(frames, np.float64).T  # [B] each
    lean = np.clip(0.48 * x + 0.8 * x_speed, -0.47, 0.47)  # the angle to steer by
    turn = lean - angle - 1.35 * rate
    wanted = -np.clip(0.6 * (y - 0.4 * np.abs(x)), -0.3, 0.6) - 0.15  # vertical speed
    lift = wanted - y_speed
    standing = left + right > 0
    up = np.where(standing, y_speed < -0.15, (lift > 0) & (lift > 0.58 * np.abs(turn)))
    aside = np.select([standing, turn > 0.05, turn < -0.05], [0, 1, 3], 0)
    return np.where(up, 2, aside)


def corridor(frames: Array) -> Array:
    """The right action of every context, on the lane and off it.

    Mean return 0.0 (1,000 episodes, seeds 0 to 999), which is the optimum: it never leaves the lane.
    """
    off, context = np.asarray(frames).astype(np.int64).T  # [B] each
    return right_actions(off == 1, context)


EXPERTS = {
    found.name: found
    for found in (
        Expert(
            "cartpole",
            ("CartPole-v1", "CartPole-v0"),
            "balances the pole with a linear law: 500 of 500",
            (4,),
            gym.spaces.Discrete(2),
            cartpole,
        ),
        Expert(
            "mountaincar",
            ("MountainCar-v0",),
            "swings up along a tuned curve: mean return about -99",
            (2,),
            gym.spaces.Discrete(3),
            mountaincar,
        ),
        Expert(
            "acrobot",
            ("Acrobot-v1",),
            "swings up with a tuned linear law: mean return about -75",
            (6,),
            gym.spaces.Discrete(3),
            acrobot,
        ),
        Expert(
            "pendulum",
            ("Pendulum-v1",),
            "swings up by energy, then balances: mean return about -150",
            (3,),
            gym.spaces.Box(np.float32(-2.0), np.float32(2.0), (1,), np.float32),
            pendulum,
        ),
        Expert(
            "discrete-pendulum",
            ("fqi/Pendulum-v0",),
            "the pendulum's expert with the nearest of five torques: mean return about -150",
            (3,),
            gym.spaces.Discrete(5),
            discrete_pendulum,
        ),
        Expert(
            "corridor",
            ("fqi/Corridor-v0",),
            "knows the right action everywhere and never leaves the lane: return 0",
            (2,),
            gym.spaces.Discrete(6),
            corridor,
        ),
        Expert(
            "nfq-pole",
            ("fqi/NfqPole-v0",),
            "pushes against the lean: never falls",
            (2,),
            gym.spaces.Discrete(3),
            nfq_pole.balancing,
        ),
        Expert(
            "pong",
            ("fqi/Pong-v0",),
            "keeps the paddle level with the ball: some games won, some lost",
            (84, 84),
            gym.spaces.Discrete(6),
            pong,
        ),
        Expert(
            "bicycle",
            ("fqi/Bicycle-v0",),
            "steers and leans by linear laws: never falls",
            (4,),
            gym.spaces.Discrete(9),
            riding,
        ),
        Expert(
            "pacman",
            ("fqi/Pacman-v0",),
            "goes to the nearest food, away from the ghost: wins nearly every game",
            (3, 7, 7),
            gym.spaces.Discrete(4),
            eating,
        ),
        Expert(
            "reacher",
            ("fqi/Reacher-v0",),
            "solves for the joint angles that reach the target: in 19 steps on average",
            (10,),
            gym.spaces.Discrete(8),
            reaching,
        ),
        Expert(
            "grasp",
            ("fqi/Grasp-v0",),
            "reads heights from the image and applies the rules of the grasp: 99 % success",
            (1, grasp.Setting.size, grasp.Setting.size),
            gym.spaces.Discrete(grasp.Setting().actions),
            grasping,
        ),
        Expert(
            "lunarlander",
            ("LunarLander-v3",),
            "lands softly by a hand-written law: mean return about 280",
            (8,),
            gym.spaces.Discrete(4),
            lunarlander,
        ),
        Expert(
            "grasp-poses",
            ("fqi/GraspPoses-v0",),
            "goes where the object is best held and closes there: success in all of 10,000 scenes",
            (FIELDS,),
            gym.spaces.Box(-1, 1, (4,), np.float32),
            skilled,
        ),
    )
}
