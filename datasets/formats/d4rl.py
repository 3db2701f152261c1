"""HDF5 files of D4RL: one row a step, ends told apart as terminals and timeouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np

from fqi.datasets.formats import rows
from fqi.datasets.formats.heading import environment, limit, with_head
from fqi.datasets.formats.own import lost_columns, read_head, says, shaped, write_head
from fqi.datasets.formats.reference import Reference, flat_format, parse
from fqi.datasets.hdf5 import SafeFile
from fqi.datasets.source import Outline, Source, Take
from fqi.datasets.strips import Found, Strip, file_by_rows, stored
from fqi.datasets.windows import Part, Walk
from fqi.errors import UserError
from fqi.files import replacing
from fqi.nest import Array, leaf_spaces

PREFIX = "d4rl:"
_HEAD = "metadata/fqi"
_LOG_PROBABILITY = "infos/action_log_probs"
_OWN = ("propensity", "behaviour", "label")  # kept exactly as infos
_NAMES = {
    "observations": "observations",
    "actions": "actions",
    "rewards": "rewards",
    "terminations": "terminals",
    "truncations": "timeouts",
    **{name: f"infos/{name}" for name in _OWN},
}
_NAMED = 12  # of what is left aside


def holds(path: Path) -> bool:
    """Whether the path is that of a file with D4RL's columns."""
    return path.is_file() and says(path, "observations", "actions", "rewards", "terminals")


@contextmanager
def open_d4rl(text: str) -> Iterator[Source]:
    """The file by rows; the frame after a step is taken from next_observations where it is there."""
    reference = parse(text, PREFIX)
    record = environment(reference)
    with file_by_rows(text, "d4rl", reference.path, lambda file: _found(file, reference, record)) as one:
        yield one


def _found(file: SafeFile, reference: Reference, record: dict[str, Any] | None) -> Found:
    head = read_head(file, _HEAD, reference)
    notes: dict[str, int] = {}
    terminations = rows.flags(stored(file, "terminals"), "terminals")
    following = stored(file, "next_observations") if file.has("next_observations") else None
    ends = _ends(file, terminations, limit(reference, record), following is not None, notes)
    observations = stored(file, "observations")
    if following is not None and following.dtype != observations.dtype:
        raise UserError(f"next_observations: expected {observations.dtype} as in observations, found {following.dtype}")
    strips, lengths, said = rows.episodes(
        rows.Rows(
            {"": observations},
            stored(file, "actions"),
            rows.rewards(stored(file, "rewards")),
            ends,
            None if following is None else {"": following},
            _extra(file, len(terminations), head is not None, notes),
        )
    )
    notes.update(said)
    if head is not None:
        return head.noting(notes=notes) if notes else head, shaped(strips, head), lengths
    if "infos" in file.file:
        aside = [f"infos/{ascii(name.decode(errors='replace'))[1:-1]}" for name in file.file["infos"].id][:_NAMED]
        aside = [name for name in aside if name != _LOG_PROBABILITY]
        notes.update({f"{name}: not kept": 1 for name in aside})
    head, strips = with_head(strips, record, {"source": "d4rl", "reference": reference.text}, notes)
    _refit_propensity(strips, head.action_space, notes)
    return head.noting(notes=notes) if notes else head, strips, lengths


def _ends(file: SafeFile, terminations: Strip, most: int | None, joined: bool, notes: dict[str, int]) -> rows.Ends:
    """Where episodes end; without a column of cuts, they are wherever the time limit was reached."""
    if file.has("timeouts"):
        return rows.find_ends(terminations, rows.flags(stored(file, "timeouts"), "timeouts"))
    if most is not None:
        found, notes["cuts at the time limit, since the file has no timeouts"] = rows.cut_every(
            rows.find_ends(terminations, None), most
        )
        return found
    if joined:
        return rows.find_ends(terminations, None)
    raise UserError(
        "expected timeouts or next_observations, found neither, so nobody can tell where episodes were cut; name the "
        "environment by ?env=ID or its time limit by ?max_episode_steps=N"
    )


def _extra(file: SafeFile, count: int, own: bool, notes: dict[str, int]) -> dict[str, Strip]:
    """Per step: what a log of ours kept, or the probabilities of the logged actions."""
    found = {name: stored(file, f"infos/{name}") for name in _OWN if own and file.has(f"infos/{name}")}
    if not own and file.has(_LOG_PROBABILITY):
        logarithm = stored(file, _LOG_PROBABILITY)
        if logarithm.shape in ((count,), (count, 1)):
            found["propensity"] = logarithm.shaped().changed(_exponential, np.float64)
        else:
            notes[f"{_LOG_PROBABILITY}: not one number a step, not kept"] = 1
    return found


def _exponential(_: int, logarithm: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(logarithm.astype(np.float64))


def _refit_propensity(strips: dict[str, Strip], space: gym.Space[Any], notes: dict[str, int]) -> None:
    """Leave propensities out where they are none, rather than refuse the file for them."""
    found = strips.get("propensity")
    if found is None:
        return
    most = np.finfo(np.float64).max if isinstance(space, gym.spaces.Box) else 1.0 + 1e-6
    bad = sum(int((~((piece > 0) & (piece <= most))).sum()) for _, piece in found.pieces())
    if bad:
        del strips["propensity"]
        notes[f"steps whose {_LOG_PROBABILITY} is not of a probability: propensities are not kept"] = bad
    elif not isinstance(space, gym.spaces.Box):
        strips["propensity"] = found.changed(lambda _, piece: np.minimum(piece, 1.0))


def losses(outline: Outline, _: str) -> list[str]:
    """What of the log a D4RL file cannot hold."""
    return lost_columns(outline, kept=_OWN)


@contextmanager
def d4rl_sink(outline: Outline, text: str) -> Iterator[Take]:
    """Where a log becomes rows with both flags and every next frame."""
    names = [column.name for column in outline.columns]
    observations = outline.column("observations")
    if observations is None:
        paths = list(leaf_spaces(outline.head.observation_space))
        raise UserError(f"{text}: D4RL holds one array of observations, found {paths}")
    path, walk = parse(text, PREFIX, ()).path, Walk(outline.lengths)
    kept = {"next_observations": observations, **{_NAMES[c.name]: c for c in outline.columns if c.name in _NAMES}}
    if "propensity" in names:
        kept[_LOG_PROBABILITY] = kept["infos/propensity"]
    with replacing(path) as draft, h5py.File(draft, "w") as file:
        datasets = {n: file.create_dataset(n, (outline.steps, *c.shape), c.dtype) for n, c in kept.items()}
        write_head(file, _HEAD, outline.head)
        filled = dict.fromkeys(datasets, 0)

        def put(name: str, array: Array) -> None:
            datasets[name][filled[name] : filled[name] + len(array)] = array
            filled[name] += len(array)

        def take(arrays: dict[str, Array]) -> None:
            now, after = _both_sides(arrays["observations"], walk.parts(len(arrays["rewards"])))
            put("observations", now)
            put("next_observations", after)
            for name in names:
                if name in _NAMES and name != "observations":
                    put(_NAMES[name], arrays[name])
            if "propensity" in names:
                put(_LOG_PROBABILITY, np.log(arrays["propensity"]))

        yield take


def _both_sides(frames: Array, parts: Iterable[Part]) -> tuple[Array, Array]:
    """The frames before steps and those after them; the one after the last step of a part comes with the next part."""
    before, after = np.ones(len(frames), np.bool_), np.ones(len(frames), np.bool_)
    for part in parts:
        if part.ends:
            before[part.frames.stop - 1] = False
        if not part.done:
            after[part.frames.start] = False
    return frames[before], frames[after]


FORMAT = flat_format("d4rl", "d4rl:FILE.hdf5", holds, open_d4rl, d4rl_sink, losses)
