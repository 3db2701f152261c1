"""Discontinuities: frames that cannot well follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from fqi.datasets.columns import leaf_name
from fqi.datasets.doctor.finding import Finding, error, warning
from fqi.datasets.doctor.oracle import Oracle
from fqi.datasets.doctor.structure import flat
from fqi.log import Log
from fqi.nest import Array, leaves

# Ordinary jumps are the smaller 90 %. In Gymnasium's classic control, under random and expert policies, no true step
# exceeds them more than 1.7-fold in most dimensions at once, or more than 8.2-fold in one; joined episodes do.
_ORDINARY = 0.9
_JOIN = 3.0
_SPIKE = 25.0
_LEAST = 200  # steps below which nobody can say what is ordinary
_MEASURED = 200_000  # steps that the ordinary jumps are taken from
_ROWS = 1 << 16  # at a time


def discontinuities(log: Log, oracle: Oracle | None) -> Iterator[Finding]:
    """Frames that lie much further from the one before than the ordinary steps of the same column ever do. What the
    replay of the step explains is no discontinuity."""
    if log.steps < _LEAST:
        return
    frame = log.frame_of_step
    for path, array in leaves(log.observations).items():
        if array.dtype.kind != "f" or array.ndim > 2 or not array.size:
            continue  # discrete states and pixels jump by nature
        values = flat(array)
        measured = frame[:: max(1, len(frame) // _MEASURED)]
        ordinary = np.quantile(_jumps(values, measured), _ORDINARY, axis=0)  # [D]
        rows = np.concatenate([
            i + np.flatnonzero(_far(_jumps(values, frame[i : i + _ROWS]), ordinary))
            for i in range(0, log.steps, _ROWS)
        ])  # fmt: skip
        if oracle is not None and len(rows):
            rows = _unexplained(oracle, rows)
        if len(rows):
            jump = _jumps(values, frame[rows[:1]])[0]
            worst = int(np.argmax(np.divide(jump, ordinary, out=np.zeros_like(jump), where=ordinary > 0)))
            found = f"a jump of {jump[worst]:.4g} in dimension {worst} to frame {frame[rows[0]] + 1}"
            expected = f"jumps of ordinary size ({_ORDINARY:.0%} are below {ordinary[worst]:.4g})"
            yield warning("discontinuity", leaf_name(path), expected, found, frame[rows] + 1)


def _jumps(values: Array, frame: Array) -> Array:
    """[len(frame), D] how far the next frame lies from these."""
    return np.asarray(np.abs(values[frame + 1].astype(np.float64) - values[frame]))


def _far(jump: Array, ordinary: Array) -> Array:
    ratio = np.divide(jump, ordinary, out=np.zeros_like(jump), where=ordinary > 0)
    ratio = np.nan_to_num(ratio, nan=0.0)
    bad = ratio.max(axis=1) > _SPIKE
    if ratio.shape[1] > 1:
        bad |= np.count_nonzero(ratio > _JOIN, axis=1) > ratio.shape[1] // 2  # in more than half of the dimensions
    return np.asarray(bad)


def _unexplained(oracle: Oracle, rows: Array) -> Array:
    some = rows[: oracle.replayer.rows]
    known = some[oracle.usable[some]]
    explained = known[oracle.play(known).frames]
    return np.asarray(np.setdiff1d(rows, explained))


def differing(log: Log, arrays: Mapping[str, Array]) -> Iterator[Finding]:
    """Where the source itself says what the next frame was (`next_observations`), rows that another frame follows."""
    for path, array in leaves(log.observations).items():
        name = leaf_name(path).replace("observations", "next_observations", 1)
        said = arrays.get(name)
        if said is None or said.shape != (log.steps, *array.shape[1:]):
            continue
        follows = array[log.frame_of_step + 1]
        rows = np.flatnonzero(flat((said != follows) & ~((said != said) & (follows != follows))).any(axis=1))
        if len(rows):
            yield error("next frame differs", name, "the frame that follows in the log", "another frame", rows)
