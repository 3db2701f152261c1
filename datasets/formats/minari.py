"""Minari datasets (HDF5 data), by `minari:ID` or by folder: read without its iteration, written through its API."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5t

from fqi import spaces
from fqi.datasets.columns import Columns, Head, leaf_name, to_log
from fqi.datasets.flatten import Flattening, flattening
from fqi.datasets.format import Format
from fqi.datasets.hdf5 import SafeFile, damage, opened
from fqi.datasets.processes import Helper
from fqi.errors import UserError
from fqi.files import sync
from fqi.log import Log
from fqi.nest import Array, Nest, leaf_spaces, leaves

PREFIX = "minari:"
_ID = re.compile(r"(?:[-_A-Za-z0-9][-_A-Za-z0-9/]*[-_A-Za-z0-9]+/)?[-_A-Za-z0-9]+?-v\d+")  # Minari's own rule
_DATA = "main_data.hdf5"
_EXTRA = ("propensity", "behaviour", "label")  # what a log has per step and Minari knows only as infos
_ORIGIN = "fqi_origin"  # attribute of an episode
_EPISODES_OF_A_SHARE = 1500  # reading fewer takes less time than starting another process
_MOST_SHARES = 8
_OLD_SPEC = ('"order_enforce": true,', '"apply_api_compatibility": false,', '"autoreset": false, ')


def accepts(reference: str) -> bool:
    """Whether the name is `minari:ID` or a folder that looks like a dataset of Minari's."""
    return reference.startswith(PREFIX) or _data_folder(Path(reference)) is not None


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


# Reading


def _data_folder(path: Path) -> Path | None:
    return next((folder for folder in (path / "data", path) if (folder / "metadata.json").is_file()), None)


def _locate(reference: str) -> Path:
    if not reference.startswith(PREFIX):
        folder = _data_folder(Path(reference))
        if folder is None:
            raise UserError(f"{reference}: expected the folder of a Minari dataset, found no metadata.json in it")
        return folder
    name = dataset_id(reference)
    folder = _data_folder(root() / name)
    if folder is None:
        raise UserError(
            f"{reference}: no such dataset in {root()}; try `minari download {name}` or `minari list local`"
        )
    return folder


def _read(reference: str, lenient: bool, flatten_actions: bool = False) -> Columns:
    folder = _locate(reference)
    metadata = _metadata(folder / "metadata.json")
    form = metadata.get("data_format", "hdf5")
    if form != "hdf5":
        raise UserError(
            f"{reference}: expected HDF5 data, found {form}, in which Minari itself loses steps of long episodes; "
            'make the dataset again with data_format="hdf5"'
        )
    observation_space, action_space = _spaces(metadata, folder)
    nested = isinstance(action_space, gym.spaces.Dict | gym.spaces.Tuple)
    if nested and not flatten_actions:
        raise UserError(
            f"{reference}: expected one array of actions, found {type(action_space).__name__} actions; "
            f"`fqi data convert {reference} LOG.h5 --flatten-actions` makes an index of them if they are choices"
        )
    flat = flattening(action_space, reference) if flatten_actions else None
    own = metadata.get("fqi") if isinstance(metadata.get("fqi"), dict) else None
    columns = Columns(reference)
    share = _read_all(folder, metadata, columns.problems if lenient else None, flatten_actions)
    columns.arrays = share.arrays
    if own is not None and "log" in own:
        try:
            columns.head = Head.from_json({**_space_json(metadata), **own["log"]})
        except (UserError, TypeError) as error:
            raise UserError(f"{folder / 'metadata.json'}: fqi: {error}") from error
    else:
        columns.head = Head(
            observation_space, action_space, (), _environment(metadata), _provenance(reference, metadata)
        )
    if flat is not None:
        columns.head = replace(columns.head, action_space=gym.spaces.Discrete(flat.count))
        columns.head = columns.head.noting(action_table=flat.to_json())
    if share.notes:
        columns.head = columns.head.noting(notes=share.notes)
    return columns


@dataclass(frozen=True)
class _Share:
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
) -> _Share:
    """The episodes of these numbers; what cannot be read becomes a problem, or an error."""
    own = metadata.get("fqi") if isinstance(metadata.get("fqi"), dict) else None
    file.memory_left //= shares
    observation_space, action_space = _spaces(metadata, folder)
    flat = flattening(action_space, str(folder)) if flatten_actions else None
    episodes = _Episodes(file, observation_space, action_space, metadata, own, flat, shares)
    for index in numbers:
        try:
            with file.damage(f"episode_{index}"):
                episodes.read(index)
        except UserError as error:
            if problems is None:
                raise
            episodes.cut()
            problems[f"episode_{index}"] = str(error)
    return _Share(episodes.arrays(), episodes.notes)


def _read_all(folder: Path, metadata: dict[str, Any], problems: dict[str, str] | None, flatten_actions: bool) -> _Share:
    """All episodes; many are shared out among processes, since HDF5 takes most of its time to open each dataset."""
    with opened(folder / _DATA) as file:
        numbers = _episode_numbers(file)
        shares = max(1, min(_processors(), _MOST_SHARES, len(numbers) // _EPISODES_OF_A_SHARE))
        if problems is not None or len(_space_json(metadata)) < 2:  # only this process may know the environment
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
    with opened(data / _DATA, links_known=True) as file:
        numbers = _episode_numbers(file)[first:last]
        found = _read_share(file, data, _metadata(data / "metadata.json"), numbers, shares, None, flatten_actions)
        return found.notes, found.arrays


def _joined(mine: _Share, helpers: list[Helper]) -> _Share:
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
    return _Share(arrays, notes)


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _metadata(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found damage ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _space_json(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(metadata[name]) for name in ("observation_space", "action_space") if name in metadata}


def _spaces(metadata: dict[str, Any], folder: Path) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """The spaces that the metadata states or, in old datasets, those of the environment."""
    with damage(folder / "metadata.json"):
        stated = _space_json(metadata)
    if len(stated) < 2:
        environment = _environment(metadata)
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


def _environment(metadata: dict[str, Any]) -> dict[str, Any] | None:
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


def _provenance(reference: str, metadata: dict[str, Any]) -> dict[str, Any]:
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


def _episode_numbers(file: SafeFile) -> list[int]:
    names = [name.decode(errors="replace") for name in file.file.id]
    numbers = [int(name[8:]) for name in names if re.fullmatch(r"episode_\d{1,12}", name)]
    if not numbers:
        raise UserError(f"{file.path}: expected groups episode_0, episode_1, …, found {names[:3]}")
    return sorted(numbers)


class _Episodes:
    """Reads episode after episode into columns that grow."""

    def __init__(
        self,
        file: SafeFile,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        metadata: dict[str, Any],
        own: dict[str, Any] | None,
        flat: Flattening | None = None,
        shares: int = 1,
    ) -> None:
        self._file = file
        self._flat = flat
        self._leaves = [
            (leaf_name(path), _hdf5_path(observation_space, path, "observations"), space)
            for path, space in leaf_spaces(observation_space).items()
        ]
        self._action_space = action_space
        self._jpeg = bool(metadata.get("jpeg_encoding", True))
        self._extra = [str(name) for name in (own or {}).get("infos", [])]
        steps, count = metadata.get("total_steps"), metadata.get("total_episodes")
        self._hint = (steps + count) // shares if isinstance(steps, int) and isinstance(count, int) else 0
        self._columns: dict[str, _Growing] = {}
        self._lengths: list[int] = []
        self._seeds: list[int] = []
        self._with_origin = (own or {}).get("origin") is True
        self._origin: list[Array] = []
        self._types: dict[str, tuple[h5t.TypeID, np.dtype[Any], h5t.TypeID]] = {}  # in the file, as a dtype, in memory
        self._counts: dict[str, int] = {}

    @property
    def notes(self) -> dict[str, int]:
        """What had to be mended or said, with how many episodes it concerns."""
        return dict(self._counts)

    def read(self, index: int) -> None:
        group = h5g.open(self._file.file.id, b"episode_%d" % index)
        where = f"episode_{index}"
        rewards = self._numbers(group, "rewards", f"{where}/rewards")
        steps = len(rewards) if rewards.ndim else 0
        if not steps:
            actions = self._numbers(group, "actions", f"{where}/actions")
            if actions.size:
                raise UserError(f"{self._file.path}: {where}: rewards: expected {len(actions)} rows, found none")
            self._count("episodes without a step, left out")
            return
        rewards = rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)
        self._put("rewards", rewards.reshape(steps), steps, where)
        for name, inside, space in self._leaves:
            self._put(name, self._observations(group, inside, f"{where}/{inside}", space, steps + 1), steps + 1, where)
        self._put("actions", self._actions(group, where), steps, where)
        for name in ("terminations", "truncations"):
            flags = self._flags(self._numbers(group, name, f"{where}/{name}"), f"{where}/{name}")
            self._put(name, flags, steps, where)
        for name in self._extra:  # an info after step t lies at t + 1
            values = self._numbers(group, f"infos/{name}", f"{where}/infos/{name}")
            if name == "label" and self._flat is not None:
                values = self._flat.index({"": values})
            self._put(name, values[1:] if name in _EXTRA else values, steps + (name == "action_mask"), where)
        seed, origin = self._seed(group), np.empty(2, np.int64)
        if self._with_origin:
            h5a.open(group, _ORIGIN.encode()).read(origin)
            self._origin.append(origin)
        self._seeds.append(seed)
        self._lengths.append(steps)
        truncations = self._columns["truncations"]
        if not truncations.last() and not self._columns["terminations"].last():
            truncations.set_last(True)
            self._count("episodes whose last step was neither terminated nor truncated, now truncated")

    def _actions(self, group: h5g.GroupID, where: str) -> Array:
        if self._flat is None:
            return self._numbers(group, "actions", f"{where}/actions")
        parts = {}
        for path in self._flat.paths:
            inside = _hdf5_path(self._action_space, path, "actions")
            parts[path] = self._numbers(group, inside, f"{where}/{inside}")
        return self._flat.index(parts)

    def cut(self) -> None:
        """Forget what was read of an episode that broke half-way."""
        steps = sum(self._lengths)
        for name, column in self._columns.items():
            column.rows = min(column.rows, steps + len(self._lengths) if self._per_frame(name) else steps)

    def arrays(self) -> dict[str, Array]:
        found = {name: column.array() for name, column in self._columns.items()}
        found["lengths"] = np.array(self._lengths, np.int64)
        if any(seed != -1 for seed in self._seeds):
            found["seeds"] = np.array(self._seeds, np.int64)
        if self._with_origin:
            found["origin"] = np.array(self._origin, np.int64).reshape(-1, 2)
        return found

    def _per_frame(self, name: str) -> bool:
        return name.startswith("observations") or name == "action_mask"

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    def _put(self, name: str, array: Array, rows: int, where: str) -> None:
        if array.ndim == 0 or len(array) != rows:
            raise UserError(f"{self._file.path}: {where}: {name}: expected {rows} rows, found shape {array.shape}")
        column = self._columns.get(name)
        if column is None:
            capacity = min(self._hint, self._file.size // max(1, array[:1].nbytes)) + 1
            column = self._columns[name] = _Growing(array[:0], max(capacity, rows))
        if array.dtype != column.dtype or array.shape[1:] != column.shape:
            found, expected = (
                f"{array.dtype} {array.shape[1:]}",
                f"{column.dtype} {column.shape} as in earlier episodes",
            )
            raise UserError(f"{self._file.path}: {where}: {name}: expected rows of {expected}, found {found}")
        column.append(array)

    def _numbers(self, group: h5g.GroupID, name: str, where: str) -> Array:
        dataset = h5d.open(group, name.encode())
        kind = dataset.get_type()
        known = self._types.get(name)
        if known is None or not kind.equal(
            known[0]
        ):  # to build a dtype anew for every dataset would cost a fifth of all
            dtype = self._file.plain_dtype(dataset, where)
            known = self._types[name] = (kind, dtype, kind if dtype.kind == "b" else h5t.py_create(dtype))
        shape = dataset.shape
        self._file.charge(dataset, where, shape, known[1].itemsize)
        array = np.empty(shape, known[1])
        self._file.read_into(dataset, where, array, known[2])
        return array

    def _observations(self, group: h5g.GroupID, inside: str, where: str, space: gym.Space[Any], rows: int) -> Array:
        if self._jpeg and _is_image(space):
            dataset = h5d.open(group, inside.encode())
            if dataset.dtype.kind == "O" or dataset.shape[1:] != space.shape:
                self._count("episodes whose pixels had lost detail to JPEG when the dataset was made")
                return self._decoded(dataset, where, tuple(space.shape or ()))
        array = self._numbers(group, inside, where)
        if array.dtype != space.dtype:
            if not np.can_cast(array.dtype, np.dtype(space.dtype), "same_kind"):
                raise UserError(f"{self._file.path}: {where}: expected {space.dtype} of {space}, found {array.dtype}")
            self._count(f"episodes whose {inside} were {array.dtype}, cast to the space's {space.dtype}")
            array = array.astype(space.dtype)
        return array

    def _decoded(self, dataset: h5d.DatasetID, where: str, shape: tuple[int, ...]) -> Array:
        """JPEG rows as pixels; a row's picture must have the space's size before it is decoded."""
        from PIL import Image

        count = dataset.shape[0]
        self._file.charge(dataset, where, (count,), 1)
        self._file.charge_decoded(where, count * int(np.prod(shape)))
        rows = h5py.Dataset(dataset)[()]
        pixels = np.empty((count, *shape), np.uint8)
        for i, row in enumerate(rows):
            with Image.open(io.BytesIO(np.asarray(row, np.uint8).tobytes()), formats=["JPEG"]) as image:
                found = (image.height, image.width, *((len(image.getbands()),) if len(shape) == 3 else ()))
                if found != shape:
                    raise UserError(
                        f"{self._file.path}: {where}: row {i}: expected a picture of {shape}, found {found}"
                    )
                pixels[i] = np.asarray(image)
        return pixels

    def _flags(self, array: Array, where: str) -> Array:
        if array.dtype == np.bool_:
            return array
        if array.size and (array.min() < 0 or array.max() > 1 or array.dtype.kind == "f"):
            raise UserError(f"{self._file.path}: {where}: expected flags, found {array.dtype} up to {array.max()}")
        return array.astype(np.bool_)

    def _seed(self, group: h5g.GroupID) -> int:
        try:
            attribute = h5a.open(group, b"seed")
        except KeyError:
            return -1
        value = np.empty((), np.int64)
        attribute.read(value)
        if value == np.iinfo(np.int64).max:  # to which HDF5 cuts what does not fit
            self._count("episodes whose seed exceeds 63 bits, recorded as unknown")
            return -1
        return int(value)


class _Growing:
    """Rows appended to memory that was taken at once; more is taken only if the first guess was wrong."""

    def __init__(self, like: Array, capacity: int) -> None:
        self._memory = np.empty((capacity, *like.shape[1:]), like.dtype)
        self.dtype, self.shape, self.rows = like.dtype, like.shape[1:], 0

    def append(self, array: Array) -> None:
        end = self.rows + len(array)
        if end > len(self._memory):
            larger = np.empty((max(end, 2 * len(self._memory)), *self.shape), self.dtype)
            larger[: self.rows] = self._memory[: self.rows]
            self._memory = larger
        self._memory[self.rows : end] = array
        self.rows = end

    def last(self) -> bool:
        return bool(self._memory[self.rows - 1])

    def set_last(self, value: bool) -> None:
        self._memory[self.rows - 1] = value

    def array(self) -> Array:
        return self._memory[: self.rows]


def _hdf5_path(space: gym.Space[Any], path: str, root: str) -> str:
    """Where Minari keeps a leaf: Tuple entries have names of their own."""
    names = [root]
    for key in path.split("/") if path else []:
        if isinstance(space, gym.spaces.Tuple):
            names.append(f"_index_{key}")
            space = space.spaces[int(key)]
        elif isinstance(space, gym.spaces.Dict):
            names.append(key)
            space = space.spaces[key]
    return "/".join(names)


def _is_image(space: gym.Space[Any]) -> bool:
    """What Minari takes for an image."""
    return (
        isinstance(space, gym.spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) in (2, 3)
        and min(space.shape[:2]) >= 32
        and bool((space.low == 0).all() and (space.high == 255).all())
    )


# Writing


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
                    dataset.storage.update_episode_metadata([{_ORIGIN: row} for row in log.origin])
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
    infos = [column for column in (*_EXTRA, "action_mask") if getattr(log, column) is not None]
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
    for file in (_DATA, "metadata.json"):
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


def _write(log: Log, reference: str) -> None:
    write_minari(log, reference)


def _asks(name: str) -> bool:
    return name.startswith(PREFIX)


FORMAT = Format("minari", "minari:NAMESPACE/NAME-vN", accepts, read_minari, read_minari_columns, _write, _asks)
