"""Repairs of columns that are off by one row, each proved by replay."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from fqi.datasets.doctor.finding import slug
from fqi.datasets.doctor.oracle import Oracle
from fqi.datasets.doctor.parts import asked, changed, window
from fqi.datasets.doctor.replay import Shift, replay, rolled
from fqi.datasets.doctor.structure import flat
from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array

_CHANCE = 1e-3  # that other actions would explain the ends of episodes as well as those moved there do


def _shift(log: Log, column: str) -> tuple[Oracle, Shift]:
    found = asked(log, f"{column}-shifted: what belongs together does not stand in the columns")
    shifts = replay(found).shifts
    for shift in shifts:
        if shift.column == column:
            return found, shift
    names = ", ".join(slug(f"{shift.column} shifted") for shift in shifts) or "no shift"
    raise UserError(f"{column}-shifted: the replay shows {names}")


def frames_shifted(log: Log) -> tuple[Log, str]:
    """Frames that run ahead lack the first of each episode, frames that lag the last: the step there is lost."""
    _, shift = _shift(log, "frames")
    count = log.lengths - 1
    if shift.by == 1:
        moved = window(log, np.ones_like(count), count, frame_offset=-1)
    else:
        moved = window(log, np.zeros_like(count), count, frame_offset=1)
    moved, gone = _without(moved, "action_mask", "label")  # kept to frames, or to actions
    _prove(moved, "frames-shifted")
    lost = "first" if shift.by == 1 else "last"
    way = "ahead" if shift.by == 1 else "behind"
    return moved, f"moved the frames, which were one row {way}; the {lost} step of each episode is lost{gone}"


def actions_shifted(log: Log) -> tuple[Log, str]:
    """At the ends of episodes the moved actions are trusted if they explain all of them, and others would not; else an
    end is filled where one action alone explains it, or left out."""
    found, shift = _shift(log, "actions")
    edge = np.flatnonzero(found.last if shift.by == 1 else found.first)
    moved, says, whole = _best_roll(log, "actions", shift.by, edge)
    discrete = isinstance(log.action_space, gym.spaces.Discrete)
    sure = np.zeros(0, np.int64)
    if discrete:
        tried, sure, fitting = _searched(moved, edge)
        whole = whole and _chance(moved, edge, fitting) < _CHANCE
    if not whole:  # some other value was put there, and may agree by chance: only what nothing else explains is known
        moved, says = (tried if discrete else moved), ""
        moved, lost = _drop(moved, np.setdiff1d(edge, sure), shift.by)
        says = (f"; {len(sure):,} at the ends are the only ones that replay" if len(sure) else "") + lost
    moved, gone = _without(moved, "propensity", "behaviour", "label")
    _prove(moved, "actions-shifted", rewards=False)
    return moved, f"moved the actions by one row{says}{gone}"


def _without(log: Log, *names: str) -> tuple[Log, str]:
    """The log without these columns: nobody knows whether they were off by a row with the others."""
    gone = [name for name in names if getattr(log, name) is not None]
    none: dict[str, Any] = dict.fromkeys(names)
    left = changed(log, **none, **({"behaviours": ()} if "behaviour" in names else {}))
    return left, f"; left out {', '.join(gone)}: in which row that belongs is not known" if gone else ""


def _chance(log: Log, rows: Array, fitting: Array) -> float:
    """The chance that any actions would explain these rows; where the same happens again it proves nothing more."""
    frames = np.asarray(log.observations)
    frame = log.frame_of_step[rows]
    events = np.concatenate([flat(frames[frame]), flat(frames[frame + 1]), flat(log.actions[rows])], axis=1)
    _, first = np.unique(events, axis=0, return_index=True)
    return float(np.prod(fitting[first]))


def rewards_shifted(log: Log) -> tuple[Log, str]:
    found, shift = _shift(log, "rewards")
    edge = np.flatnonzero(found.last if shift.by == 1 else found.first)
    moved, says, whole = _best_roll(log, "rewards", shift.by, edge)
    if not whole:
        played = found.play(edge)
        known = played.sure & played.frames
        rewards = moved.rewards.copy()
        rewards[edge[known]] = played.reward[known]
        moved, lost = _drop(changed(moved, rewards=rewards), edge[~known], shift.by)
        says = f"; {np.count_nonzero(known):,} at the ends are those of the environment{lost}"
    _prove(moved, "rewards-shifted")
    return moved, f"moved the rewards by one row{says}"


def _best_roll(log: Log, column: str, by: int, edge: Array) -> tuple[Log, str, bool]:
    """The column moved by one row, around the whole log or around each episode; and whether that explains the edge."""
    says = {"log": " around the whole log", "episode": " around each episode"}
    tried = {way: changed(log, **{column: values}) for way, values in rolled(log, getattr(log, column), by).items()}
    odd = {way: len(_odd(tried[way], edge)) for way in tried}
    best = min(odd, key=lambda way: odd[way])
    return tried[best], says[best], odd[best] == 0


def _odd(log: Log, rows: Array) -> Array:
    """Those of the rows that do not replay."""
    found = asked(log, "the log was moved")
    played = found.play(rows[found.usable[rows]])
    return np.setdiff1d(rows, played.rows[played.frames & played.rewards])


def _searched(log: Log, rows: Array) -> tuple[Log, Array, Array]:
    """The log with the one action in each of these rows that the environment explains, the rows that have one, and the
    share [len(rows)] of all actions that it explains."""
    assert isinstance(log.action_space, gym.spaces.Discrete)
    first, count = int(log.action_space.start), int(log.action_space.n)
    fits = np.zeros((count, len(rows)), np.bool_)
    actions = log.actions.copy()
    for a in range(count):
        actions[rows] = first + a
        trial = asked(changed(log, actions=actions), "the log was moved")
        fits[a] = trial.usable[rows]
        played = trial.play(rows[fits[a]], nudge=False)
        fits[a][fits[a]] = played.frames & played.rewards
    only = fits.sum(axis=0) == 1
    actions = log.actions.copy()
    actions[rows[only]] = first + np.argmax(fits[:, only], axis=0)
    return changed(log, actions=actions), rows[only], fits.mean(axis=0)


def _drop(log: Log, rows: Array, by: int) -> tuple[Log, str]:
    """The log without these last (by 1) or first (by -1) rows of episodes."""
    if not len(rows):
        return log, ""
    episodes = log.episode_of_step[rows]
    first, count = np.zeros_like(log.lengths), log.lengths.copy()
    count[episodes] -= 1
    first[episodes] += by == -1
    where = "last" if by == 1 else "first"
    ended = int(np.count_nonzero(log.terminations[rows])) if by == 1 else 0
    also = f", {ended:,} terminations among them" if ended else ""
    return window(log, first, count), f"; the {where} step of {len(rows):,} episodes is lost{also}"


def _prove(log: Log, name: str, rewards: bool = True) -> None:
    """Refuse what does not replay: every step, or as many as can be replayed in some ten seconds."""
    if not log.episodes:
        return
    found = asked(log, name)
    rows = found.sample(10 * found.replayer.rows)
    played = found.play(rows)
    wrong = rows[~(played.frames & played.rewards if rewards else played.frames)]
    if len(wrong):
        raise UserError(
            f"{name}: moved by one row, {len(wrong):,} of {len(rows):,} steps still do not replay (the first in row "
            f"{int(wrong[0])} of what would be left), so the shift is not all that is wrong"
        )
