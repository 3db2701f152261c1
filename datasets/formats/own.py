"""What a log says about itself, kept as bytes beside the columns in files of other libraries, which overlook it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from fqi.datasets.columns import Head, dump_json, leaf_name
from fqi.datasets.formats.reference import Reference
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.source import Outline
from fqi.datasets.strips import Strip
from fqi.errors import UserError
from fqi.nest import leaf_spaces


def write_head(file: h5py.File, name: str, head: Head) -> None:
    """Spaces, environment, behaviours and provenance of the log."""
    file.create_dataset(name, data=np.frombuffer(dump_json(head.to_json()), np.uint8))


def read_head(file: SafeFile, name: str, reference: Reference) -> Head | None:
    """The head that `write_head` kept; None in a file of another's making."""
    if not file.has(name):
        return None
    if reference.options:
        raise UserError(
            f"{reference.path}: was written from a log and states its own spaces; leave out what follows '?'"
        )
    try:
        return Head.from_json(json.loads(file.text(name)))
    except (UserError, KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{reference.path}: {name}: {error}") from error


def shaped(strips: Mapping[str, Strip], head: Head) -> dict[str, Strip]:
    """Single numbers where the file has columns of one."""
    spaces = {leaf_name(path): space for path, space in leaf_spaces(head.observation_space).items()}
    spaces["actions"] = head.action_space
    return {
        name: strip.shaped() if name in spaces and spaces[name].shape == () and strip.row == (1,) else strip
        for name, strip in strips.items()
    }


def lost_columns(outline: Outline, kept: tuple[str, ...] = ()) -> list[str]:
    """The optional columns of the log that a format does not keep, in words."""
    has = {*(column.name for column in outline.columns), *outline.whole}
    return [meaning for name, meaning in _MEANING.items() if name in has and name not in kept]


_MEANING = {
    "propensity": "propensities: no off-policy estimate can weigh the steps",
    "behaviour": "which behaviour took each step",
    "label": "the labels of an expert: what was taken can be cloned, not what should have been",
    "action_mask": "the mask of legal actions",
    "seeds": "the reset seeds of the episodes",
    "origin": "the slot and tick at which each episode began",
}


def says(path: Path, *names: str) -> bool:
    """Whether the HDF5 file has all these names at its root; what cannot be opened has none."""
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            return all(name.encode() in file.id for name in names)
    except (OSError, RuntimeError, ValueError, KeyError):
        return False
