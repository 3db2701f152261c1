"""What Minari says of a dataset beside its episodes: where it lies, its spaces, its environment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym

from fqi import spaces
from fqi.datasets.hdf5 import damage
from fqi.errors import UserError

PREFIX = "minari:"
DATA = "main_data.hdf5"
EXTRA = ("propensity", "behaviour", "label")  # what a log has per step and Minari knows only as infos
ORIGIN = "fqi_origin"  # attribute of an episode
_ID = re.compile(r"(?:[-_A-Za-z0-9][-_A-Za-z0-9/]*[-_A-Za-z0-9]+/)?[-_A-Za-z0-9]+?-v\d+")  # Minari's own rule
_OLD_SPEC = ('"order_enforce": true,', '"apply_api_compatibility": false,', '"autoreset": false, ')


def dataset_id(reference: str) -> str:
    """The ID in `minari:ID`, by Minari's rules."""
    found = reference.removeprefix(PREFIX)
    if not _ID.fullmatch(found):
        raise UserError(
            f"{reference}: expected minari:NAMESPACE/NAME-vN of letters, digits, '-' and '_' only (no dots), with a "
            "namespace of at least two characters"
        )
    return found


def root() -> Path:
    """Where Minari keeps its datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def data_folder(path: Path) -> Path | None:
    return next((folder for folder in (path / "data", path) if (folder / "metadata.json").is_file()), None)


def locate(reference: str) -> Path:
    if not reference.startswith(PREFIX):
        folder = data_folder(Path(reference))
        if folder is None:
            raise UserError(f"{reference}: expected the folder of a Minari dataset, found no metadata.json in it")
        return folder
    name = dataset_id(reference)
    folder = data_folder(root() / name)
    if folder is None:
        _fetch(name, reference)
        folder = data_folder(root() / name)
    if folder is None:
        raise UserError(f"{reference}: no such dataset in {root()}, nor did Minari fetch one; see `minari list remote`")
    return folder


def _fetch(name: str, reference: str) -> None:
    """Let Minari download a dataset that is not here."""
    import minari

    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.download_dataset(name)
    except ImportError as error:
        raise UserError(
            f"{reference}: no such dataset in {root()}, and to fetch one Minari needs more: "
            "pip install 'minari[hf]' (`minari list local` tells what is here)"
        ) from error
    except Exception as error:  # whatever a network and a server may do
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{reference}: no such dataset in {root()}, and it could not be fetched ({said}); is there a network? "
            "`minari list local` tells what is here"
        ) from error


def metadata_of(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found damage ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def space_json(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(metadata[name]) for name in ("observation_space", "action_space") if name in metadata}


def spaces_of(metadata: dict[str, Any], folder: Path) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The spaces that the metadata states or, in old datasets, those of the environment."""
    with damage(folder / "metadata.json"):
        stated = space_json(metadata)
    if len(stated) < 2:
        environment = environment_of(metadata)
        if environment is None:
            raise UserError(f"{folder / 'metadata.json'}: expected observation_space and action_space, found neither")
        try:
            env = gym.make(environment["id"], **environment["kwargs"])
        except (gym.error.Error, ImportError, TypeError) as error:
            raise UserError(f"{folder}: states no spaces and its environment cannot be made ({error})") from error
        made = {"observation_space": env.observation_space, "action_space": env.action_space}
        env.close()
    else:
        made = {}
    try:
        found = [
            spaces.from_json(stated[name]) if name in stated else made[name]
            for name in ("observation_space", "action_space")
        ]
    except UserError as error:
        raise UserError(f"{folder / 'metadata.json'}: {error}") from error
    return found[0], found[1]


def environment_of(metadata: dict[str, Any]) -> dict[str, Any] | None:
    text = metadata.get("env_spec")
    if not isinstance(text, str):
        return None
    for old in _OLD_SPEC:
        text = text.replace(old, "")
    try:
        spec = json.loads(text)
        name, kwargs, limit = spec["id"], spec.get("kwargs") or {}, spec.get("max_episode_steps")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"id": str(name), "kwargs": dict(kwargs), "max_episode_steps": limit}


def provenance_of(reference: str, metadata: dict[str, Any]) -> dict[str, Any]:
    said = (
        "dataset_id",
        "minari_version",
        "algorithm_name",
        "author",
        "code_permalink",
        "description",
        "combined_datasets",
    )
    return {"source": "minari", "reference": reference, **{key: metadata[key] for key in said if metadata.get(key)}}
