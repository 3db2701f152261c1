"""Timings that a busy machine spoils least: what is compared takes turns in short pieces, and the best piece counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

PIECE = 4e-3  # seconds: short enough that many pieces run undisturbed on cores that others use, too
LEAST = 5  # turns that everything has, however long it takes


Program = Callable[[], object]
"""Does a piece of work. Where it returns a number, that is how much; otherwise a call is one."""


def interleaved(programs: Mapping[str, Program], seconds: float = 1.0) -> dict[str, float]:
    """The least seconds that each program took for one unit of its work, all of them taking turns for about so many
    seconds."""
    calls = {name: _calls(program) for name, program in programs.items()}
    best = dict.fromkeys(programs, float("inf"))
    end, turns = time.perf_counter() + seconds, 0
    while turns < LEAST or time.perf_counter() < end:
        for name, program in programs.items():
            best[name] = min(best[name], _timed(program, calls[name]))
        turns += 1
    return best


def _calls(program: Program) -> int:
    """How many calls make a piece; the first call, which may build what later ones use again, is not looked at."""
    program()
    start = time.perf_counter()
    program()
    return max(1, round(PIECE / max(time.perf_counter() - start, 1e-7)))


def _timed(program: Program, calls: int) -> float:
    work, start = 0.0, time.perf_counter()
    for _ in range(calls):
        done = program()
        work += done if isinstance(done, int | float) else 1
    return (time.perf_counter() - start) / work
