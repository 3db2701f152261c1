"""Calls in another process: arrays come back, errors are said, and a death is no silence."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from fqi.datasets.processes import Helper
from fqi.errors import UserError
from fqi.nest import Array


def echo(value: Any) -> tuple[Any, dict[str, Array]]:
    print("what a library says is no part of the answer")
    return value, {"a": np.arange(6.0).reshape(2, 3), "none": np.zeros((0, 4), np.int8)}


def refuse(value: str) -> Any:
    raise UserError(value)


def die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_arrays_come_back() -> None:
    helper = Helper(f"{__name__}:echo", {"x": [1]})
    said, arrays = helper.answer()
    assert said == {"x": [1]}
    assert arrays == [("a", np.dtype(np.float64), (2, 3)), ("none", np.dtype(np.int8), (0, 4))]
    found = np.empty((2, 3))
    helper.fill(found)
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))
    helper.close()


def test_an_error_is_said_and_a_death_is_noticed() -> None:
    for function, arguments, message in (("refuse", ("no",), "^no$"), ("die", (), "ended unexpectedly")):
        helper = Helper(f"{__name__}:{function}", *arguments)
        with pytest.raises(UserError, match=message):
            helper.answer()
        helper.close()
