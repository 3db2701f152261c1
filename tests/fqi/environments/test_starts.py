"""Random numbers of many seeds at once, against NumPy's own generators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqi.environments.starts import uniforms


@given(st.lists(st.integers(0, 2**63 - 1), max_size=60), st.integers(1, 5))
def test_equal_to_numpy(seeds: list[int], count: int) -> None:
    expected = [np.random.default_rng(seed).random(count) for seed in seeds]
    np.testing.assert_array_equal(
        uniforms(np.array(seeds, np.int64), count), np.array(expected).reshape(len(seeds), count)
    )


@pytest.mark.parametrize("first", [0, 2**32 - 50, 2**53 - 50])
def test_around_the_widths_of_words(first: int) -> None:
    seeds = np.arange(first, first + 100)
    expected = [np.random.default_rng(seed).random(3) for seed in seeds.tolist()]
    np.testing.assert_array_equal(uniforms(seeds, 3), expected)
