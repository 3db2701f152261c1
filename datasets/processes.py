"""Work handed to a process of its own, which answers with JSON and arrays: nothing is pickled."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fqi.errors import UserError
from fqi.nest import Array

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fqi.datasets.processes import serve; serve()"
Answer = tuple[Any, dict[str, Array]]


class Helper:
    """One call of a function `module:name` with JSON arguments, in another process."""

    def __init__(self, function: str, *arguments: Any) -> None:
        self._function = function
        paths = json.dumps([path or str(Path.cwd()) for path in sys.path])
        command = [sys.executable, "-c", _START, paths, function, json.dumps(arguments)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=one_thread)

    def answer(self) -> tuple[Any, list[tuple[str, np.dtype[Any], tuple[int, ...]]]]:
        """What the function said, and which arrays follow, to be taken one after another by `fill`."""
        head = json.loads(self._take(int.from_bytes(self._take(8), "little")))
        if "error" in head:
            raise UserError(str(head["error"]))
        return head["said"], [(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in head["arrays"]]

    def fill(self, array: Array) -> None:
        """The next array, into contiguous memory."""
        view = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            count = self._pipe.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise self._dead()
            done += count

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._pipe.close()
        self._process.wait()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _take(self, count: int) -> bytes:
        found = self._pipe.read(count)
        if len(found) < count:
            raise self._dead()
        return found

    def _dead(self) -> UserError:
        code = self._process.wait()
        return UserError(
            f"a process that helped to read ended unexpectedly (exit code {code}); is there memory enough?"
        )


def serve() -> None:
    """In the other process: call, and answer."""
    module, _, name = sys.argv[2].partition(":")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not reach the answer
    try:
        said, arrays = getattr(importlib.import_module(module), name)(*json.loads(sys.argv[3]))
        _send(out, said, arrays)
    except UserError as error:
        _head(out, {"error": str(error)})
    out.flush()


def _send(out: IO[bytes], said: Any, arrays: Mapping[str, Array]) -> None:
    _head(out, {"said": said, "arrays": [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]})
    for array in arrays.values():
        out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _head(out: IO[bytes], value: Any) -> None:
    text = json.dumps(value).encode()
    out.write(len(text).to_bytes(8, "little") + text)
