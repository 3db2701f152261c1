"""Minari datasets (HDF5 data), by `minari:ID` or by folder: read without its iteration, written through its API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from fqi.datasets.columns import Columns, Head
from fqi.datasets.flatten import flattening
from fqi.datasets.format import Format
from fqi.datasets.formats.minari_columns import stored
from fqi.datasets.formats.minari_episodes import Episodes
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
from fqi.datasets.formats.minari_write import check_free, minari_sink, write_minari
from fqi.datasets.hdf5 import opened
from fqi.datasets.source import Source, gathered, logged
from fqi.errors import UserError
from fqi.log import Log

__all__ = [
    "FORMAT",
    "PREFIX",
    "accepts",
    "check_free",
    "dataset_id",
    "minari_sink",
    "open_minari",
    "read_minari",
    "read_minari_columns",
    "root",
    "write_minari",
]


NAME = "minari"


def accepts(reference: str) -> bool:
    """Whether the name is `minari:ID` or a folder that looks like a dataset of Minari's."""
    return reference.startswith(PREFIX) or data_folder(Path(reference)) is not None


@contextmanager
def open_minari(reference: str, flatten_actions: bool = False) -> Iterator[Source]:
    """The dataset by rows; actions of several named choices can be read as an index into their combinations."""
    with _opened(reference, False, flatten_actions) as (head, episodes):
        if not len(episodes.lengths):
            raise UserError(f"{reference}: expected at least one episode, found no episode")
        yield _source(reference, head, episodes)


def read_minari(reference: str | Path, flatten_actions: bool = False) -> Log:
    """The whole dataset."""
    with open_minari(str(reference), flatten_actions) as one:
        return logged(gathered(one))


def read_minari_columns(reference: str | Path) -> Columns:
    """Whatever can be read of the dataset, unchecked."""
    try:
        with _opened(str(reference), True) as (head, episodes):
            columns = gathered(_source(str(reference), head, episodes))
            columns.problems.update(episodes.problems)
            return columns
    except UserError as error:
        return Columns(str(reference), problems={"file": str(error)})


def _source(reference: str, head: Head, episodes: Episodes) -> Source:
    known = head, episodes.columns, episodes.lengths, episodes.seeds, episodes.origin
    return Source(*known, reference, NAME, episodes.rows)


@contextmanager
def _opened(reference: str, lenient: bool, flatten_actions: bool = False) -> Iterator[tuple[Head, Episodes]]:
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
    found = metadata.get("fqi")
    own: dict[str, Any] = found if isinstance(found, dict) else {}
    infos = [str(name) for name in own.get("infos", [])]
    jpeg = bool(metadata.get("jpeg_encoding", True))
    parts = list(stored(observation_space, action_space, infos, jpeg, flat))
    head = Head(observation_space, action_space, (), environment_of(metadata), provenance_of(reference, metadata))
    if "log" in own:
        try:
            head = Head.from_json({**space_json(metadata), **own["log"]})
        except (UserError, TypeError) as error:
            raise UserError(f"{folder / 'metadata.json'}: fqi: {error}") from error
    if flat is not None:
        head = replace(head, action_space=gym.spaces.Discrete(flat.count)).noting(action_table=flat.to_json())
    with opened(folder / DATA) as file:
        episodes = Episodes(file, parts, own.get("origin") is True, lenient)
        yield head.noting(notes=episodes.notes) if episodes.notes else head, episodes


def _asks(name: str) -> bool:
    return name.startswith(PREFIX)


FORMAT = Format(
    NAME,
    "minari:NAMESPACE/NAME-vN",
    accepts,
    read_minari,
    read_minari_columns,
    minari_sink,
    _asks,
    open=open_minari,
)
