"""Random numbers without a state: unrelated outputs from neighbouring inputs."""

from __future__ import annotations

import numpy as np

from fqi.nest import Array


def mixed(x: Array) -> Array:
    """SplitMix64's output of each state x, uint64; sums wrap around, so call it under `np.errstate(over="ignore")`."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
