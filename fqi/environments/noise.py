"""Random numbers inside array programs: pure functions of an episode's key and its step, two columns of the state."""

from __future__ import annotations

import numpy as np

from fqi.hashing import mixed
from fqi.nest import Array

_UNIT = 2.0**-53
_WORDS = (np.uint64(0), np.uint64(16), np.uint64(32), np.uint64(48))
_PIECE = 64  # images at a time: they stay in the processor's cache


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


def normal_images(keys: Array, ticks: Array, pixels: int) -> Array:
    """[B, pixels] float32 of mean 0 and variance 1, one image for each key [B] at its tick [B]; unrelated to `uniform`.

    Sums of four even numbers: near enough to the normal distribution for a camera's noise, cut at 3.5 deviations.
    """
    made = np.empty((len(keys), pixels), np.float32)
    places = np.arange(pixels, dtype=np.uint64) + (np.uint64(1) << np.uint64(63))
    with np.errstate(over="ignore"):
        images = mixed(keys.astype(np.uint64) ^ (ticks.astype(np.uint64) << np.uint64(32)))  # [B]
        for i in range(0, len(keys), _PIECE):
            bits = mixed(images[i : i + _PIECE, None] ^ places)
            total = sum(((bits >> word) & np.uint64(0xFFFF)).astype(np.float32) for word in _WORDS)
            made[i : i + _PIECE] = (total * np.float32(2.0**-16) - np.float32(2)) * np.float32(3.0**0.5)
    return made
