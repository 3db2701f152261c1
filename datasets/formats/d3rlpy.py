"""HDF5 files of d3rlpy: groups of datasets per episode (version 2.1), or flat rows (version 1, read only).

Both keep one frame a step. In version 2.1 the last row of an episode that did not terminate is no transition: it holds
the final frame. So a cut episode is written with one row more, whose action is repeated and whose reward is 0, and
nothing of it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.datasets.formats import rows
from fqi.datasets.formats.heading import environment, with_head
from fqi.datasets.formats.own import lost_columns, read_head, says, shaped, write_head
from fqi.datasets.formats.reference import Reference, flat_format, parse
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.source import Outline, Source, Take
from fqi.datasets.strips import Found, Strip, file_by_rows, small, stored
from fqi.datasets.windows import Part, Walk
from fqi.errors import UserError
from fqi.files import replacing
from fqi.nest import Array, leaf_spaces

PREFIX = "d3rlpy:"
_HEAD = "fqi_header"
_COLUMNS = ("observations", "actions", "rewards", "terminated")


def holds(path: Path) -> bool:
    """Whether the path is that of a file with d3rlpy's columns."""
    flat = ("observations", "actions", "rewards", "terminals")
    return path.is_file() and (
        says(path, "num_episodes", "terminated_0")
        or says(path, "episode_terminals", *flat)
        or says(path, "discrete_action", *flat)
    )


@contextmanager
def open_d3rlpy(text: str) -> Iterator[Source]:
    """The file by rows, of version 2.1 or 1."""
    reference = parse(text, PREFIX, ("env",))
    record = environment(reference)
    with file_by_rows(text, "d3rlpy", reference.path, lambda file: _found(file, reference, record)) as one:
        yield one


def _found(file: SafeFile, reference: Reference, record: dict[str, Any] | None) -> Found:
    head = read_head(file, _HEAD, reference)
    newer = file.has("num_episodes")
    strips, lengths, notes = rows.episodes(_version_2(file) if newer else _version_1(file))
    if head is not None:
        notes.pop(rows.LOST, None)  # the row that was added when it was written
        strips = shaped(_as_written(strips, head.observation_space, head.action_space), head)
        return head.noting(notes=notes) if notes else head, strips, lengths
    provenance = {"source": "d3rlpy", "version": "2.1" if newer else "1", "reference": reference.text}
    head, strips = with_head(strips, record, provenance, notes)
    return head, strips, lengths


def _version_2(file: SafeFile) -> rows.Rows:
    """Episodes one after another; each ends terminated or cut."""
    stated = small(file, "num_episodes")
    if stated.shape != () or stated.dtype.kind not in "iu" or int(stated) < 1:
        raise UserError(f"num_episodes: expected a number of episodes, found {stated.dtype} {stated.shape}")
    count = int(stated)
    kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}  # shape of a row, dtype
    lengths: list[int] = []
    terminated: list[bool] = []
    for episode in range(count):
        found = _episode(file, episode)
        steps = len(found["rewards"])
        if not steps:
            raise UserError(f"rewards_{episode}: expected at least one row, found none")
        if episode and set(found) != set(kinds):
            raise UserError(f"episode {episode}: expected {sorted(kinds)}, found {sorted(found)}")
        for name, strip in found.items():
            if len(strip.shape) == 0 or len(strip) != steps:
                raise UserError(f"{name}_{episode}: expected {steps} rows as in rewards, found shape {strip.shape}")
            row, dtype = kinds.setdefault(name, (strip.row, strip.dtype))
            if (strip.row, strip.dtype) != (row, dtype):
                expected = f"rows of {dtype} {row} as in earlier episodes"
                raise UserError(f"{name}_{episode}: expected {expected}, found {strip.dtype} {strip.row}")
        flag = small(file, f"terminated_{episode}")
        if flag.size != 1 or flag.reshape(-1)[0] not in (0, 1):
            raise UserError(f"terminated_{episode}: expected one flag, found {flag.dtype} {flag.shape}")
        terminated.append(bool(flag.reshape(-1)[0]))
        lengths.append(steps)
    if file.has(f"rewards_{count}"):
        raise UserError(f"num_episodes: expected every episode to be counted, found {count} and more of them")
    ends = np.cumsum(lengths)
    joined = {name: _joined(file, name, ends, row, dtype) for name, (row, dtype) in kinds.items()}
    observations = {name.partition("/")[2]: joined[name] for name in joined if name.startswith("observations")}
    flags = np.array(terminated, np.bool_)
    return rows.Rows(
        observations, joined["actions"], joined["rewards"], rows.Ends(int(ends[-1]), ends - 1, flags, ~flags)
    )


def _joined(file: SafeFile, name: str, ends: Array, row: tuple[int, ...], dtype: np.dtype[Any]) -> Strip:
    """The datasets of all episodes back to back."""
    starts = np.concatenate(([0], ends))

    def read(first: int, last: int) -> Array:
        array = np.empty((last - first, *row), dtype)
        a, b = np.searchsorted(starts, first, "right") - 1, np.searchsorted(starts, last, "left")
        for episode in range(int(a), int(b)):
            begin, over = max(first, int(starts[episode])), min(last, int(starts[episode + 1]))
            offset = int(starts[episode])
            array[begin - first : over - first] = _part(file, name, episode, True).read(begin - offset, over - offset)
        return array

    return Strip((int(ends[-1]), *row), dtype, read)


def _episode(file: SafeFile, episode: int) -> dict[str, Strip]:
    """Every column of one episode but its flag; parts of tuples have names like `observations/0`."""
    found = {name: _part(file, name, episode) for name in ("rewards", "actions")}
    if file.has(f"observations_{episode}") or not file.has(f"observations_{episode}_0"):
        found["observations"] = _part(file, "observations", episode)
        return found
    part = 0
    while file.has(f"observations_{episode}_{part}"):
        found[f"observations/{part}"] = _part(file, f"observations/{part}", episode)
        part += 1
    return found


def _part(file: SafeFile, name: str, episode: int, checked: bool = False) -> Strip:
    """One column of one episode."""
    column, _, number = name.partition("/")
    full = f"{column}_{episode}" + (f"_{number}" if number else "")
    strip = stored(file, full, checked)
    return rows.rewards(strip, full) if name == "rewards" else strip


def _version_1(file: SafeFile) -> rows.Rows:
    """Flat rows: episode_terminals marks every end, terminals the terminations; without the first all ends are such."""
    terminations = rows.flags(stored(file, "terminals"), "terminals")
    ends = rows.find_ends(terminations, None)
    if file.has("episode_terminals"):
        marked = rows.flags(stored(file, "episode_terminals"), "episode_terminals")
        if len(marked) != len(terminations):
            raise UserError(f"episode_terminals: expected {len(terminations)} rows, found {len(marked)}")
        ends = rows.find_ends(terminations, marked)
        ends = replace(ends, truncated=~ends.terminated)
    return rows.Rows(
        {"": stored(file, "observations")}, stored(file, "actions"), rows.rewards(stored(file, "rewards")), ends
    )


def _as_written(
    strips: dict[str, Strip], observation_space: gym.Space[object], action_space: gym.Space[object]
) -> dict[str, Strip]:
    """Leaves by the names that the log gave them, and actions numbered as the log numbered them."""
    leaf_names = [leaf_name(path) for path in leaf_spaces(observation_space)]
    found = [name for name in strips if name.split("/")[0] == "observations"]
    if len(found) != len(leaf_names):
        raise UserError(f"expected {len(leaf_names)} arrays of observations, found {len(found)}")
    renamed = dict(zip(found, leaf_names, strict=True))
    strips = {renamed.get(name, name): strip for name, strip in strips.items()}
    if isinstance(action_space, gym.spaces.Discrete) and action_space.start:
        start, dtype = action_space.start, strips["actions"].dtype
        if dtype != action_space.dtype:
            raise UserError(f"actions: expected {action_space.dtype}, found {dtype}")
        strips["actions"] = strips["actions"].changed(lambda _, rows: rows + start)
    return strips


# Writing


def losses(outline: Outline, _: str) -> list[str]:
    """What of the log a file of d3rlpy cannot hold."""
    found = lost_columns(outline)
    terminations, truncations = outline.ends()
    terminated, both = int(terminations.sum()), int((terminations & truncations).sum())
    if terminated:
        found.append(f"the final frame of each of the {terminated} terminated episodes: no target uses it")
    if both:
        found.append(f"that {both} of the terminated episodes were also at the time limit")
    return found


@contextmanager
def d3rlpy_sink(outline: Outline, text: str) -> Iterator[Take]:
    """Where a log becomes episodes of version 2.1."""
    space = outline.head.action_space
    numbered = isinstance(space, gym.spaces.Discrete)
    vectors = isinstance(space, gym.spaces.Box) and np.dtype(space.dtype).kind == "f" and len(space.shape or ()) < 2
    if not (numbered or vectors):
        raise UserError(f"{text}: d3rlpy knows numbered actions and vectors of real numbers, found {space}")
    terminated, _ = outline.ends()
    path, walk = parse(text, PREFIX, ()).path, Walk(outline.lengths)
    with replacing(path) as draft, h5py.File(draft, "w") as file:
        file.create_dataset("columns", data=np.array([name.encode() for name in _COLUMNS]))
        file.create_dataset("num_episodes", data=outline.episodes)
        file.create_dataset("version", data=np.bytes_("2.1"))
        write_head(file, _HEAD, outline.head)

        def take(arrays: dict[str, Array]) -> None:
            for part in walk.parts(len(arrays["rewards"])):
                _put_part(file, outline, part, arrays, bool(terminated[part.episode]))

        yield take


def _put_part(file: h5py.File, outline: Outline, part: Part, arrays: dict[str, Array], terminated: bool) -> None:
    """The rows of an episode, or some of them; where it was cut, one row more holds its final frame."""
    space, episode = outline.head.action_space, part.episode
    added = part.ends and not terminated
    step = np.arange(part.steps.start, part.steps.stop + added)
    step[-1] -= added
    reward = arrays["rewards"][step]
    reward[len(step) - added :] = 0
    actions = arrays["actions"][step]
    if isinstance(space, gym.spaces.Discrete):
        actions = (actions - space.start).astype(actions.dtype)
    frames = slice(part.frames.start, part.frames.start + len(step))
    paths = leaf_spaces(outline.head.observation_space)
    found = {
        f"observations_{episode}" + (f"_{number}" if list(paths) != [""] else ""): arrays[leaf_name(path)][frames]
        for number, path in enumerate(paths)
    }
    found.update({f"actions_{episode}": actions, f"rewards_{episode}": reward})
    for name, array in found.items():
        rows = _column(array)
        if not part.done:
            count = int(outline.lengths[episode]) + (not terminated)
            file.create_dataset(name, (count, *rows.shape[1:]), rows.dtype)
        file[name][part.done : part.done + len(rows)] = rows
    if part.ends:
        file.create_dataset(f"terminated_{episode}", data=terminated)


def _column(array: Array) -> Array:
    """At least two dimensions, as d3rlpy wants them."""
    return array if array.ndim > 1 else array.reshape(-1, 1)


FORMAT = flat_format("d3rlpy", "d3rlpy:FILE.h5", holds, open_d3rlpy, d3rlpy_sink, losses)
