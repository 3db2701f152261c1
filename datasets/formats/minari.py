"""Minari datasets (HDF5 data), by `minari:ID` or by folder: read without its iteration, written through its API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym

from fqi.datasets.columns import Columns, Head, to_log
from fqi.datasets.flatten import flattening
from fqi.datasets.format import Format
from fqi.datasets.formats.minari_episodes import Episodes, episode_numbers
from fqi.datasets.formats.minari_metadata import (
    DATA,
    PREFIX,
    data_folder,
    dataset_id,
    environment_of,
    locate,
    metadata_of,
    provenance_of,
    root,
    space_json,
    spaces_of,
)
from fqi.datasets.formats.minari_write import check_free, write_minari
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.errors import UserError
from fqi.log import Log

__all__ = [
    "FORMAT",
    "PREFIX",
    "accepts",
    "check_free",
    "dataset_id",
    "read_minari",
    "read_minari_columns",
    "root",
    "write_minari",
]


def accepts(reference: str) -> bool:
    """Whether the name is `minari:ID` or a folder that looks like a dataset of Minari's."""
    return reference.startswith(PREFIX) or data_folder(Path(reference)) is not None


def read_minari(reference: str | Path, flatten_actions: bool = False) -> Log:
    """The dataset as a log; actions of several named choices can be read as an index into their combinations."""
    columns = _read(str(reference), lenient=False, flatten_actions=flatten_actions)
    assert columns.head is not None  # a strict reading raises before it leaves it out
    return to_log(columns.head, columns.arrays, reference)


def read_minari_columns(reference: str | Path) -> Columns:
    """Whatever can be read of the dataset, unchecked."""
    try:
        return _read(str(reference), lenient=True)
    except UserError as error:
        return Columns(str(reference), problems={"file": str(error)})


def _read(reference: str, lenient: bool, flatten_actions: bool = False) -> Columns:
    folder = locate(reference)
    metadata = metadata_of(folder / "metadata.json")
    form = metadata.get("data_format", "hdf5")
    if form != "hdf5":
        raise UserError(
            f"{reference}: expected HDF5 data, found {form}, in which Minari itself loses steps of long episodes; "
            'make the dataset again with data_format="hdf5"'
        )
    observation_space, action_space = spaces_of(metadata, folder)
    nested = isinstance(action_space, gym.spaces.Dict | gym.spaces.Tuple)
    if nested and not flatten_actions:
        raise UserError(
            f"{reference}: expected one array of actions, found {type(action_space).__name__} actions; "
            f"`fqi data convert {reference} LOG.h5 --flatten-actions` makes an index of them if they are choices"
        )
    flat = flattening(action_space, reference) if flatten_actions else None
    own = metadata.get("fqi") if isinstance(metadata.get("fqi"), dict) else None
    columns = Columns(reference)
    with opened(folder / DATA) as file:
        episodes = Episodes(file, observation_space, action_space, metadata, own, episode_numbers(file), flat)
        notes = _read_all(episodes, file, columns, lenient)
    if own is not None and "log" in own:
        try:
            columns.head = Head.from_json({**space_json(metadata), **own["log"]})
        except (UserError, TypeError) as error:
            raise UserError(f"{folder / 'metadata.json'}: fqi: {error}") from error
    else:
        columns.head = Head(
            observation_space, action_space, (), environment_of(metadata), provenance_of(reference, metadata)
        )
    if flat is not None:
        columns.head = replace(columns.head, action_space=gym.spaces.Discrete(flat.count))
        columns.head = columns.head.noting(action_table=flat.to_json())
    if notes:
        columns.head = columns.head.noting(notes=notes)
    return columns


def _read_all(episodes: Episodes, file: SafeFile, columns: Columns, lenient: bool) -> dict[str, int]:
    """The episodes one after another; what cannot be read becomes a problem, or an error."""
    for place, number in enumerate(episodes.numbers):
        try:
            with file.damage(f"episode_{number}"):
                episodes.read(place)
        except UserError as error:
            if not lenient:
                raise
            episodes.cut()
            columns.problems[f"episode_{number}"] = str(error)
    columns.arrays = episodes.arrays()
    return episodes.notes


def _write(log: Log, reference: str) -> None:
    write_minari(log, reference)


def _asks(name: str) -> bool:
    return name.startswith(PREFIX)


FORMAT = Format("minari", "minari:NAMESPACE/NAME-vN", accepts, read_minari, read_minari_columns, _write, _asks)
