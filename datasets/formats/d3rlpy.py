"""HDF5 files of d3rlpy: groups of datasets per episode (version 2.1), or flat rows (version 1, read only).

Both keep one frame a step. In version 2.1 the last row of an episode that did not terminate is no transition: it holds
the final frame. So a cut episode is written with one row more, whose action is repeated and whose reward is 0, and
nothing of it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np

from fqi.datasets.columns import Columns, leaf_name
from fqi.datasets.formats import rows
from fqi.datasets.formats.d4rl import column
from fqi.datasets.formats.heading import environment, head_and_arrays
from fqi.datasets.formats.own import lost_columns, read_head, says, shaped, write_head
from fqi.datasets.formats.reference import flat_format, named, parse
from fqi.datasets.hdf5 import SafeFile, opened
from fqi.datasets.source import Outline, Take
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


def read_d3rlpy_columns(text: str) -> Columns:
    """The columns of the file, of version 2.1 or 1."""
    reference = parse(text, PREFIX, ("env",))
    record = environment(reference)
    with named(reference.path), opened(reference.path) as file:
        head = read_head(file, _HEAD, reference)
        newer = file.has("num_episodes")
        arrays, notes = rows.episodes(_version_2(file) if newer else _version_1(file))
        if head is not None:
            notes.pop(rows.LOST, None)  # the row that was added when it was written
            head = head.noting(notes=notes) if notes else head
            return Columns(text, head, shaped(_as_written(arrays, head.observation_space, head.action_space), head))
        provenance = {"source": "d3rlpy", "version": "2.1" if newer else "1", "reference": text}
        head, arrays = head_and_arrays(arrays, record, provenance, notes)
        return Columns(text, head, arrays)


def _version_2(file: SafeFile) -> rows.Rows:
    """Episodes one after another; each ends terminated or cut."""
    stated = column(file, "num_episodes")
    if stated.shape != () or stated.dtype.kind not in "iu" or int(stated) < 1:
        raise UserError(f"num_episodes: expected a number of episodes, found {stated.dtype} {stated.shape}")
    count = int(stated)
    parts: dict[str, list[Array]] = {}
    ends: list[bool] = []
    for episode in range(count):
        found = _episode(file, episode)
        steps = len(found["rewards"])
        if episode and set(found) != set(parts):
            raise UserError(f"episode {episode}: expected {sorted(parts)}, found {sorted(found)}")
        for name, array in found.items():
            earlier = parts.setdefault(name, [])
            if array.ndim == 0 or len(array) != steps:
                raise UserError(f"{name}_{episode}: expected {steps} rows as in rewards, found shape {array.shape}")
            if earlier and (array.dtype != earlier[0].dtype or array.shape[1:] != earlier[0].shape[1:]):
                expected = f"rows of {earlier[0].dtype} {earlier[0].shape[1:]} as in earlier episodes"
                raise UserError(f"{name}_{episode}: expected {expected}, found {array.dtype} {array.shape[1:]}")
            earlier.append(array)
        terminated = column(file, f"terminated_{episode}")
        if terminated.size != 1 or terminated.reshape(-1)[0] not in (0, 1):
            raise UserError(f"terminated_{episode}: expected one flag, found {terminated.dtype} {terminated.shape}")
        ends.append(bool(terminated.reshape(-1)[0]))
    if file.has(f"rewards_{count}"):
        raise UserError(f"num_episodes: expected every episode to be counted, found {count} and more of them")
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    last = np.cumsum([len(array) for array in parts["rewards"]]) - 1
    terminations, truncations = np.zeros(len(joined["rewards"]), np.bool_), np.zeros(len(joined["rewards"]), np.bool_)
    terminations[last], truncations[last] = ends, ~np.array(ends)
    observations = {name.partition("/")[2]: joined[name] for name in joined if name.startswith("observations")}
    return rows.Rows(observations, joined["actions"], joined["rewards"], terminations, truncations)


def _episode(file: SafeFile, episode: int) -> dict[str, Array]:
    """Every column of one episode but its flag; parts of tuples have names like `observations/0`."""
    reward = rows.rewards(column(file, f"rewards_{episode}"), f"rewards_{episode}")
    if not len(reward):
        raise UserError(f"rewards_{episode}: expected at least one row, found none")
    found = {"rewards": reward, "actions": column(file, f"actions_{episode}")}
    if file.has(f"observations_{episode}") or not file.has(f"observations_{episode}_0"):
        found["observations"] = column(file, f"observations_{episode}")
        return found
    part = 0
    while file.has(f"observations_{episode}_{part}"):
        found[f"observations/{part}"] = column(file, f"observations_{episode}_{part}")
        part += 1
    return found


def _version_1(file: SafeFile) -> rows.Rows:
    """Flat rows: episode_terminals marks every end, terminals the terminations; without the first all ends are such."""
    terminations = rows.flags(column(file, "terminals"), "terminals")
    truncations = np.zeros_like(terminations)
    if file.has("episode_terminals"):
        ends = rows.flags(column(file, "episode_terminals"), "episode_terminals")
        if len(ends) != len(terminations):
            raise UserError(f"episode_terminals: expected {len(terminations)} rows, found {len(ends)}")
        truncations = ends & ~terminations
    return rows.Rows(
        {"": column(file, "observations")},
        column(file, "actions"),
        rows.rewards(column(file, "rewards")),
        terminations,
        truncations,
    )


def _as_written(
    arrays: dict[str, Array], observation_space: gym.Space[object], action_space: gym.Space[object]
) -> dict[str, Array]:
    """Leaves by the names that the log gave them, and actions numbered as the log numbered them."""
    leaf_names = [leaf_name(path) for path in leaf_spaces(observation_space)]
    found = [name for name in arrays if name.split("/")[0] == "observations"]
    if len(found) != len(leaf_names):
        raise UserError(f"expected {len(leaf_names)} arrays of observations, found {len(found)}")
    renamed = dict(zip(found, leaf_names, strict=True))
    arrays = {renamed.get(name, name): array for name, array in arrays.items()}
    if isinstance(action_space, gym.spaces.Discrete) and action_space.start:
        if arrays["actions"].dtype != action_space.dtype:
            raise UserError(f"actions: expected {action_space.dtype}, found {arrays['actions'].dtype}")
        arrays["actions"] = arrays["actions"] + action_space.start
    return arrays


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


FORMAT = flat_format("d3rlpy", "d3rlpy:FILE.h5", holds, read_d3rlpy_columns, d3rlpy_sink, losses)
