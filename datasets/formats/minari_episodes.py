"""The episodes of a Minari dataset, read one after another into the columns of a log."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import gymnasium as gym
import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5t

from fqi.datasets.columns import leaf_name
from fqi.datasets.flatten import Flattening
from fqi.datasets.formats.minari_metadata import EXTRA, ORIGIN
from fqi.datasets.hdf5 import SafeFile
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces


class _Found(NamedTuple):
    """A dataset that may be read: its shape, its dtype, and HDF5's own type of that."""

    dataset: h5d.DatasetID
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    memory: h5t.TypeID


class Episodes:
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
            (leaf_name(path), hdf5_path(observation_space, path, "observations"), space)
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
        self._seed_read = np.empty((), np.int64)

    @property
    def notes(self) -> dict[str, int]:
        """What had to be mended or said, with how many episodes it concerns."""
        return dict(self._counts)

    def read(self, index: int) -> None:
        group = h5g.open(self._file.file.id, b"episode_%d" % index)
        where = f"episode_{index}"
        found = self._opened(group, "rewards", f"{where}/rewards")
        steps = found.shape[0] if found.shape else 0
        if not steps:
            actions = self._numbers(group, "actions", f"{where}/actions")
            if actions.size:
                raise UserError(f"{self._file.path}: {where}: rewards: expected {len(actions)} rows, found none")
            self._count("episodes without a step, left out")
            return
        if not self._straight("rewards", found, steps):
            rewards = self._taken(found)
            rewards = rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)
            self._put("rewards", rewards.reshape(steps), steps, where)
        for name, inside, space in self._leaves:
            self._observe(name, group, inside, space, steps + 1, where)
        if self._flat is not None:
            self._put("actions", self._actions(group, where), steps, where)
        elif not self._straight("actions", found := self._opened(group, "actions", f"{where}/actions"), steps):
            self._put("actions", self._taken(found), steps, where)
        for name in ("terminations", "truncations"):
            found = self._opened(group, name, f"{where}/{name}")
            if not self._straight(name, found, steps):
                self._put(name, self._flags(self._taken(found), f"{where}/{name}"), steps, where)
        for name in self._extra:  # an info after step t lies at t + 1
            values = self._numbers(group, f"infos/{name}", f"{where}/infos/{name}")
            if name == "label" and self._flat is not None:
                values = self._flat.index({"": values})
            self._put(name, values[1:] if name in EXTRA else values, steps + (name == "action_mask"), where)
        seed, origin = self._seed(group), np.empty(2, np.int64)
        if self._with_origin:
            h5a.open(group, ORIGIN.encode()).read(origin)
            self._origin.append(origin)
        self._seeds.append(seed)
        self._lengths.append(steps)
        truncations = self._columns["truncations"]
        if not truncations.last() and not self._columns["terminations"].last():
            truncations.set_last(True)
            self._count("episodes whose last step was neither terminated nor truncated, now truncated")

    def _actions(self, group: h5g.GroupID, where: str) -> Array:
        """The index of every combination of choices."""
        assert self._flat is not None
        parts = {}
        for path in self._flat.paths:
            inside = hdf5_path(self._action_space, path, "actions")
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

    def _opened(self, group: h5g.GroupID, name: str, where: str) -> _Found:
        """A dataset of numbers that is safe to read."""
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
        return _Found(dataset, where, shape, known[1], known[2])

    def _taken(self, found: _Found) -> Array:
        array = np.empty(found.shape, found.dtype)
        self._file.read_into(found.dataset, found.where, array, found.memory)
        return array

    def _straight(self, name: str, found: _Found, rows: int) -> bool:
        """Read a dataset right into its place, if its rows are like those of the episodes before it."""
        column = self._columns.get(name)
        if column is None or found.dtype != column.dtype or found.shape != (rows, *column.shape):
            return False
        self._file.read_into(found.dataset, found.where, column.place(rows), found.memory)
        column.rows += rows
        return True

    def _numbers(self, group: h5g.GroupID, name: str, where: str) -> Array:
        return self._taken(self._opened(group, name, where))

    def _observe(
        self, name: str, group: h5g.GroupID, inside: str, space: gym.Space[Any], rows: int, episode: str
    ) -> None:
        where = f"{episode}/{inside}"
        if self._jpeg and is_image(space):
            dataset = h5d.open(group, inside.encode())
            if dataset.dtype.kind == "O" or dataset.shape[1:] != space.shape:
                self._count("episodes whose pixels had lost detail to JPEG when the dataset was made")
                self._put(name, self._decoded(dataset, where, tuple(space.shape or ())), rows, where)
                return
        found = self._opened(group, inside, where)
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

    def _seed(self, group: h5g.GroupID) -> int:
        try:
            attribute = h5a.open(group, b"seed")
        except KeyError:
            return -1
        attribute.read(self._seed_read, mtype=h5t.NATIVE_INT64)
        value = self._seed_read
        if value == np.iinfo(np.int64).max:  # to which HDF5 cuts what does not fit
            self._count("episodes whose seed exceeds 63 bits, recorded as unknown")
            return -1
        return int(value)


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
