"""The episodes of a Minari dataset, read one after another into the columns of a log."""

from __future__ import annotations

import io
import math
import re
from typing import Any, NamedTuple

import gymnasium as gym
import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5t

from fqi.datasets.alike import Attributes, Datasets
from fqi.datasets.columns import leaf_name
from fqi.datasets.flatten import Flattening
from fqi.datasets.formats.minari_metadata import EXTRA, ORIGIN
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.headers import Image
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces


class _Found(NamedTuple):
    """A dataset that may be read: its shape, its dtype, and HDF5's own type of that; or one that needs no opening."""

    name: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dataset: h5d.DatasetID | None = None
    memory: h5t.TypeID | None = None


class Episodes:
    """Reads episode after episode into columns that grow. What can be recognised is taken without being opened."""

    def __init__(
        self,
        file: SafeFile,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        metadata: dict[str, Any],
        own: dict[str, Any] | None,
        numbers: list[int],
        flat: Flattening | None = None,
    ) -> None:
        self._file, self.numbers = file, numbers
        self._flat = flat
        self._leaves = [
            (leaf_name(path), hdf5_path(observation_space, path, "observations"), space)
            for path, space in leaf_spaces(observation_space).items()
        ]
        self._action_space = action_space
        self._jpeg = bool(metadata.get("jpeg_encoding", True))
        self._extra = [str(name) for name in (own or {}).get("infos", [])]
        steps, count = metadata.get("total_steps"), metadata.get("total_episodes")
        self._hint = steps + count if isinstance(steps, int) and isinstance(count, int) else 0
        self._columns: dict[str, _Growing] = {}
        self._lengths: list[int] = []
        self._seeds: list[int] = []
        self._with_origin = (own or {}).get("origin") is True
        self._origin: list[Array] = []
        self._types: dict[str, tuple[h5t.TypeID, np.dtype[Any], h5t.TypeID]] = {}  # in the file, as a dtype, in memory
        self._counts: dict[str, int] = {}
        self._seed_read = np.empty((), np.int64)
        self._place = -1  # of the episode that is being read
        self._group: h5g.GroupID | None = None  # that episode, where it must be opened
        self._recognise()

    def _recognise(self) -> None:
        """Which datasets and groups are made alike."""
        image = Image(self._file)
        inside = ["rewards", "actions", "terminations", "truncations", *(name for _, name, _ in self._leaves)]
        inside += [f"infos/{name}" for name in self._extra]
        groups = [b"episode_%d" % number for number in self.numbers]
        self._known = {name: Datasets(image, [b"%s/%s" % (g, name.encode()) for g in groups]) for name in inside}
        wanted = {"seed": (), **({ORIGIN: (2,)} if self._with_origin else {})}
        self._attributes = Attributes(image, groups, wanted)

    @property
    def notes(self) -> dict[str, int]:
        """What had to be mended or said, with how many episodes it concerns."""
        return dict(self._counts)

    def read(self, place: int) -> None:
        """The next episode: the one whose number stands here among those given."""
        self._place, self._group = place, None
        where = f"episode_{self.numbers[place]}"
        found = self._opened("rewards", f"{where}/rewards")
        steps = found.shape[0] if found.shape else 0
        if not steps:
            actions = self._read("actions", f"{where}/actions")
            if actions.size:
                raise UserError(f"{self._file.path}: {where}: rewards: expected {len(actions)} rows, found none")
            self._count("episodes without a step, left out")
            return
        if not self._straight("rewards", found, steps):
            rewards = self._taken(found)
            rewards = rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)
            self._put("rewards", rewards.reshape(steps), steps, where)
        for name, inside, space in self._leaves:
            self._observe(name, inside, space, steps + 1, where)
        if self._flat is not None:
            self._put("actions", self._actions(where), steps, where)
        elif not self._straight("actions", found := self._opened("actions", f"{where}/actions"), steps):
            self._put("actions", self._taken(found), steps, where)
        for name in ("terminations", "truncations"):
            found = self._opened(name, f"{where}/{name}")
            if not self._straight(name, found, steps):
                self._put(name, self._flags(self._taken(found), f"{where}/{name}"), steps, where)
        for name in self._extra:  # an info after step t lies at t + 1
            values = self._read(f"infos/{name}", f"{where}/infos/{name}")
            if name == "label" and self._flat is not None:
                values = self._flat.index({"": values})
            self._put(name, values[1:] if name in EXTRA else values, steps + (name == "action_mask"), where)
        seed = self._seed()
        if self._with_origin:
            self._origin.append(self._where_from())
        self._seeds.append(seed)
        self._lengths.append(steps)
        truncations = self._columns["truncations"]
        if not truncations.last() and not self._columns["terminations"].last():
            truncations.set_last(True)
            self._count("episodes whose last step was neither terminated nor truncated, now truncated")

    def _actions(self, where: str) -> Array:
        """The index of every combination of choices."""
        assert self._flat is not None
        parts = {}
        for path in self._flat.paths:
            inside = hdf5_path(self._action_space, path, "actions")
            parts[path] = self._read(inside, f"{where}/{inside}")
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

    def _opened(self, name: str, where: str) -> _Found:
        """A dataset of numbers that is safe to read."""
        known = self._known.get(name)
        like = None if known is None else known.like(self._place)
        if like is not None:
            shape, dtype = like
            self._file.charge_plain(where, math.prod(shape) * dtype.itemsize)
            return _Found(name, where, shape, dtype)
        dataset, dtype, memory = self._by_hdf5(name, where)
        self._file.charge(dataset, where, dataset.shape, dtype.itemsize)
        return _Found(name, where, dataset.shape, dtype, dataset, memory)

    def _by_hdf5(self, name: str, where: str) -> tuple[h5d.DatasetID, np.dtype[Any], h5t.TypeID]:
        dataset = h5d.open(self._episode(), name.encode())
        kind = dataset.get_type()
        known = self._types.get(name)
        if known is None or not kind.equal(known[0]):  # to build a dtype anew for every dataset takes long
            dtype = self._file.plain_dtype(dataset, where)
            known = self._types[name] = (kind, dtype, kind if dtype.kind == "b" else h5t.py_create(dtype))
        return dataset, known[1], known[2]

    def _episode(self) -> h5g.GroupID:
        if self._group is None:
            self._group = h5g.open(self._file.file.id, b"episode_%d" % self.numbers[self._place])
        return self._group

    def _fill(self, found: _Found, array: Array) -> None:
        """The dataset, into memory of its size."""
        dataset, memory = found.dataset, found.memory
        if dataset is None:
            if self._known[found.name].read(self._place, array):
                if array.dtype == np.bool_:
                    self._file.check_flags(found.where, array)
                return
            dataset, _, memory = self._by_hdf5(found.name, found.where)
        self._file.read_into(dataset, found.where, array, memory)

    def _taken(self, found: _Found) -> Array:
        array = np.empty(found.shape, found.dtype)
        self._fill(found, array)
        return array

    def _straight(self, name: str, found: _Found, rows: int) -> bool:
        """Read a dataset right into its place, if its rows are like those of the episodes before it."""
        column = self._columns.get(name)
        if column is None or found.dtype != column.dtype or found.shape != (rows, *column.shape):
            return False
        self._fill(found, column.place(rows))
        column.rows += rows
        return True

    def _read(self, name: str, where: str) -> Array:
        return self._taken(self._opened(name, where))

    def _observe(self, name: str, inside: str, space: gym.Space[Any], rows: int, episode: str) -> None:
        where = f"{episode}/{inside}"
        if self._jpeg and is_image(space):
            dataset = h5d.open(self._episode(), inside.encode())
            if dataset.dtype.kind == "O" or dataset.shape[1:] != space.shape:
                self._count("episodes whose pixels had lost detail to JPEG when the dataset was made")
                self._put(name, self._decoded(dataset, where, tuple(space.shape or ())), rows, where)
                return
        found = self._opened(inside, where)
        if found.dtype != space.dtype or not self._straight(name, found, rows):
            self._put(name, self._cast(self._taken(found), inside, where, space), rows, where)

    def _cast(self, array: Array, inside: str, where: str, space: gym.Space[Any]) -> Array:
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

    def _seed(self) -> int:
        if self._attributes.known[self._place]:
            if not self._attributes.present["seed"][self._place]:
                return -1
            value = self._attributes.values["seed"][self._place]
        else:
            try:
                attribute = h5a.open(self._episode(), b"seed")
            except KeyError:
                return -1
            attribute.read(self._seed_read, mtype=h5t.NATIVE_INT64)
            value = self._seed_read
        if value == np.iinfo(np.int64).max:  # to which HDF5 cuts what does not fit
            self._count("episodes whose seed exceeds 63 bits, recorded as unknown")
            return -1
        return int(value)

    def _where_from(self) -> Array:
        if self._attributes.known[self._place] and self._attributes.present[ORIGIN][self._place]:
            return np.asarray(self._attributes.values[ORIGIN][self._place])
        origin = np.empty(2, np.int64)
        h5a.open(self._episode(), ORIGIN.encode()).read(origin)
        return origin


class _Growing:
    """Rows appended to memory that was taken at once; more is taken only if the first guess was wrong."""

    def __init__(self, like: Array, capacity: int) -> None:
        self._memory = np.empty((capacity, *like.shape[1:]), like.dtype)
        self.dtype, self.shape, self.rows = like.dtype, like.shape[1:], 0

    def place(self, rows: int) -> Array:
        """Where so many rows more go."""
        end = self.rows + rows
        if end > len(self._memory):
            larger = np.empty((max(end, 2 * len(self._memory)), *self.shape), self.dtype)
            larger[: self.rows] = self._memory[: self.rows]
            self._memory = larger
        return self._memory[self.rows : end]

    def append(self, array: Array) -> None:
        self.place(len(array))[...] = array
        self.rows += len(array)

    def last(self) -> bool:
        return bool(self._memory[self.rows - 1])

    def set_last(self, value: bool) -> None:
        self._memory[self.rows - 1] = value

    def array(self) -> Array:
        return self._memory[: self.rows]


def hdf5_path(space: gym.Space[Any], path: str, root: str) -> str:
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


def is_image(space: gym.Space[Any]) -> bool:
    """What Minari takes for an image."""
    return (
        isinstance(space, gym.spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) in (2, 3)
        and min(space.shape[:2]) >= 32
        and bool((space.low == 0).all() and (space.high == 255).all())
    )


def episode_numbers(file: SafeFile) -> list[int]:
    names = [name.decode(errors="replace") for name in file.file.id]
    numbers = [int(name[8:]) for name in names if re.fullmatch(r"episode_\d{1,12}", name)]
    if not numbers:
        raise UserError(f"{file.path}: expected groups episode_0, episode_1, …, found {names[:3]}")
    return sorted(numbers)
