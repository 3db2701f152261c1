"""HDF5 files of any layout with one row a step, and a small mapping that says which dataset is what.

observations = "data/state"          # or a table of parts: [observations] position = "data/pos" …
next_observations = "data/next"      # as observations; not needed
actions = "data/action"
rewards = "data/reward"
terminations = "data/terminal"       # a state of value 0 was reached
truncations = "data/timeout"         # the episode was cut
done = "data/done"                   # instead of both, where they were merged: then max_episode_steps must say
max_episode_steps = 500              # how long an episode is that was cut and did not terminate
propensity = "data/probability"      # not needed
environment = "CartPole-v1"          # not needed
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fqi.datasets.formats import rows
from fqi.datasets.formats.heading import environment, limit, with_head
from fqi.datasets.formats.reference import Reference, flat_format
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.source import Source
from fqi.datasets.strips import Found, Strip, file_by_rows, named, stored
from fqi.errors import UserError

PREFIX = "hdf5:"
_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
_LONGEST = 1 << 20  # bytes of a mapping
_PARTS = 256  # of the observations


@dataclass(frozen=True)
class Layout:
    """Which dataset is what."""

    observations: dict[str, str]  # part of a Dict, or "" where there is one array: its dataset
    actions: str
    rewards: str
    next_observations: dict[str, str] | None = None
    terminations: str | None = None
    truncations: str | None = None
    done: str | None = None
    max_episode_steps: int | None = None
    propensity: str | None = None
    environment: str | None = None


def holds(path: Path) -> bool:
    """Whether the name is one of an HDF5 file and its mapping."""
    data, at, mapping = str(path).rpartition("@")
    return bool(at) and mapping.endswith(".toml") and data.lower().endswith(_SUFFIXES)


@contextmanager
def open_foreign(text: str) -> Iterator[Source]:
    """The columns that the mapping names, by rows."""
    path, mapping = _paths(text)
    layout = read_mapping(mapping)
    reference = Reference(text, path, {} if layout.environment is None else {"env": layout.environment})
    with named(mapping):
        record = environment(reference)
        if record is not None and layout.max_episode_steps is not None:
            record = {**record, "max_episode_steps": layout.max_episode_steps}
    provenance = {"source": "hdf5", "reference": text, "mapping": str(mapping)}

    def find(file: SafeFile) -> Found:
        notes: dict[str, int] = {}
        most = layout.max_episode_steps or limit(reference, record)
        strips, lengths, said = rows.episodes(_rows(file, layout, most, notes))
        return *with_head(strips, record, provenance, {**notes, **said}), lengths

    with file_by_rows(text, "hdf5", path, find) as one:
        yield one


def _rows(file: SafeFile, layout: Layout, most: int | None, notes: dict[str, int]) -> rows.Rows:
    extra = {}
    if layout.propensity is not None:
        extra["propensity"] = rows.rewards(stored(file, layout.propensity), layout.propensity)
    return rows.Rows(
        _nest(file, layout.observations),
        stored(file, layout.actions),
        rows.rewards(stored(file, layout.rewards), layout.rewards),
        _ends(file, layout, most, notes),
        None if layout.next_observations is None else _nest(file, layout.next_observations),
        extra,
    )


def _paths(text: str) -> tuple[Path, Path]:
    data, at, mapping = text.removeprefix(PREFIX).rpartition("@")
    if not at or not mapping.endswith(".toml"):
        raise UserError(
            f"{text}: expected {PREFIX}FILE@MAPPING.toml; the mapping says which dataset is what, such as "
            'observations = "data/state"'
        )
    return Path(data), Path(mapping)


def read_mapping(path: Path) -> Layout:
    """The mapping, whose every key must be known and of the right kind."""
    try:
        if path.stat().st_size > _LONGEST:
            raise UserError(f"{path}: expected a mapping of a few lines, found {path.stat().st_size} bytes")
        said = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected TOML, found damage ({' '.join(str(error).split())[:120]})") from error
    with named(path):
        return _layout(said)


def _layout(said: Mapping[str, Any]) -> Layout:
    known = [field.name for field in fields(Layout)]
    unknown = [name for name in said if name not in known]
    if unknown:
        raise UserError(f"{unknown[0][:80]!r}: expected one of {', '.join(known)}")
    for name in ("observations", "actions", "rewards"):
        if name not in said:
            raise UserError(f"expected {name}, found none")
    found = {name: _value(name, value) for name, value in said.items()}
    layout = Layout(**found)
    if (layout.done is None) == (layout.terminations is None):
        raise UserError("expected either terminations (with truncations where there are any) or done, not both")
    if layout.done is not None and layout.truncations is not None:
        raise UserError("done merges terminations with truncations; give truncations with terminations instead")
    if layout.done is not None and layout.max_episode_steps is None:
        raise UserError(
            "done does not tell terminations from cuts at a time limit; expected max_episode_steps = N, the length at "
            "which an episode was cut"
        )
    if layout.done is None and layout.max_episode_steps is not None:
        raise UserError("max_episode_steps only splits done; terminations and truncations need no splitting")
    if layout.next_observations is not None and set(layout.next_observations) != set(layout.observations):
        raise UserError(f"next_observations: expected the parts {list(layout.observations)} as in observations")
    return layout


def _value(name: str, value: Any) -> Any:
    if name == "max_episode_steps":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**9:
            raise UserError(f"{name}: expected a number of steps, found {str(value)[:80]}")
        return value
    if name in ("observations", "next_observations"):
        parts = value if isinstance(value, dict) else {"": value}
        if not parts or len(parts) > _PARTS or (isinstance(value, dict) and any(not k or "/" in k for k in value)):
            raise UserError(f"{name}: expected a dataset, or parts with names without '/'")
        return {part: _text(name, dataset) for part, dataset in parts.items()}
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip("/") or "\0" in value:
        raise UserError(f"{name}: expected a name, found {str(value)[:80]!r}")
    return value


def _nest(file: SafeFile, names: dict[str, str]) -> dict[str, Strip]:
    return {part: stored(file, dataset) for part, dataset in names.items()}


def _ends(file: SafeFile, layout: Layout, most: int | None, notes: dict[str, int]) -> rows.Ends:
    if layout.done is not None:
        ends, said = rows.limited(rows.find_ends(rows.flags(stored(file, layout.done), layout.done), None), most)
        notes.update(said)
        return ends
    assert layout.terminations is not None  # the mapping was checked
    terminations = rows.flags(stored(file, layout.terminations), layout.terminations)
    if layout.truncations is None:
        notes["no truncations are mapped: only terminations end episodes"] = 1
        return rows.find_ends(terminations, None)
    truncations = rows.flags(stored(file, layout.truncations), layout.truncations)
    if len(truncations) != len(terminations):
        raise UserError(f"{layout.truncations}: expected {len(terminations)} rows, found {len(truncations)}")
    return rows.find_ends(terminations, truncations)


FORMAT = flat_format("hdf5", "hdf5:FILE@MAPPING.toml", holds, open_foreign)
