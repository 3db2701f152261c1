"""Random numbers inside array programs: pure functions of an episode's key and its step, two columns of the state."""

from __future__ import annotations

import numpy as np

from fqi.hashing import mixed
from fqi.nest import Array

_UNIT = 2.0**-53


def keys(seeds: Array) -> Array:
    """[B] float64 whole numbers below 2^53, one for each reset seed: exact in a column beside other quantities."""
    with np.errstate(over="ignore"):
        return (mixed(mixed(seeds.astype(np.uint64))) >> np.uint64(11)).astype(np.float64)


def uniform(keys: Array, ticks: Array, stream: int = 0) -> Array:
    """[B] numbers in [0, 1), one for each key [B] at its tick [B] (whole numbers); streams are unrelated."""
    with np.errstate(over="ignore"):
        place = (ticks.astype(np.uint64) << np.uint64(32)) + (np.uint64(stream) << np.uint64(56))
        at = mixed(keys.astype(np.uint64) ^ place)
    return np.asarray((at >> np.uint64(11)).astype(np.float64) * _UNIT)
