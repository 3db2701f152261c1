"""Trees against scikit-learn's own loop, frozen against grown ones, and the closed forms against bare array sums."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor

from fqi.bench.figure import Figure
from fqi.bench.problem import ACTIONS, random_rows
from fqi.bench.timing import interleaved
from fqi.log import Log
from fqi.qfunctions.linear import LinearQ
from fqi.qfunctions.settings import LinearSettings, TableSettings, TreesSettings
from fqi.qfunctions.table import TableQ
from fqi.qfunctions.trees import TreesQ
from fqi.transitions import Transitions, transitions

CPU = torch.device("cpu")


def _bound(kind: type, settings: object, rows: Transitions) -> TreesQ | LinearQ | TableQ:
    q: TreesQ | LinearQ | TableQ = kind(settings, rows.log.observation_space, rows.log.action_space, [0], CPU)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    return q


def _round(q: TreesQ | LinearQ | TableQ, wanted: torch.Tensor, frames: int) -> None:
    q.fit(wanted)
    q.log_values(0, frames)


def trees(seconds: float) -> list[Figure]:
    """A round of 50 extremely randomised trees on pairs: a fit, and the values of every frame under every action."""
    rows = random_rows(4_000)
    log, wanted = rows.log, torch.from_numpy(rows.returns)[None]
    frames = np.asarray(log.observations)
    X = np.concatenate([frames[rows.frame], rows.action[:, None]], 1, dtype=np.float32)
    asked = [np.concatenate([frames, np.full((len(frames), 1), a)], 1, dtype=np.float32) for a in range(ACTIONS)]

    def bare() -> None:
        forest = ExtraTreesRegressor(50, n_jobs=-1, random_state=0).fit(X, rows.returns)
        for inputs in asked:
            forest.predict(inputs)

    grown, frozen = (_bound(TreesQ, TreesSettings(per="pair", freeze_structure_after=after), rows) for after in (0, 1))
    took = interleaved(
        {
            "own": partial(_round, grown, wanted, len(frames)),
            "bare": bare,
            "frozen": partial(_round, frozen, wanted, len(frames)),
        },
        seconds,
    )
    return [
        Figure(
            "trees", "50 trees on 4,000 pairs, a round that grows them", took["bare"] / took["own"],
            "rounds of a bare scikit-learn loop", len(rows) / took["own"], "rows/s", 1.0,
        ),
        Figure(
            "trees-frozen", "50 trees on 4,000 pairs, a round with their structure frozen",
            took["own"] / took["frozen"], "rounds that grow them", len(rows) / took["frozen"], "rows/s", 30.0,
        ),
    ]  # fmt: skip


def closed_forms(seconds: float) -> list[Figure]:
    """A table's fit against one bare sum of its targets; a linear fit against one product of features and targets."""
    rows = _numbered(1_000_000)
    wanted = torch.from_numpy(rows.returns)[None]
    q = _bound(TableQ, TableSettings(), rows)
    pair = np.asarray(rows.log.observations)[rows.frame] * ACTIONS + rows.action
    took = interleaved({"own": lambda: q.fit(wanted), "bare": lambda: np.bincount(pair, weights=rows.returns)}, seconds)
    found = [
        Figure(
            "table", "table of 1,000 pairs, a fit to 1M rows", took["bare"] / took["own"], "bare sums of the targets",
            len(rows) / took["own"], "rows/s",
        )
    ]  # fmt: skip
    columns = random_rows(200_000)
    targets = torch.from_numpy(columns.returns)[None]
    linear = _bound(LinearQ, LinearSettings(features="raw"), columns)
    phi = np.concatenate([np.asarray(columns.log.observations)[columns.frame], np.ones((len(columns), 1))], 1)
    took = interleaved({"own": lambda: linear.fit(targets), "bare": lambda: phi.T @ columns.returns}, seconds)
    found.append(
        Figure(
            "linear", "linear on 5 features, a fit to 200,000 rows", took["bare"] / took["own"],
            "bare products of features and targets", len(columns) / took["own"], "rows/s",
        )
    )  # fmt: skip
    return found


def _numbered(steps: int, states: int = 500) -> Transitions:
    """Rows of a random log of numbered states, an episode of 100 steps after the other."""
    plain = random_rows(steps).log
    generator = np.random.default_rng(1)
    return transitions(
        Log(
            observations=generator.integers(states, size=plain.steps + plain.episodes),
            actions=plain.actions,
            rewards=plain.rewards,
            terminations=plain.terminations,
            truncations=plain.truncations,
            lengths=plain.lengths,
            observation_space=gym.spaces.Discrete(states),
            action_space=plain.action_space,
        ),
        0.99,
    )
