"""Terminations and truncations: merged, never set, both at once, and what lengths of episodes say of time limits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fqi.datasets.doctor.finding import Finding, warning
from fqi.datasets.doctor.replay import Replayed
from fqi.log import Log

_SAME = 5  # so many episodes of the same greatest length look like a time limit …
_SHARE = 0.02  # … if they are so large a part of all, …
_LONG = 10  # … and not as short as those of a problem that ends by itself


def ends(log: Log, replayed: Replayed | None) -> Iterator[Finding]:
    """What is odd in how episodes end; what the replay of their last steps explains is not odd."""
    last = np.cumsum(log.lengths) - 1
    terminated, truncated = log.terminations[last], log.truncations[last]  # [M]
    limit = known_limit(log)
    both = np.flatnonzero(terminated & truncated)
    if len(both):
        certain = (replayed is not None and replayed.knows_ends) or documented(log, both)
        yield warning("both ends", "truncations", "one of the two ends", "terminated and truncated in the same step",
                      last[both], repairable=certain)  # fmt: skip
    if limit is not None and int(log.lengths.max()) > limit:
        rows = np.flatnonzero(log.lengths > limit)
        found = f"{int(log.lengths[rows[0]]):,} steps in episode {rows[0]}"
        yield warning("longer than the limit", "lengths", f"at most {limit:,} steps", found, rows)
    if log.episodes < 2 or (replayed is not None and replayed.knows_ends):
        return
    if not truncated.any():
        yield from _merged(log, limit)
    if not terminated.any():
        cut = int(bool(log.provenance.get("last_episode_cut")))
        lengths = log.lengths[: log.episodes - cut]
        if len(lengths) and (lengths < (int(lengths.max()) if limit is None else limit)).any():
            found = f"{log.episodes:,} episodes, all truncated, some of them before the time limit"
            yield warning("never terminated", "terminations", "some terminated episode", found)


def _merged(log: Log, limit: int | None) -> Iterator[Finding]:
    longest = int(log.lengths.max())
    same = np.flatnonzero(log.lengths == longest)
    if limit is not None:
        suspicious, where = longest >= limit, f"the limit of {limit:,} steps"
    else:
        many = len(same) >= max(_SAME, _SHARE * log.episodes)
        suspicious, where = many and longest >= _LONG, f"exactly {longest:,} steps, the most that any has"
    if suspicious:
        found = f"none in {log.episodes:,} episodes, though {len(same):,} reach {where}"
        yield warning("merged ends", "truncations", "some truncated episode", found, (np.cumsum(log.lengths) - 1)[same])


def known_limit(log: Log) -> int | None:
    """The time limit that the log names."""
    limit = (log.environment or {}).get("max_episode_steps")
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def documented(log: Log, episodes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    """Whether both flags at once have a documented meaning: Gymnasium's time limit sets truncation at its last step,
    whether or not the environment terminated there, so the termination is the environment's own."""
    limit = known_limit(log)
    return limit is not None and bool((log.lengths[episodes] == limit).all())
