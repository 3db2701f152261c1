"""Logs written as Minari datasets, through Minari's own API and never lossy."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from fqi import spaces
from fqi.datasets.formats.minari_metadata import DATA, EXTRA, ORIGIN, dataset_id, root
from fqi.errors import UserError
from fqi.files import sync
from fqi.log import Log
from fqi.nest import Array, Nest, leaves


def check_free(reference: str) -> None:
    """Refuse, before any work is done, an id that is malformed or taken."""
    name = dataset_id(reference)
    folder = root() / name
    if folder.exists():
        raise UserError(f"{reference}: {folder} is there already and Minari never overwrites; choose the next version")


def write_minari(log: Log, reference: str, **said: Any) -> Path:
    """Write the log as a new Minari dataset, never lossy, and return its folder.

    `said` goes to Minari as it is: `description`, `author`, `author_email`, `algorithm_name`, `code_permalink`, ….
    """
    check_free(reference)
    name = dataset_id(reference)
    folder = root() / name
    with _warnings_ignored():
        from minari import create_dataset_from_buffers

        root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fqi-", dir=root()) as draft:  # Minari's listing skips dotted names
            with _minari_root(draft):
                dataset = create_dataset_from_buffers(
                    name,
                    buffer=_buffers(log),
                    observation_space=log.observation_space,
                    action_space=log.action_space,
                    data_format="hdf5",
                    jpeg_encoding=False,
                    **said,
                )
                if log.origin is not None:
                    dataset.storage.update_episode_metadata([{ORIGIN: row} for row in log.origin])
                dataset.storage.update_metadata(_own_metadata(log))
            _publish(Path(draft), name)
    return folder


def _own_metadata(log: Log) -> dict[str, Any]:
    """What Minari has no place for, and the environment's specification without making the environment."""
    log_json: dict[str, Any] = {
        "behaviours": list(log.behaviours),
        "environment": log.environment,
        "provenance": log.provenance,
    }
    from minari.serialization import serialize_space

    for key, space in (("observation_space", log.observation_space), ("action_space", log.action_space)):
        exact = spaces.to_json(space)
        if json.dumps(json.loads(serialize_space(space))) != json.dumps(exact):  # Minari forgets some dtypes
            log_json[key] = exact
    infos = [column for column in (*EXTRA, "action_mask") if getattr(log, column) is not None]
    found: dict[str, Any] = {"fqi": {"version": 1, "infos": infos, "origin": log.origin is not None, "log": log_json}}
    if log.environment is not None:
        found["env_spec"] = _spec_json(log.environment)
    json.dumps(found)
    return found


def _spec_json(environment: dict[str, Any]) -> str:
    name, kwargs = environment["id"], environment.get("kwargs") or {}
    limit = environment.get("max_episode_steps")
    try:
        spec = gym.spec(name)
        spec.kwargs = {**spec.kwargs, **kwargs}
        spec.max_episode_steps = limit
        return str(spec.to_json())
    except (gym.error.Error, ImportError, TypeError):  # unknown here, or not expressible: its name at least
        return str(gym.envs.registration.EnvSpec(id=name, kwargs=kwargs, max_episode_steps=limit).to_json())


def _buffers(log: Log) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    starts, frames = log.starts.tolist(), log.start_frames.tolist()
    for episode, steps in enumerate(log.lengths.tolist()):
        step = slice(starts[episode], starts[episode] + steps)
        frame = slice(frames[episode], frames[episode] + steps + 1)
        infos: dict[str, Array] = {}
        if log.propensity is not None:
            infos["propensity"] = np.concatenate([np.full(1, np.nan, log.propensity.dtype), log.propensity[step]])
        if log.behaviour is not None:
            infos["behaviour"] = np.concatenate([np.full(1, -1, log.behaviour.dtype), log.behaviour[step]])
        if log.label is not None:  # an info before the first step stands for nothing: it is the first one again
            infos["label"] = np.concatenate([log.label[step][:1], log.label[step]])
        if log.action_mask is not None:
            infos["action_mask"] = log.action_mask[frame]
        seed = -1 if log.seeds is None else int(log.seeds[episode])
        yield EpisodeBuffer(
            seed=None if seed == -1 else seed,
            observations=_rows(log.observations, log.observation_space, frame),
            actions=log.actions[step],
            rewards=log.rewards[step],
            terminations=log.terminations[step],
            truncations=log.truncations[step],
            infos=infos or None,
        )


def _rows(nest: Nest, space: gym.Space[Any], rows: slice) -> Any:
    """Rows of the observations in the shape that the space has: Tuples as tuples."""
    if isinstance(space, gym.spaces.Dict) and isinstance(nest, dict):
        return {key: _rows(nest[key], sub, rows) for key, sub in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple) and isinstance(nest, dict):
        return tuple(_rows(nest[str(i)], sub, rows) for i, sub in enumerate(space.spaces))
    return leaves(nest)[""][rows]


@contextmanager
def _minari_root(folder: str) -> Iterator[None]:
    """Let Minari, which knows no other way, write below this folder."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari warns about every optional word that is not said
        yield


def _publish(draft: Path, name: str) -> None:
    """Move the finished dataset, in one rename, to where Minari looks for it."""
    for file in (DATA, "metadata.json"):
        sync(draft / name / "data" / file)
    *parents, _ = name.split("/")
    for depth in range(1, len(parents) + 1):
        namespace = root().joinpath(*parents[:depth])
        namespace.mkdir(exist_ok=True)
        if not (namespace / "namespace_metadata.json").exists():
            (namespace / "namespace_metadata.json").write_text("{}")
    target = root() / name
    try:
        (draft / name).rename(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror})") from error
