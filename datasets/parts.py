"""Logs of some episodes of another: the first ones, a share drawn at random, or those that fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fqi.datasets.deriving import Hearing, Made, check_free, derived, write_all
from fqi.datasets.format import Format
from fqi.datasets.source import Source
from fqi.datasets.stream import Output, source
from fqi.datasets.windows import windows
from fqi.errors import UserError
from fqi.nest import Array


def head_of_log(
    reference: str, target: str, episodes: int, *, force: bool = False, hearing: Hearing | None = None
) -> Made:
    """The first episodes."""
    form = check_free(target, force, reference)
    with source(reference) as one:
        chosen = np.arange(one.episodes) < episodes
        return write_all([one], [_part(one, chosen, target, form, f"the first {episodes} episodes")], hearing)[0]


def split(
    reference: str,
    targets: tuple[str, str],
    share: float,
    seed: int,
    *,
    force: bool = False,
    hearing: Hearing | None = None,
) -> list[Made]:
    """Two logs: a share of the episodes, drawn by the seed, and the others; each in the order of the source."""
    if not 0 < share < 1:
        raise UserError(f"share must lie between 0 and 1, found {share}")
    forms = [check_free(target, force, reference) for target in targets]
    if Path(targets[0]).resolve() == Path(targets[1]).resolve():
        raise UserError(f"{targets[0]}: both parts have this name; name two files")
    with source(reference) as one:
        first = round(share * one.episodes)
        if not 0 < first < one.episodes:
            raise UserError(f"{reference}: a share of {share} of {one.episodes} episodes leaves one part empty")
        chosen = np.zeros(one.episodes, np.bool_)
        chosen[np.random.default_rng(seed).permutation(one.episodes)[:first]] = True
        how = (f"a share of {share:g} of the episodes, seed {seed}", f"the rest of a share of {share:g}, seed {seed}")
        parts = zip((chosen, ~chosen), targets, forms, how, strict=True)
        return write_all([one], [_part(one, *part) for part in parts], hearing)


@dataclass(frozen=True)
class Wanted:
    """Which episodes to keep: all of these must hold."""

    min_return: float | None = None
    max_return: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    behaviours: tuple[str, ...] = ()
    terminated: bool | None = None

    def words(self) -> str:
        bounds = [
            f"{what} of {side} {value:g}"
            for what, side, value in (
                ("returns", "at least", self.min_return),
                ("returns", "at most", self.max_return),
                ("lengths", "at least", self.min_length),
                ("lengths", "at most", self.max_length),
            )
            if value is not None
        ]
        acted = [f"by {' or '.join(self.behaviours)} alone"] if self.behaviours else []
        ends = [] if self.terminated is None else ["terminated" if self.terminated else "not terminated"]
        return ", ".join(bounds + acted + ends)


def keep(reference: str, target: str, wanted: Wanted, *, force: bool = False, hearing: Hearing | None = None) -> Made:
    """The episodes that are wanted."""
    if wanted == Wanted():
        raise UserError("say which episodes to keep, such as --min-return 100; nothing was asked for")
    form = check_free(target, force, reference)
    with source(reference) as one:
        chosen = _matching(one, wanted)
        if not chosen.any():
            raise UserError(
                f"{reference}: none of {one.episodes} episodes has {wanted.words()}; `fqi data info` tells more"
            )
        return write_all([one], [_part(one, chosen, target, form, f"episodes with {wanted.words()}")], hearing)[0]


def _matching(one: Source, wanted: Wanted) -> Array:
    chosen = np.ones(one.episodes, np.bool_)
    if wanted.min_length is not None:
        chosen &= one.lengths >= wanted.min_length
    if wanted.max_length is not None:
        chosen &= one.lengths <= wanted.max_length
    starts = np.cumsum(one.lengths) - one.lengths
    if wanted.min_return is not None or wanted.max_return is not None:
        returns = np.zeros(one.episodes)
        for window in windows(one.lengths, 8):
            rewards = one.rows("rewards", window.steps.start, window.steps.stop).astype(np.float64)
            begin = starts[window.first : window.last] - window.steps.start
            returns[window.first : window.last] += np.add.reduceat(rewards, np.maximum(begin, 0))
        chosen &= returns >= (-np.inf if wanted.min_return is None else wanted.min_return)
        chosen &= returns <= (np.inf if wanted.max_return is None else wanted.max_return)
    if wanted.behaviours:
        unknown = [name for name in wanted.behaviours if name not in one.head.behaviours]
        if unknown or not one.has("behaviour"):
            known = ", ".join(one.head.behaviours) or "none is recorded"
            raise UserError(
                f"{one.reference}: no behaviour {' or '.join(unknown or wanted.behaviours)}; known: {known}"
            )
        good = np.isin(one.head.behaviours, wanted.behaviours)
        for first, behaviour in one.pieces("behaviour"):
            if behaviour.min() < 0 or behaviour.max() >= len(good):
                raise UserError(f"{one.reference}: behaviour: expected an index into {list(one.head.behaviours)}")
            chosen[_episodes(starts, first, len(behaviour))[~good[behaviour]]] = False
    if wanted.terminated is not None:
        ended = np.zeros(one.episodes, np.bool_)
        for first, flags in one.pieces("terminations"):
            ended[_episodes(starts, first, len(flags))[flags]] = True
        chosen &= ended == wanted.terminated
    return chosen


def _episodes(starts: Array, first: int, count: int) -> Array:
    """[count] the episodes of these steps."""
    return np.asarray(np.searchsorted(starts, np.arange(first, first + count), "right") - 1)


def _part(one: Source, chosen: Array, target: str, form: Format, how: str) -> Output:
    head, origin = derived([one], [chosen], how)
    seeds = None if one.seeds is None else one.seeds[chosen]
    return Output(target, form, head, one.columns, (chosen,), seeds, origin)
