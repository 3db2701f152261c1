"""All episodes of a Minari dataset, shared out among processes where they are many."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fqi.datasets.flatten import flattening
from fqi.datasets.formats.minari_episodes import Episodes
from fqi.datasets.formats.minari_metadata import DATA, metadata_of, space_json, spaces_of
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.datasets.processes import Helper
from fqi.errors import UserError
from fqi.nest import Array

_EPISODES_OF_A_SHARE = 1500  # reading fewer takes less time than starting another process
_MOST_SHARES = 8


@dataclass(frozen=True)
class Share:
    """Some of the episodes, and what had to be mended in them."""

    arrays: dict[str, Array]
    notes: dict[str, int]


def _read_share(
    file: SafeFile,
    folder: Path,
    metadata: dict[str, Any],
    numbers: list[int],
    shares: int,
    problems: dict[str, str] | None,
    flatten_actions: bool,
) -> Share:
    """The episodes of these numbers; what cannot be read becomes a problem, or an error."""
    own = metadata.get("fqi") if isinstance(metadata.get("fqi"), dict) else None
    file.memory_left //= shares
    observation_space, action_space = spaces_of(metadata, folder)
    flat = flattening(action_space, str(folder)) if flatten_actions else None
    episodes = Episodes(file, observation_space, action_space, metadata, own, flat, shares)
    for index in numbers:
        try:
            with file.damage(f"episode_{index}"):
                episodes.read(index)
        except UserError as error:
            if problems is None:
                raise
            episodes.cut()
            problems[f"episode_{index}"] = str(error)
    return Share(episodes.arrays(), episodes.notes)


def read_all(folder: Path, metadata: dict[str, Any], problems: dict[str, str] | None, flatten_actions: bool) -> Share:
    """All episodes; many are shared out among processes, since HDF5 takes most of its time to open each dataset."""
    with opened(folder / DATA) as file:
        numbers = episode_numbers(file)
        shares = max(1, min(_processors(), _MOST_SHARES, len(numbers) // _EPISODES_OF_A_SHARE))
        if problems is not None or len(space_json(metadata)) < 2:  # only this process may know the environment
            shares = 1
        bounds = [len(numbers) * i // shares for i in range(shares + 1)]
        helpers: list[Helper] = []
        try:
            for first, last in pairwise(bounds[1:]):
                helpers.append(Helper(f"{__name__}:read_share", str(folder), first, last, shares, flatten_actions))
            mine = _read_share(file, folder, metadata, numbers[: bounds[1]], shares, problems, flatten_actions)
            return _joined(mine, helpers) if helpers else mine
        finally:
            for helper in helpers:
                helper.close()


def read_share(
    folder: str, first: int, last: int, shares: int, flatten_actions: bool
) -> tuple[dict[str, int], dict[str, Array]]:
    """In another process: the episodes between two places."""
    data = Path(folder)
    with opened(data / DATA, links_known=True) as file:
        numbers = episode_numbers(file)[first:last]
        found = _read_share(file, data, metadata_of(data / "metadata.json"), numbers, shares, None, flatten_actions)
        return found.notes, found.arrays


def _joined(mine: Share, helpers: list[Helper]) -> Share:
    """The shares one after another; what comes from other processes goes straight to its place."""
    answers = [helper.answer() for helper in helpers]
    notes = dict(mine.notes)
    shapes: dict[str, list[tuple[int, ...]]] = {name: [array.shape] for name, array in mine.arrays.items()}
    optional = {"seeds"}  # of shares where no episode has one
    for said, described in answers:
        for note, count in said.items():
            notes[note] = notes.get(note, 0) + count
        theirs = {name: (dtype, shape) for name, dtype, shape in described}
        for name in {*mine.arrays, *theirs} - optional:
            array = mine.arrays.get(name)
            if array is None or name not in theirs or theirs[name][0] != array.dtype:
                raise UserError(f"{name}: expected the same in every episode, found it different in some")
            if theirs[name][1][1:] != array.shape[1:]:
                expected = f"rows of {array.shape[1:]} as in earlier episodes"
                raise UserError(f"{name}: expected {expected}, found {theirs[name][1][1:]}")
            shapes[name].append(theirs[name][1])
    arrays = {
        name: np.empty((sum(shape[0] for shape in found), *found[0][1:]), mine.arrays[name].dtype)
        for name, found in shapes.items()
        if name not in optional
    }
    filled = {name: len(array) for name, array in mine.arrays.items()}
    for name in arrays:
        arrays[name][: filled[name]] = mine.arrays[name]
    seeds = [mine.arrays.get("seeds", np.full(len(mine.arrays["lengths"]), -1, np.int64))]
    for helper, (_, described) in zip(helpers, answers, strict=True):
        own_seeds: Array | None = None
        for name, dtype, shape in described:
            if name in optional:
                own_seeds = np.empty(shape, dtype)
                helper.fill(own_seeds)
                continue
            helper.fill(arrays[name][filled[name] : filled[name] + shape[0]])
            filled[name] += shape[0]
        episodes = next(shape[0] for name, _, shape in described if name == "lengths")
        seeds.append(np.full(episodes, -1, np.int64) if own_seeds is None else own_seeds)
    joined = np.concatenate(seeds)
    if (joined != -1).any():
        arrays["seeds"] = joined
    return Share(arrays, notes)


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def episode_numbers(file: SafeFile) -> list[int]:
    names = [name.decode(errors="replace") for name in file.file.id]
    numbers = [int(name[8:]) for name in names if re.fullmatch(r"episode_\d{1,12}", name)]
    if not numbers:
        raise UserError(f"{file.path}: expected groups episode_0, episode_1, …, found {names[:3]}")
    return sorted(numbers)
