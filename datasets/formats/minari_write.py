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
from fqi.datasets.columns import dump_json, leaf_name
from fqi.datasets.formats.minari_metadata import DATA, EXTRA, ORIGIN, dataset_id, root
from fqi.datasets.source import Outline, Take, held
from fqi.datasets.windows import Part, Walk
from fqi.errors import UserError
from fqi.files import sync
from fqi.log import Log
from fqi.nest import Array, leaf_spaces


def check_free(reference: str) -> None:
    """Refuse, before any work is done, an id that is malformed or taken."""
    name = dataset_id(reference)
    folder = root() / name
    if folder.exists():
        raise UserError(f"{reference}: {folder} is there already and Minari never overwrites; choose the next version")


@contextmanager
def minari_sink(outline: Outline, reference: str, **said: Any) -> Iterator[Take]:
    """Where a log becomes a new Minari dataset, never lossy, episode by episode.

    `said` goes to Minari as it is: `description`, `author`, `author_email`, `algorithm_name`, `code_permalink`, ….
    """
    check_free(reference)
    name = dataset_id(reference)
    own = _own_metadata(outline)
    root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fqi-", dir=root()) as draft:  # Minari's listing skips dotted names
        storage = _created(name, Path(draft), outline, said)
        storage.update_metadata(own)
        walk, several = Walk(outline.lengths), dict[int, None]()

        def take(arrays: dict[str, Array]) -> None:
            parts = list(walk.parts(len(arrays["rewards"])))
            several.update({part.episode: None for part in parts if part.done})
            with _warnings_ignored():
                storage.update_episodes(_buffer(outline, part, arrays) for part in parts)

        yield take
        _finish(storage, outline, list(several))
        _publish(Path(draft), name)


def write_minari(log: Log, reference: str, **said: Any) -> Path:
    """Write a log in memory as a new Minari dataset, and return its folder."""
    one = held(reference, "minari", log)
    with minari_sink(one.outline, reference, **said) as take:
        for window in one.windows():
            take(one.within(window))
    return root() / dataset_id(reference)


def _created(name: str, draft: Path, outline: Outline, said: dict[str, Any]) -> Any:
    """Minari's storage of a dataset that has no episode yet."""
    with _warnings_ignored(), _minari_root(str(draft)):
        from minari import create_dataset_from_buffers

        return create_dataset_from_buffers(
            name,
            buffer=[],
            observation_space=outline.head.observation_space,
            action_space=outline.head.action_space,
            data_format="hdf5",
            jpeg_encoding=False,
            **said,
        ).storage


def _finish(storage: Any, outline: Outline, several: list[int]) -> None:
    """What is said of the episodes, and of the whole, once all of them are there."""
    with _warnings_ignored():
        if several:  # of which Minari takes the last part for all
            storage.update_episode_metadata(
                [{"total_steps": steps} for steps in outline.lengths[several].tolist()], several
            )
        if outline.origin is not None:
            storage.update_episode_metadata([{ORIGIN: row} for row in outline.origin])


def _own_metadata(outline: Outline) -> dict[str, Any]:
    """What Minari has no place for, and the environment's specification without making the environment."""
    head = outline.head
    log_json: dict[str, Any] = {
        "behaviours": list(head.behaviours),
        "environment": head.environment,
        "provenance": head.provenance,
    }
    from minari.serialization import serialize_space

    for key, space in (("observation_space", head.observation_space), ("action_space", head.action_space)):
        exact = spaces.to_json(space)
        if json.dumps(json.loads(serialize_space(space))) != json.dumps(exact):  # Minari forgets some dtypes
            log_json[key] = exact
    infos = [name for name in (*EXTRA, "action_mask") if outline.has(name)]
    own = {"version": 1, "infos": infos, "origin": outline.origin is not None, "log": log_json}
    found: dict[str, Any] = {"fqi": own}
    if head.environment is not None:
        found["env_spec"] = _spec_json(head.environment)
    dump_json(found)
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


def _buffer(outline: Outline, part: Part, arrays: dict[str, Array]) -> Any:
    """An episode, or the part of one that goes on with what is there of it."""
    from minari.data_collector import EpisodeBuffer

    infos: dict[str, Array] = {}
    for name in EXTRA:
        if name in arrays:
            values = arrays[name][part.steps]
            # An info lies behind its step; the one before the first step stands for nothing.
            infos[name] = values if part.done else np.concatenate([_nothing(name, values), values])
    if "action_mask" in arrays:
        infos["action_mask"] = arrays["action_mask"][part.frames]
    seed = -1 if outline.seeds is None or part.done else int(outline.seeds[part.episode])
    observations = {path: arrays[leaf_name(path)][part.frames] for path in leaf_spaces(outline.head.observation_space)}
    return EpisodeBuffer(
        id=part.episode,
        seed=None if seed == -1 else seed,
        observations=_nested(outline.head.observation_space, observations),
        actions=arrays["actions"][part.steps],
        rewards=arrays["rewards"][part.steps],
        terminations=arrays["terminations"][part.steps],
        truncations=arrays["truncations"][part.steps],
        infos=infos or None,
    )


def _nothing(name: str, values: Array) -> Array:
    if name == "label":
        return values[:1]
    return np.full(1, np.nan if name == "propensity" else -1, values.dtype)


def _nested(space: gym.Space[Any], arrays: dict[str, Array], path: str = "") -> Any:
    """The observations in the shape that the space has: Tuples as tuples."""
    before = f"{path}/" if path else ""
    if isinstance(space, gym.spaces.Dict):
        return {key: _nested(sub, arrays, f"{before}{key}") for key, sub in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_nested(sub, arrays, f"{before}{i}") for i, sub in enumerate(space.spaces))
    return arrays[path]


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
