"""The first random numbers of many seeds at once, as Gymnasium's `reset(seed=seed)` draws them, bit by bit.

`numpy.random.Generator(PCG64(SeedSequence(seed)))` costs some 20 µs a seed, as much as many steps of a vectorised
environment. Both algorithms are fixed by NumPy's promise of unchanging streams, and so are written out here
for arrays of seeds: M. E. O'Neill's seed sequence and her PCG XSL RR 128/64.
"""

from __future__ import annotations

import numpy as np

from fqi.nest import Array

_FEW = 20  # below this many seeds NumPy's own generators are faster
_POOL = 4
_M32 = 0xFFFFFFFF
_XSHIFT = np.uint32(16)
_U32 = np.uint64(32)
_LOW = np.uint64(_M32)
_MULTIPLIER = (np.uint64(2549297995355413924), np.uint64(4865540595714422341))  # PCG64's, high and low half

Wide = tuple[Array, Array]  # high and low halves [B] uint64 of 128-bit numbers


def uniforms(seeds: Array, count: int) -> Array:
    """[B, count] the first numbers in [0, 1) that each seed's generator draws; seeds [B] in [0, 2^63)."""
    if len(seeds) < _FEW:
        drawn = [np.random.Generator(np.random.PCG64(seed)).random(count) for seed in seeds.tolist()]
        return np.array(drawn).reshape(-1, count)
    with np.errstate(over="ignore"):
        state, increment = _seeded(_seed_words(seeds.astype(np.uint64)))
        columns = []
        for _ in range(count):
            state = _advanced(state, increment)
            columns.append(np.right_shift(_output(state), np.uint64(11)) * 2.0**-53)
    return np.stack(columns, axis=1)


class _Hash:
    """The seed sequence's running hash constant."""

    def __init__(self, constant: int, multiplier: int) -> None:
        self.constant, self.multiplier = constant, multiplier

    def __call__(self, words: Array) -> Array:
        words = words ^ np.uint32(self.constant)
        self.constant = self.constant * self.multiplier & _M32
        words = words * np.uint32(self.constant)
        return np.asarray(words ^ (words >> _XSHIFT))


def _mixed(x: Array, y: Array) -> Array:
    words: Array = np.uint32(0xCA01F9DD) * x - np.uint32(0x4973F715) * y
    return np.asarray(words ^ (words >> _XSHIFT))


def _seed_words(seeds: Array) -> list[Array]:
    """Four words [B] uint64 for each seed: `SeedSequence(seed).generate_state(4, uint64)`."""
    low, high = (seeds & _LOW).astype(np.uint32), (seeds >> _U32).astype(np.uint32)
    hashed = _Hash(0x43B0D7E5, 0x931E8875)
    # A seed below 2^32 is one word and the pool is filled with zeros: the same as a high word of 0.
    pool = [hashed(word) for word in (low, high, np.zeros_like(low), np.zeros_like(low))]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mixed(pool[target], hashed(pool[source]))
    hashed = _Hash(0x8B51F9DD, 0x58F38DED)
    halves = [hashed(pool[i % _POOL]).astype(np.uint64) for i in range(8)]
    return [halves[2 * i] | (halves[2 * i + 1] << _U32) for i in range(4)]


def _seeded(words: list[Array]) -> tuple[Wide, Wide]:
    """PCG64's state and increment from four words."""
    high, low = words[2], words[3]
    increment = ((high << np.uint64(1)) | (low >> np.uint64(63)), (low << np.uint64(1)) | np.uint64(1))
    state = _sum(increment, (words[0], words[1]))  # one step from 0 is the increment
    return _advanced(state, increment), increment


def _advanced(state: Wide, increment: Wide) -> Wide:
    return _sum(_product(state), increment)


def _sum(x: Wide, y: Wide) -> Wide:
    low = x[1] + y[1]
    return x[0] + y[0] + (low < x[1]), low


def _product(state: Wide) -> Wide:
    """state * multiplier modulo 2^128, from products of 32-bit halves."""
    high, low = state
    times_high, times_low = _MULTIPLIER
    a, b = low & _LOW, low >> _U32
    c, d = times_low & _LOW, times_low >> _U32
    ac, ad, bc = a * c, a * d, b * c
    middle = (ac >> _U32) + (ad & _LOW) + (bc & _LOW)
    carried = b * d + (ad >> _U32) + (bc >> _U32) + (middle >> _U32)
    return high * times_low + low * times_high + carried, low * times_low


def _output(state: Wide) -> Array:
    """[B] uint64: both halves xored, rotated by the six highest bits."""
    high, low = state
    words, turn = high ^ low, high >> np.uint64(58)
    return np.asarray((words >> turn) | (words << ((np.uint64(64) - turn) & np.uint64(63))))
