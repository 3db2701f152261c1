"""The first random numbers of many seeds at once, as Gymnasium's `reset(seed=seed)` draws them, bit by bit.

`numpy.random.Generator(PCG64(SeedSequence(seed)))` costs some 20 µs a seed, as much as many steps of a vectorised
environment. Both algorithms are fixed by NumPy's promise of unchanging streams, and so are written out here
for arrays of seeds: M. E. O'Neill's seed sequence and her PCG XSL RR 128/64.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from fqi.nest import Array

_FEW = 12  # below this many seeds NumPy's own generators are faster
_POOL = 4
_M32 = 0xFFFFFFFF
_XSHIFT = np.uint32(16)
_U32 = np.uint64(32)
_LOW = np.uint64(_M32)
_M64, _M128 = 2**64 - 1, 2**128 - 1
_MULTIPLIER = 2549297995355413924 << 64 | 4865540595714422341  # PCG64's

Wide = tuple[Array, Array]  # high and low halves, uint64, of 128-bit numbers


def uniforms(seeds: Array, count: int) -> Array:
    """[B, count] the first numbers in [0, 1) that each seed's generator draws; seeds [B] in [0, 2^63)."""
    if len(seeds) < _FEW:
        drawn = [np.random.Generator(np.random.PCG64(seed)).random(count) for seed in seeds.tolist()]
        return np.array(drawn).reshape(-1, count)
    with np.errstate(over="ignore"):
        drawn_bits = _outputs(_seed_words(seeds.astype(np.uint64)), count)  # [count, B]
        return np.ascontiguousarray((np.right_shift(drawn_bits, np.uint64(11)) * 2.0**-53).T)


def _running(constant: int, multiplier: int, count: int) -> tuple[Array, Array]:
    """The seed sequence's running hash constants [count, 1]: what words are xored with, and then multiplied by."""
    constants = [constant]
    for _ in range(count):
        constants.append(constants[-1] * multiplier & _M32)
    column = np.array(constants, np.uint32)[:, None]
    return column[:-1], column[1:]


_IN = _running(0x43B0D7E5, 0x931E8875, _POOL * _POOL)
_OUT = _running(0x8B51F9DD, 0x58F38DED, 2 * _POOL)
_OTHERS = [[target for target in range(_POOL) if target != source] for source in range(_POOL)]


def _hashed(words: Array, constants: tuple[Array, Array], part: slice = slice(None)) -> Array:
    """[n, B] each row of words hashed by its constants."""
    xors, factors = constants
    words = (words ^ xors[part]) * factors[part]
    return np.asarray(words ^ (words >> _XSHIFT))


def _mixed(x: Array, y: Array) -> Array:
    words: Array = np.uint32(0xCA01F9DD) * x - np.uint32(0x4973F715) * y
    return np.asarray(words ^ (words >> _XSHIFT))


def _seed_words(seeds: Array) -> list[Array]:
    """Four words [B] uint64 for each seed: `SeedSequence(seed).generate_state(4, uint64)`."""
    words = np.zeros((_POOL, len(seeds)), np.uint32)
    words[0], words[1] = seeds & _LOW, seeds >> _U32
    # A seed below 2^32 is one word and the pool is filled with zeros: the same as a high word of 0.
    pool = _hashed(words, _IN, slice(_POOL))
    for source, others in enumerate(_OTHERS):
        first = _POOL + len(others) * source
        pool[others] = _mixed(pool[others], _hashed(pool[source], _IN, slice(first, first + len(others))))
    halves = _hashed(np.concatenate([pool, pool]), _OUT).astype(np.uint64)
    return [halves[2 * i] | (halves[2 * i + 1] << _U32) for i in range(4)]


def _outputs(words: list[Array], count: int) -> Array:
    """[count, B] the first outputs of PCG64 seeded by four words: all its states at once, for the state after k steps
    is multiplier^k * first + (1 + multiplier + … + multiplier^(k-1)) * increment."""
    high, low = words[2], words[3]
    increment = ((high << np.uint64(1)) | (low >> np.uint64(63)), (low << np.uint64(1)) | np.uint64(1))
    first = _sum(increment, (words[0], words[1]))  # one step from 0 is the increment
    powers, totals = _jumps(count)
    return _output(_sum(_product(first, powers), _product(increment, totals)))


@cache
def _jumps(count: int) -> tuple[Wide, Wide]:
    """What the first state and the increment are multiplied by for each of the first states that are looked at."""
    power, total, powers, totals = 1, 0, [], []
    for k in range(count + 2):
        if k > 1:  # seeding makes a step, and so does each draw before it looks
            powers.append(power)
            totals.append(total)
        power, total = power * _MULTIPLIER & _M128, (total + power) & _M128
    return _halves(powers), _halves(totals)


def _halves(numbers: list[int]) -> Wide:
    """[n, 1] 128-bit numbers as high and low halves."""
    high, low = [n >> 64 for n in numbers], [n & _M64 for n in numbers]
    return np.array(high, np.uint64)[:, None], np.array(low, np.uint64)[:, None]


def _sum(x: Wide, y: Wide) -> Wide:
    low = x[1] + y[1]
    return x[0] + y[0] + (low < x[1]), low


def _product(state: Wide, times: Wide) -> Wide:
    """Products modulo 2^128, from products of 32-bit halves."""
    high, low = state
    times_high, times_low = times
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
