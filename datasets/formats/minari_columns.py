"""What the columns of a log are in a Minari dataset: where each lies in an episode, and what is made of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.datasets.flatten import Flattening
from fqi.datasets.formats.minari_metadata import EXTRA
from fqi.errors import UserError
from fqi.nest import Array, leaf_spaces

Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape of a row, and its dtype


@dataclass(frozen=True)
class Stored:
    """One column of a log, and what an episode keeps of it."""

    name: str
    inside: tuple[str, ...]  # the dataset, or the datasets of the parts of a choice
    becomes: Callable[[Header], Header]  # what rows of the file are in the log
    change: Callable[[tuple[Array, ...], Header], Array]
    indexed: bool = False  # whether it is an index made of choices
    more: int = 0  # rows that an episode has beside its steps
    skip: int = 0  # rows before the first that counts
    space: gym.Space[Any] | None = None  # of observations, which are cast to its dtype
    picture: tuple[int, ...] | None = None  # the shape of what may be packed as JPEG

    @property
    def per_frame(self) -> bool:
        return self.more > self.skip


def stored(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    infos: list[str],
    jpeg: bool,
    flat: Flattening | None,
) -> Iterator[Stored]:
    """The columns, in the order of a log; `infos` are those that a log of ours kept so."""
    for path, space in leaf_spaces(observation_space).items():
        inside, dtype = hdf5_path(observation_space, path, "observations"), np.dtype(space.dtype)
        picture = tuple(space.shape or ()) if jpeg and is_image(space) else None
        yield Stored(leaf_name(path), (inside,), _cast(space), _as(dtype), more=1, space=space, picture=picture)
    if flat is not None:
        parts = tuple(hdf5_path(action_space, path, "actions") for path in flat.paths)
        yield Stored("actions", parts, _index_kind, _index(flat, flat.paths), indexed=True)
    else:
        yield Stored("actions", ("actions",), _same, _unchanged)
    yield Stored("rewards", ("rewards",), _reward_kind, _reward)
    for name in ("terminations", "truncations"):
        yield Stored(name, (name,), _flag_kind, _flags)
    for name in infos:  # an info after step t lies at t + 1
        skip = int(name in EXTRA)
        more = int(name in EXTRA or name == "action_mask")
        if name == "label" and flat is not None:
            yield Stored(name, (f"infos/{name}",), _index_kind, _index(flat, ("",)), True, more, skip)
        else:
            yield Stored(name, (f"infos/{name}",), _same, _unchanged, more=more, skip=skip)


def _same(header: Header) -> Header:
    return header


def _unchanged(arrays: tuple[Array, ...], header: Header) -> Array:
    return arrays[0]


def _cast(space: gym.Space[Any]) -> Callable[[Header], Header]:
    wanted = np.dtype(space.dtype)

    def becomes(header: Header) -> Header:
        shape, dtype = header
        if not np.can_cast(dtype, wanted, "same_kind"):
            raise UserError(f"expected {wanted} of {space}, found {dtype}")
        return shape, wanted

    return becomes


def _as(dtype: np.dtype[Any]) -> Callable[[tuple[Array, ...], Header], Array]:
    return lambda arrays, header: arrays[0].astype(dtype, copy=False)


def _index_kind(header: Header) -> Header:
    return (), np.dtype(np.int64)


def _index(flat: Flattening, paths: tuple[str, ...]) -> Callable[[tuple[Array, ...], Header], Array]:
    return lambda arrays, header: flat.index(dict(zip(paths, arrays, strict=True)))


def _reward_kind(header: Header) -> Header:
    shape, dtype = header
    if np.prod(shape, dtype=np.int64) != 1:
        raise UserError(f"expected one number a step, found rows of shape {shape}")
    return (), dtype if dtype.kind == "f" else np.dtype(np.float64)


def _reward(arrays: tuple[Array, ...], header: Header) -> Array:
    return arrays[0].reshape(len(arrays[0])).astype(header[1], copy=False)


def _flag_kind(header: Header) -> Header:
    shape, dtype = header
    if dtype.kind == "f":
        raise UserError(f"expected flags, found {dtype}")
    return shape, np.dtype(np.bool_)


def _flags(arrays: tuple[Array, ...], header: Header) -> Array:
    array = arrays[0]
    if array.dtype != np.bool_ and array.size and (array.min() < 0 or array.max() > 1):
        raise UserError(f"expected flags, found {array.dtype} up to {array.max()}")
    return array.astype(np.bool_, copy=False)


def decoded(rows: Array, shape: tuple[int, ...], first: int) -> Array:
    """JPEG rows as pixels; a row's picture must have the space's size before it is decoded."""
    from PIL import Image

    pixels = np.empty((len(rows), *shape), np.uint8)
    for i, row in enumerate(rows):
        with Image.open(io.BytesIO(np.asarray(row, np.uint8).tobytes()), formats=["JPEG"]) as image:
            found = (image.height, image.width, *((len(image.getbands()),) if len(shape) == 3 else ()))
            if found != shape:
                raise UserError(f"row {first + i}: expected a picture of {shape}, found {found}")
            pixels[i] = np.asarray(image)
    return pixels


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
