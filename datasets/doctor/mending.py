"""Repairs of single steps, of ends and of whole episodes. Each gives the mended log, unchecked, and what it did."""

from __future__ import annotations

import numpy as np

from fqi.datasets.doctor import structure
from fqi.datasets.doctor.ends import documented, known_limit
from fqi.datasets.doctor.oracle import oracle
from fqi.datasets.doctor.parts import asked, certain, changed, lasts, window
from fqi.datasets.doctor.repeats import repeated_episodes
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import leaves


def not_finite(log: Log) -> tuple[Log, str]:
    """Each episode ends, truncated, before the first number that is not finite."""
    frame = log.frame_of_step
    bad = ~(structure.finite_rows(log.rewards) & structure.finite_rows(log.actions))
    for column in (log.propensity, log.label):
        if column is not None:
            bad |= ~structure.finite_rows(column)
    for array in leaves(log.observations).values():
        sound = structure.finite_rows(array)
        bad |= ~(sound[frame] & sound[frame + 1])
    position = np.arange(log.steps) - log.starts[log.episode_of_step]
    count = np.minimum(log.lengths, np.minimum.reduceat(np.where(bad, position, log.steps), log.starts))
    cut, dropped = np.count_nonzero((count < log.lengths) & (count > 0)), np.count_nonzero(count == 0)
    lost = log.steps - int(count.sum())
    did = (
        f"cut {cut:,} episodes before their first row that is not finite, dropped {dropped:,}; {lost:,} steps are lost"
    )
    return window(log, np.zeros_like(count), count), did


def duplicates(log: Log) -> tuple[Log, str]:
    repeated = repeated_episodes(log)
    count = log.lengths.copy()
    count[repeated] = 0
    return window(log, np.zeros_like(count), count), f"dropped {len(repeated):,} episodes that repeat an earlier one"


def both_ends(log: Log) -> tuple[Log, str]:
    """By the environment, else by what Gymnasium's time limit documents: termination wins at the limit."""
    last = lasts(log)
    both = np.flatnonzero(log.terminations[last] & log.truncations[last])
    rows = last[both]
    terminations, truncations = log.terminations.copy(), log.truncations.copy()
    found = oracle(log)
    if isinstance(found, str):
        if not documented(log, both):
            raise UserError(
                "both-ends: termination wins only at the time limit, as Gymnasium documents it; these episodes end "
                f"elsewhere, and the environment cannot be asked: {found}"
            )
        truncations[rows] = False
        did = f"kept the termination of {len(rows):,} episodes that both terminated and reached the time limit"
        return changed(log, truncations=truncations), did
    played = certain(found, rows, "both-ends")
    truncations[rows[played.terminated]] = False
    terminations[rows[~played.terminated]] = False
    kept = int(np.count_nonzero(played.terminated))
    did = f"kept the termination of {kept:,} episodes and the truncation of {len(rows) - kept:,}, as the replay shows"
    return changed(log, terminations=terminations, truncations=truncations), did


def open_episodes(log: Log) -> tuple[Log, str]:
    """By the environment, else truncated where the episode has the length of the time limit."""
    last = lasts(log)
    open_ = np.flatnonzero(~(log.terminations[last] | log.truncations[last]))
    rows = last[open_]
    terminations, truncations = log.terminations.copy(), log.truncations.copy()
    found = oracle(log)
    if isinstance(found, str):
        limit = known_limit(log)
        if limit is None or (log.lengths[open_] != limit).any():
            raise UserError(
                "open-episode: only episodes of exactly the time limit are surely truncated; others may have "
                f"terminated, and the environment cannot be asked: {found}"
            )
        truncations[rows] = True
        return changed(
            log, truncations=truncations
        ), f"truncated {len(rows):,} episodes at the limit of {limit:,} steps"
    played = certain(found, rows, "open-episode")
    terminations[rows[played.terminated]] = True
    truncations[rows[~played.terminated]] = True
    ended = int(np.count_nonzero(played.terminated))
    did = f"terminated {ended:,} and truncated {len(rows) - ended:,} open episodes, as the replay shows"
    return changed(log, terminations=terminations, truncations=truncations), did


def false_terminations(log: Log) -> tuple[Log, str]:
    """Terminations after which the environment goes on were truncations."""
    found = asked(log, "false-termination: whether an episode terminated or was cut does not stand in its columns")
    rows = np.flatnonzero(log.terminations & found.last)
    played = found.play(rows[found.usable[rows]])
    wrong = played.rows[played.frames & played.sure & ~played.ends]
    terminations, truncations = log.terminations.copy(), log.truncations.copy()
    terminations[wrong], truncations[wrong] = False, True
    did = f"made {len(wrong):,} terminations truncations, since the environment goes on from their final frames"
    return changed(log, terminations=terminations, truncations=truncations), did


def missed_terminations(log: Log) -> tuple[Log, str]:
    """Episodes end where the environment terminates; what was logged after it is dropped."""
    found = asked(log, "missed-termination: whether an episode terminated does not stand in its columns")
    played = found.play(np.flatnonzero(found.usable & ~log.terminations))
    ended = played.rows[played.frames & played.sure & ~played.ends]
    count = log.lengths.copy()
    episode = log.episode_of_step[ended]
    np.minimum.at(count, episode, ended - log.starts[episode] + 1)
    terminations, truncations = log.terminations.copy(), log.truncations.copy()
    terminations[ended], truncations[ended] = True, False
    lost = log.steps - int(count.sum())
    inside = changed(log, terminations=terminations, truncations=truncations)
    cut = window(inside, np.zeros_like(count), count)
    final = lasts(cut)
    kept = log.starts[np.arange(log.episodes)] + count - 1  # where each episode now ends
    cut.terminations[final], cut.truncations[final] = terminations[kept], truncations[kept]
    did = (
        f"terminated {len(np.unique(episode)):,} episodes where the environment does; {lost:,} steps after it are lost"
    )
    return cut, did


def ends_inside(log: Log) -> tuple[Log, str]:
    """An end from which the same episode goes on, step by step as the environment does, was none."""
    found = asked(log, "end-inside-episode: whether the flag or the episode is wrong does not stand in the columns")
    rows = np.flatnonzero((log.terminations | log.truncations) & ~found.last)
    certain(found, rows + 1, "end-inside-episode")
    played = certain(found, rows, "end-inside-episode")
    if played.terminated.any():
        row = int(rows[played.terminated][0])
        raise UserError(
            f"end-inside-episode: the environment does terminate in row {row}, so the steps after it are of another "
            "episode or of none: split it in the source"
        )
    terminations, truncations = log.terminations.copy(), log.truncations.copy()
    terminations[rows] = truncations[rows] = False
    did = f"cleared {len(rows):,} ends inside episodes, since the environment goes on there as the log does"
    return changed(log, terminations=terminations, truncations=truncations), did
