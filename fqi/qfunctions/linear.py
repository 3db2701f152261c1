"""Ridge regression in closed form over named features: one weight vector for every action.

The matrix of each action's normal equations does not depend on the targets: it is made and factored once, when the rows
are bound. A round is then one product of features with targets and one pair of triangular solves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import scipy.linalg
import scipy.sparse
import torch

from fqi.errors import UserError
from fqi.features import Matrix, make_features
from fqi.nest import Array, Nest, rows, take
from fqi.qfunctions.checks import Expected, checked, on_cpu, seen_actions, training_rows
from fqi.qfunctions.contract import QFunction, Weights, discrete_actions
from fqi.qfunctions.settings import LinearSettings
from fqi.transitions import Transitions

MEMORY = 4 * 2**30  # bytes of normal equations, all heads and actions together
CACHE = 2**28  # bytes of features of the whole log that are kept rather than made anew in every round
SLICE = 2**25  # bytes of features made at once


class LinearQ(QFunction):
    """Actions that the training rows do not hold are left out of every maximum."""

    def __init__(
        self,
        settings: LinearSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        on_cpu(device, "linear")
        self.settings, self.seeds = settings, tuple(seeds)
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "linear")
        self.features = [make_features(settings.features, observation_space) for _ in seeds]
        if self.heads > 1 and not self.features[0].random:
            raise UserError(
                f"features {settings.features} draw nothing at random, so all heads would be equal: ask "
                f"for one seed and no ensemble, or take radial or tiles; found {self.heads} heads"
            )
        self.weights: list[Array] | None = None  # per head [D, A]; None before the first fit: Q is 0
        self.seen = np.ones(self.actions, np.bool_)  # [A]

    # ---- regression

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        index = training_rows(training, len(rows))
        self.frames, self.count = rows.observations(), rows.log.steps + rows.log.episodes
        self.training = index
        self.frame, self.action = rows.frame[index], rows.action[index]  # [b], frames ascending
        self.taken = np.bincount(self.action, minlength=self.actions)  # [A]
        self.seen = self.taken > 0
        used = take(self.frames, np.unique(np.concatenate([self.frame, rows.next_frame[index]])))
        for seed, features in zip(self.seeds, self.features, strict=True):
            features.fit(used, np.random.default_rng(seed))
        widths = [features.columns for features in self.features]
        need = sum(8 * self.actions * D * D for D in widths)
        if need > MEMORY:
            raise UserError(
                f"features {self.settings.features} make {max(widths)} features here: the normal equations "
                f"of {self.actions} actions and {self.heads} heads need {need / 2**30:.1f} GiB, more than "
                f"{MEMORY / 2**30:.0f}; take fewer features"
            )
        self.step = max(256, SLICE // (8 * max(widths)))  # frames at once
        self.cache: list[Matrix] | None = None
        if self._bytes() <= CACHE:
            self.cache = [features(self.frames) for features in self.features]
        self.factors = [self._factor(head, D) for head, D in enumerate(widths)]
        self.weighted: list[tuple[Array, list[tuple[Array, bool]]] | None] = [None] * self.heads

    def _bytes(self) -> int:
        """What the features of all frames would take."""
        some = [features(take(self.frames, slice(0, 256))) for features in self.features]
        size = sum(m.data.nbytes * 2 if scipy.sparse.issparse(m) else m.nbytes for m in some)
        return size * self.count // min(256, self.count)

    def _matrix(self, head: int, start: int, stop: int) -> Matrix:
        """[stop - start, D] features of these frames of the log."""
        if self.cache is not None:
            return self.cache[head][start:stop]
        return self.features[head](take(self.frames, slice(start, stop)))

    def _slices(self) -> Iterator[tuple[int, int, slice]]:
        """The log's frames in slices, and which training rows start in each."""
        for start in range(0, self.count, self.step):
            stop = min(start + self.step, self.count)
            lo, hi = np.searchsorted(self.frame, [start, stop])
            if lo < hi:
                yield start, stop, slice(int(lo), int(hi))

    def _factor(self, head: int, D: int, shares: Array | None = None) -> list[tuple[Array, bool]]:
        """Cholesky factors of every action's phi^T phi + ridge; with shares [b], of phi^T diag(shares) phi + ridge."""
        gram = np.zeros((self.actions, D, D))
        for start, stop, here in self._slices():
            phi = self._matrix(head, start, stop)
            for action in np.unique(self.action[here]):
                own = self.action[here] == action
                part = phi[self.frame[here][own] - start]
                product = part.T @ (part if shares is None else _scaled(part, shares[here][own]))
                gram[action] += product.toarray() if scipy.sparse.issparse(product) else product
        inner = np.arange(1, D)
        taken = self.taken if shares is None else np.bincount(self.action, weights=shares, minlength=self.actions)
        gram[:, inner, inner] += self.settings.ridge * np.where(self.seen, taken, 1)[:, None]
        gram[~self.seen, 0, 0] = 1  # an action without rows: weights 0
        try:
            return [scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True) for matrix in gram]
        except np.linalg.LinAlgError:
            raise UserError(
                f"features {self.settings.features} are too nearly dependent for a ridge of "
                f"{self.settings.ridge:g}; take a larger one or fewer features"
            ) from None

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        self.weights = []
        for head in range(self.heads):
            wanted, factors = targets[head].numpy()[self.training], self.factors[head]
            shares = None if weights is None else weights.shares(head, self.training)
            if shares is not None:
                wanted, factors = wanted * shares, self._weighted_factors(head, shares)
            self.weights.append(self._solve(head, wanted, factors))
        return {"largest_weight": [float(np.abs(w).max()) for w in self.weights]}

    def _weighted_factors(self, head: int, shares: Array) -> list[tuple[Array, bool]]:
        """Made anew where the shares [b] of the rows have changed, which costs as much as binding them did."""
        last = self.weighted[head]
        if last is None or not np.array_equal(last[0], shares):
            last = shares, self._factor(head, len(self.factors[head][0][0]), shares)
            self.weighted[head] = last
        return last[1]

    def _solve(self, head: int, targets: Array, factors: list[tuple[Array, bool]]) -> Array:
        """[D, A] the weights of one head for targets [b]."""
        A = self.actions
        moments = np.zeros((len(factors[0][0]), A))  # phi^T y of every action
        for start, stop, here in self._slices():
            phi = self._matrix(head, start, stop)
            place = (self.frame[here] - start) * A + self.action[here]
            spread = np.bincount(place, weights=targets[here], minlength=(stop - start) * A).reshape(-1, A)
            moments += phi.T @ spread
        weights = [scipy.linalg.cho_solve(factor, moments[:, action]) for action, factor in enumerate(factors)]
        return np.stack(weights, axis=1)

    # ---- values

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        if self.weights is None:
            return torch.zeros(self.heads, stop - start, self.actions, dtype=torch.float64)
        return self._stack([self._matrix(h, start, stop) @ w for h, w in enumerate(self.weights)])

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        if self.weights is None:
            return torch.zeros(len(self.seeds[heads]), rows(frames), self.actions, dtype=torch.float64)
        asked = zip(self.features[heads], self.weights[heads], strict=True)
        return self._stack([features(frames) @ weights for features, weights in asked])

    @staticmethod
    def _stack(values: list[Array]) -> torch.Tensor:
        return torch.from_numpy(values[0][None] if len(values) == 1 else np.stack(values))

    def log_support(self, start: int, stop: int) -> torch.Tensor | None:
        return seen_actions(self.seen, stop - start)

    def support(self, frames: Nest) -> torch.Tensor | None:
        return seen_actions(self.seen, rows(frames))

    # ---- checkpoint

    def checkpoint(self) -> dict[str, torch.Tensor]:
        if self.weights is None:
            raise RuntimeError("there is nothing to keep before the first fit")
        tensors = {"seen": torch.from_numpy(self.seen.copy())}
        for head, (features, weights) in enumerate(zip(self.features, self.weights, strict=True)):
            tensors[f"{head}/weights"] = torch.from_numpy(weights.copy())
            tensors |= {f"{head}/{name}": torch.from_numpy(array.copy()) for name, array in features.learnt().items()}
        return tensors

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        what = "checkpoint of a linear regressor"
        expected: dict[str, Expected] = {"seen": (torch.bool, (self.actions,))}
        for head, features in enumerate(self.features):
            expected[f"{head}/weights"] = (torch.float64, (None, self.actions))
            expected |= {f"{head}/{name}": kind for name, kind in features.expected().items()}
        arrays = checked(tensors, expected, what)
        for head, features in enumerate(self.features):
            learnt = {name: arrays[f"{head}/{name}"] for name in features.expected()}
            features.restore(learnt, what)
            if len(arrays[f"{head}/weights"]) != features.columns:
                raise UserError(
                    f"{what}: expected {features.columns} weights for each action, found "
                    f"{len(arrays[f'{head}/weights'])}"
                )
        self.weights = [arrays[f"{head}/weights"] for head in range(self.heads)]
        self.seen = arrays["seen"]


def _scaled(matrix: Matrix, by: Array) -> Matrix:
    """Each row times its number."""
    return scipy.sparse.diags_array(by) @ matrix if scipy.sparse.issparse(matrix) else matrix * by[:, None]
