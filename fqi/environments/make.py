"""From an environment's record to environments side by side."""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id

from fqi.environments.bicycle import bicycle_slots
from fqi.environments.car_on_the_hill import CarOnTheHillSlots
from fqi.environments.cartpole import CartPoleSlots
from fqi.environments.cartpole_pixels import Setting as PixelSetting
from fqi.environments.cartpole_pixels import cartpole_pixels_slots
from fqi.environments.classic_control import (
    acrobot_slots,
    mountain_car_continuous_slots,
    mountain_car_slots,
    pendulum_slots,
)
from fqi.environments.corridor import checked, corridor_slots
from fqi.environments.discrete import DiscreteActions, DiscreteActionsSlots
from fqi.environments.grasp import Setting as GraspSetting
from fqi.environments.grasp import grasp_slots
from fqi.environments.grasp_poses import grasp_poses_slots
from fqi.environments.left_right import left_right_slots
from fqi.environments.nfq_control import mountain_car_slots as nfq_mountain_car_slots
from fqi.environments.nfq_control import regulator_slots
from fqi.environments.nfq_pole import nfq_pole_slots
from fqi.environments.pacman import Setting as PacmanSetting
from fqi.environments.pacman import pacman_slots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.slots import Slots


def discrete(env: Any = None, actions: Any = None, kwargs: Any = None) -> gym.Env[Any, Any]:
    """fqi/Discrete-v0: the environment of id `env` with so many evenly spaced actions in each dimension of its Box."""
    return DiscreteActions(make_single(_inner(env, kwargs)), actions, env)


def _discrete_slots(count: int, env: Any = None, actions: Any = None, kwargs: Any = None) -> Slots:
    return DiscreteActionsSlots(make_slots(_inner(env, kwargs), count), actions, env)


def _inner(env: Any, kwargs: Any) -> dict[str, Any]:
    """The record of the environment within, which no file may choose to import."""
    if not isinstance(env, str):
        raise UserError(f'{_DISCRETE} needs kwargs such as {{"env": "Pendulum-v1", "actions": 5}} (got env {env!r})')
    if ":" in env:
        raise UserError(f"the environment {env!r} would import a module: import it yourself, and name it without")
    if env.startswith(_DISCRETE.partition("-v")[0]):
        raise UserError(f"{_DISCRETE} holds an environment with continuous actions, not itself")
    return {"id": env, "kwargs": kwargs}


_DISCRETE = "fqi/Discrete-v0"
_DISCRETE_KWARGS = frozenset({"env", "actions", "kwargs"})

# id: (its slots, the kwargs they know); with other kwargs the single environment is looped over
_VECTORISED: dict[str, tuple[Callable[..., Slots], frozenset[str]]] = {
    "fqi/CarOnTheHill-v0": (CarOnTheHillSlots, frozenset({"start"})),
    "CartPole-v0": (CartPoleSlots, frozenset({"sutton_barto_reward"})),
    "CartPole-v1": (CartPoleSlots, frozenset({"sutton_barto_reward"})),
    "fqi/CartPolePixels-v0": (cartpole_pixels_slots, frozenset(PixelSetting.__dataclass_fields__)),
    "fqi/Corridor-v0": (corridor_slots, frozenset({"length", "contexts"})),
    "fqi/Grasp-v0": (grasp_slots, frozenset(GraspSetting.__dataclass_fields__)),
    "fqi/GraspPoses-v0": (grasp_poses_slots, frozenset()),
    "fqi/Bicycle-v0": (bicycle_slots, frozenset({"noise"})),
    "fqi/Pacman-v0": (pacman_slots, frozenset(PacmanSetting.__dataclass_fields__)),
    "fqi/LeftRight-v0": (left_right_slots, frozenset({"start"})),
    "fqi/NfqMountainCar-v0": (nfq_mountain_car_slots, frozenset()),
    "fqi/NfqRegulator-v0": (regulator_slots, frozenset({"spread"})),
    "fqi/NfqPole-v0": (nfq_pole_slots, frozenset({"noise"})),
    _DISCRETE: (_discrete_slots, _DISCRETE_KWARGS),
    "fqi/Pendulum-v0": (_discrete_slots, _DISCRETE_KWARGS),
    "Acrobot-v1": (acrobot_slots, frozenset()),
    "MountainCar-v0": (mountain_car_slots, frozenset({"goal_velocity"})),
    "MountainCarContinuous-v0": (mountain_car_continuous_slots, frozenset()),
    "Pendulum-v1": (pendulum_slots, frozenset({"g"})),
}

# Packages that register their environments on import: what their ids look like, the module, what pip calls it.
_PACKAGES = (
    (r"ALE/|\w+NoFrameskip-", "ale_py", "ale-py"),
    (
        r"(Fetch|HandReach|HandManipulate|AdroitHand|PointMaze|AntMaze|FrankaKitchen)",
        "gymnasium_robotics",
        "gymnasium-robotics",
    ),
    (r"(MiniGrid|BabyAI)-", "minigrid", "minigrid"),
)

# Simulators behind Gymnasium's own environments: where the entry point lies, what is missing, what mends it.
_SIMULATORS = (
    ("gymnasium.envs.box2d", "Box2D", 'pip install swig "gymnasium[box2d]"'),
    ("gymnasium.envs.mujoco", "MuJoCo", 'pip install "gymnasium[mujoco]"'),
    ("gymnasium.envs.", "pygame", 'pip install "gymnasium[classic-control]"'),
)


def environment_record(id: str, kwargs: dict[str, Any] | None = None, trusted: bool = False) -> dict[str, Any]:
    """What a log says of its environment: id, kwargs and registered step limit (None: no limit), JSON values only."""
    kwargs = dict(kwargs or {})
    try:
        plain = json.loads(json.dumps(kwargs, allow_nan=False)) == kwargs
    except (TypeError, ValueError):
        plain = False
    if not plain:
        raise UserError(f"kwargs of {id} must be JSON values, or no log could name the environment (got {kwargs})")
    spec = _spec(id, trusted)
    module = f"{id.split(':')[0]}:" if ":" in id else ""
    return {"id": module + spec.id, "kwargs": kwargs, "max_episode_steps": _step_limit(spec, kwargs)}


def _step_limit(spec: EnvSpec, kwargs: dict[str, Any]) -> int | None:
    """The registered limit; that of the corridor and of grasping by their kwargs; of an environment within, its own."""
    if spec.id == "fqi/Corridor-v0" and "length" in kwargs:
        return checked("length", kwargs["length"])
    if spec.id == "fqi/Grasp-v0":
        return GraspSetting(**kwargs).attempts
    if spec.id == _DISCRETE:
        inner, inner_kwargs = _id_and_kwargs(_inner(kwargs.get("env"), kwargs.get("kwargs")))
        return _step_limit(_spec(inner, trusted=False), inner_kwargs)
    return spec.max_episode_steps


def make_slots(environment: dict[str, Any], count: int, trusted: bool = False) -> Slots:
    """`count` environments of this record, the fastest kind there is.

    An id with a module ("my_module:My-v0") imports that module, so it must be trusted: typed by the user, not read
    from a file.
    """
    if count < 1:
        raise UserError(f"the number of environments must be at least 1 (got {count})")
    id, kwargs = _id_and_kwargs(environment)
    spec = _spec(id, trusted)
    kwargs = {**spec.kwargs, **kwargs}
    vectorised, known = _VECTORISED.get(spec.id, (None, frozenset()))
    if vectorised is not None and set(kwargs) <= known:
        return vectorised(count, **kwargs)
    return SingleSlots(count, lambda: _make(spec, kwargs))


def make_single(environment: dict[str, Any], trusted: bool = False) -> gym.Env[Any, Any]:
    """One environment of this record, without a step limit."""
    id, kwargs = _id_and_kwargs(environment)
    return _make(_spec(id, trusted), kwargs)


def _id_and_kwargs(environment: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    id, kwargs = environment.get("id"), environment.get("kwargs") or {}
    if not isinstance(id, str) or not isinstance(kwargs, dict):
        raise UserError(f"an environment is named by an id and kwargs, got {environment}")
    return id, kwargs


def _make(spec: EnvSpec, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    try:
        return gym.make(spec, max_episode_steps=-1, disable_env_checker=True, **kwargs)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise UserError(_missing_simulator(spec, error)) from error
    except UserError:
        raise
    except Exception as error:  # whatever a constructor raises at arguments that it does not like
        raise UserError(f"{spec.id} could not be made with kwargs {kwargs}: {_one_line(error)}") from error


def _missing_simulator(spec: EnvSpec, error: Exception) -> str:
    entry_point = spec.entry_point if isinstance(spec.entry_point, str) else ""
    for prefix, simulator, command in _SIMULATORS:
        if entry_point.startswith(prefix):
            return f"{spec.id} needs {simulator}, which is not installed: {command}"
    return f"{spec.id} cannot be made here: {_one_line(error)}"


def _spec(id: str, trusted: bool) -> EnvSpec:
    """The registered specification; an id without a version means the latest.

    Environments are made from this, not from the id, since Gymnasium warns of old and unversioned ids: a log names the
    environment that it was collected in, however old.
    """
    module, _, name = id.rpartition(":")
    if module:
        if not trusted:
            raise UserError(
                f"the environment {id!r} would import the module {module!r}, which is done only for an id that you "
                "type yourself"
            )
        _import(module, id, None)
    if _full_id(name) not in gym.registry:
        for pattern, module_name, package in _PACKAGES:
            if re.match(pattern, name):
                _import(module_name, name, package)
    spec = gym.registry.get(_full_id(name))
    if spec is None:
        near = difflib.get_close_matches(name, list(gym.registry), n=1, cutoff=0.75)
        guess = f"did you mean {near[0]!r}?" if near else "an id of another package is written my_module:My-v0"
        raise UserError(f"there is no environment {name!r}: {guess}")
    return spec


def _full_id(name: str) -> str:
    try:
        namespace, base, version = parse_env_id(name)
    except gym.error.Error:
        return name
    return get_env_id(namespace, base, find_highest_version(namespace, base) if version is None else version)


def _import(module: str, id: str, package: str | None) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "") in (module, module.partition(".")[0]):
            mend = f"pip install {package}" if package else "install it, or put its folder on PYTHONPATH"
            raise UserError(f"{id} needs the module {module!r}, which is not installed: {mend}") from error
        raise UserError(f"{id} needs the module {module!r}, which cannot be imported: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
