"""Which states of the log are looked at, and how far each is from the data."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from scipy.spatial import cKDTree

from fqi.encoding import encode, scaled_columns, width
from fqi.log import Log
from fqi.nest import Array, Nest, leaf_spaces, take

WIDEST = 64  # columns of an encoded frame beyond which distances say little and cost much
_INDEXED = 20_000  # logged rows of each action among which neighbours are sought, evenly spread
_WITHIN = 10  # nearest rows of the log, whatever was done there, that say what the behaviour does


def drawn_steps(log: Log, count: int, seed: int) -> Array:
    """[n] steps of the log, every one equally likely and none twice; ascending."""
    generator = np.random.default_rng((seed, 0x57A7E))
    return np.sort(generator.choice(log.steps, min(count, log.steps), replace=False))


def frames_at(log: Log, steps: Array) -> Nest:
    """[n, ...] the frames in which these steps were taken."""
    return take(log.observations, log.frame_of_step[steps])


class Neighbours:
    """The log as points, to say how near any (state, action) lies to what was done in it."""

    def __init__(self, log: Log) -> None:
        self.log, space = log, log.observation_space
        self.discrete = isinstance(space, gym.spaces.Discrete)
        self.far = not self.discrete and width(space) > WIDEST
        self.episode = np.repeat(np.arange(log.episodes), log.lengths)  # [N]
        self.actions = _from_zero(log)
        if self.discrete:
            count = int(np.prod([s.n for s in leaf_spaces(space).values()]))  # type: ignore[attr-defined]
            states = np.asarray(log.observations)[log.frame_of_step] - int(space.start)  # type: ignore[attr-defined]
            self.counts = np.zeros((count, int(self.actions.max(initial=0)) + 1), np.int64)
            np.add.at(self.counts, (states, self.actions), 1)
        elif not self.far:
            points = self._points(take(log.observations, log.frame_of_step), fit=True)
            self.trees = {a: self._tree(points, np.flatnonzero(self.actions == a)) for a in np.unique(self.actions)}
            self.all = self._tree(points, np.arange(log.steps))

    def distances(self, frames: Nest, actions: Array, own: Array) -> Array | None:
        """[n] standardised distance from each frame to the nearest one where this action was logged, in an episode
        other than its `own` [n] (-1: none is). With discrete states: 1 / (1 + rows of the pair). None: not told."""
        if self.far:
            return None
        if self.discrete:
            return 1 / (1.0 + self._rows(np.asarray(frames), actions))
        points, found = self._points(frames), np.full(len(actions), np.inf)
        for action, (tree, rows) in self.trees.items():
            asked = np.flatnonzero(actions == action)
            if len(asked):
                near, index = tree.query(points[asked], min(32, len(rows)))
                near, index = near.reshape(len(asked), -1), index.reshape(len(asked), -1)
                other = self.episode[rows[index]] != own[asked, None]
                found[asked] = np.where(other, near, np.inf).min(1)
        return found

    def supported(self, frames: Nest, actions: Array) -> Array | None:
        """[n] bool: whether the action was taken in the state, or in one of the ten logged states nearest to it."""
        if self.far:
            return None
        if self.discrete:
            return self._rows(np.asarray(frames), actions) > 0
        tree, rows = self.all
        _, index = tree.query(self._points(frames), min(_WITHIN, len(rows)))
        return np.asarray((self.actions[rows[index.reshape(len(actions), -1)]] == actions[:, None]).any(1))

    def _rows(self, frames: Array, actions: Array) -> Array:
        states = frames - int(self.log.observation_space.start)  # type: ignore[attr-defined]
        known = actions < self.counts.shape[1]
        return np.asarray(np.where(known, self.counts[states, np.where(known, actions, 0)], 0))

    def _points(self, frames: Nest, fit: bool = False) -> Array:
        raw = encode(frames, self.log.observation_space, np.float64)
        if fit:
            scaled = scaled_columns(self.log.observation_space)
            spread = raw.std(0)
            self.centre = np.where(scaled, raw.mean(0), 0.0)
            self.spread = np.where(scaled & (spread > 0), spread, 1.0)
        return np.asarray((raw - self.centre) / self.spread)

    @staticmethod
    def _tree(points: Array, rows: Array) -> tuple[cKDTree, Array]:
        if len(rows) > _INDEXED:
            rows = rows[np.linspace(0, len(rows) - 1, _INDEXED).astype(np.int64)]
        return cKDTree(points[rows]), rows


def _from_zero(log: Log) -> Array:
    first = int(log.action_space.start)  # type: ignore[attr-defined]
    return np.asarray(log.actions.astype(np.int64) - first)
