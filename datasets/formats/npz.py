""".npz files in the layouts of imitation (trajectories, transitions) and Stable-Baselines 2. Read, never unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from fqi.datasets.formats import rows
from fqi.datasets.formats.arrays import Archive, archive
from fqi.datasets.formats.heading import environment, limit, with_head
from fqi.datasets.formats.reference import flat_format, parse
from fqi.datasets.formats.rows import Rows
from fqi.datasets.source import Source
from fqi.datasets.strips import Strip, by_rows, named
from fqi.errors import UserError
from fqi.nest import Array

PREFIX = "npz:"
NO_REWARDS = "the file holds no rewards: they are all 0, good for cloning only"
_SKIPPED = "Python objects, never unpickled, skipped"
_TRAJECTORIES = {"obs", "acts", "terminal", "indices"}
_TRANSITIONS = {"obs", "acts", "next_obs", "dones"}
_BASELINES = {"obs", "actions", "episode_starts"}
_LAYOUTS = (
    ("imitation trajectories", _TRAJECTORIES, {"infos", "rews"}),
    ("imitation transitions", _TRANSITIONS, {"infos", "rews"}),
    ("Stable-Baselines 2", _BASELINES, {"rewards", "episode_returns"}),
)


def holds(path: Path) -> bool:
    """Whether the path is that of an .npz file."""
    return path.suffix.lower() == ".npz" and path.is_file()


@contextmanager
def open_npz(text: str) -> Iterator[Source]:
    """The file by rows, in whichever layout it has."""
    reference = parse(text, PREFIX)
    record = environment(reference)
    with ExitStack() as stack:
        with named(reference.path):
            file = stack.enter_context(archive(reference.path))
            layout, known = _layout(file)
            notes = _skipped(file, known)
            most = limit(reference, record)
            if layout == "imitation trajectories":
                strips, lengths, said = _trajectories(file, most)
            else:
                strips, lengths, said = rows.episodes(_transitions(file, layout, most, notes))
            provenance = {"source": "npz", "layout": layout, "reference": text}
            head, strips = with_head(strips, record, provenance, {**notes, **said})
            one = by_rows(text, "npz", reference.path, head, strips, lengths)
        yield one


def _layout(file: Archive) -> tuple[str, set[str]]:
    for name, required, optional in _LAYOUTS:
        if required <= file.names:
            return name, required | optional
    expected = "; or ".join(f"{', '.join(sorted(required))} ({name})" for name, required, _ in _LAYOUTS)
    raise UserError(
        f"{file.path}: expected the arrays {expected}; found {', '.join(map(ascii, sorted(file.names)))[:200]}"
    )


def _skipped(file: Archive, known: set[str]) -> dict[str, int]:
    """What else lies in the file: it is named, and left alone."""
    notes = {}
    for name in sorted(file.names - known):
        notes[f"{name[:80]!a}: not of this layout, skipped"] = 1
    if "infos" in file.names:
        header = file.header("infos")
        notes[f"infos: {_SKIPPED if header.dtype.hasobject else 'skipped'}"] = int(np.prod(header.shape))
    return notes


def _trajectories(file: Archive, most: int | None) -> tuple[dict[str, Strip], Array, dict[str, int]]:
    """Episodes that have their final frames."""
    terminal = _flags(file, "terminal")
    inner = file.read("indices")
    actions, observations = file.rows("acts"), file.rows("obs")
    if inner.ndim != 1 or (inner.size and inner.dtype.kind not in "iu") or len(inner) != len(terminal) - 1:
        raise UserError(
            f"indices: expected {len(terminal) - 1} whole numbers, one between any two of the {len(terminal)} "
            f"trajectories of terminal, found {inner.dtype} {inner.shape}"
        )
    steps = len(actions) if actions.shape else 0
    if inner.size and (inner.min() < 0 or inner.max() > steps):
        raise UserError(f"indices: expected numbers from 0 to the {steps} steps, found {inner.min()} to {inner.max()}")
    bounds = np.concatenate(([0], inner.astype(np.int64), [steps]))
    lengths = np.diff(bounds)
    if (lengths < 0).any():
        row = int(np.flatnonzero(lengths < 0)[0])
        raise UserError(f"indices: row {row}: expected rising numbers, found {bounds[row + 1]} after {bounds[row]}")
    if not observations.shape or len(observations) != steps + len(lengths):
        raise UserError(
            f"obs: expected {steps} + {len(lengths)} rows, one more than steps in each trajectory, found shape "
            f"{observations.shape}"
        )
    rewards, notes = _rewards(file, "rews", steps)
    if len(rewards) != steps:
        raise UserError(f"rews: expected {steps} rows as in acts, found {len(rewards)}")
    empty = lengths == 0
    if empty.any():
        notes["trajectories without a step, left out"] = int(empty.sum())
        at = bounds[:-1][empty] + np.flatnonzero(empty)  # the one frame of each
        observations = observations.without(at)
        lengths, terminal = lengths[~empty], terminal[~empty]
    last = np.cumsum(lengths) - 1
    terminations, truncations = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    at_limit = np.zeros_like(terminal) if most is None else terminal & (lengths == most)
    if most is not None and lengths.max(initial=0) > most:
        raise UserError(f"expected episodes of at most {most} steps, the time limit, found one of {lengths.max()}")
    terminations[last] = terminal & ~at_limit
    truncations[last] = ~terminal | at_limit
    if at_limit.any():
        notes[rows.LIMITED] = int(at_limit.sum())
    if most is None and terminal.any():
        notes[rows.MERGED] = int(terminal.sum())
    found = {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "terminations": Strip.of(terminations),
        "truncations": Strip.of(truncations),
    }
    return found, lengths, notes


def _transitions(file: Archive, layout: str, most: int | None, notes: dict[str, int]) -> Rows:
    """Rows that end where the file says so."""
    baselines = layout == "Stable-Baselines 2"
    actions, observations = file.rows("actions" if baselines else "acts"), file.rows("obs")
    steps = len(actions) if actions.shape else 0
    rewards, said = _rewards(file, "rewards" if baselines else "rews", steps)
    following: Strip | None = None
    if baselines:
        starts = _flags(file, "episode_starts")
        if len(starts) != steps or not steps:
            raise UserError(f"episode_starts: expected {steps} rows as in actions, found {len(starts)}")
        over = Strip.of(np.append(starts[1:], True))  # the file is written when an episode has ended
    else:
        over, following = rows.flags(file.rows("dones"), "dones"), file.rows("next_obs")
    ends, more = rows.limited(rows.find_ends(over, None), most)
    notes.update({**said, **more})
    return Rows({"": observations}, actions, rewards, ends, None if following is None else {"": following})


def _flags(file: Archive, name: str) -> Array:
    strip = rows.flags(Strip.of(file.read(name)), name)
    return strip.read(0, len(strip))


def _rewards(file: Archive, name: str, steps: int) -> tuple[Strip, dict[str, int]]:
    if name not in file.names:
        none = Strip((steps,), np.dtype(np.float64), lambda first, last: np.zeros(last - first))
        return none, {NO_REWARDS: steps}
    return rows.rewards(file.rows(name), name), {}


FORMAT = flat_format("npz", "FILE.npz", holds, open_npz)
