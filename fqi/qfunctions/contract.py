"""What every regressor is: settings in, `bind` to a log's rows, `fit` to targets, then values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import torch

from fqi.errors import UserError
from fqi.nest import Nest
from fqi.transitions import Transitions

if TYPE_CHECKING:
    from fqi.maximise import Cem, Score
    from fqi.values import Value


@dataclass(frozen=True)
class Weights:
    """How much each row counts in a regression: a row's share of the loss is the product of both."""

    draw: torch.Tensor  # [P, B] above 0: how often a row is drawn, in proportion
    slope: torch.Tensor | None = None  # [P, B] what its part of the loss is multiplied by; None: 1
    alike: torch.Tensor | None = None  # [P] bool: heads for which all rows count alike; None: none of them

    def part(self, heads: slice) -> Weights:
        """Those of some heads."""
        slope, alike = (None if t is None else t[heads] for t in (self.slope, self.alike))
        return Weights(self.draw[heads], slope, alike)

    def of(self, head: int) -> Weights | None:
        """Those of one head; None where its rows count all alike."""
        return None if self.alike is not None and bool(self.alike[head]) else self.part(slice(head, head + 1))

    def shares(self, head: int, rows: Any) -> Any:
        """[b] an array of the products at these rows, 1 on average, or None where all count alike: for regressors that
        draw nothing."""
        if self.of(head) is None:
            return None
        product = self.draw[head] if self.slope is None else self.draw[head] * self.slope[head]
        found = product.double().cpu().numpy()[rows]
        return found / found.mean()


class Fitted(ABC):
    """P heads: independently drawn Q-functions of one architecture, trained together. What is asked of them depends on
    the actions: see `QFunction` and `ContinuousQ`."""

    heads: int  # P
    stack: int = 1  # S: frames that it is shown at once, [B, S, ...]; 1: [B, ...]

    @abstractmethod
    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        """Take the table once: encode its frames, keep what is needed to fit and to value them. `training` [B] bool
        says which rows are regressed on; the others are held out."""

    @abstractmethod
    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        """Regress Q(frame, action) of the training rows on targets [P, B], all rows alike or by their weights; returns
        what there is to say of the fit, by name a number for each head."""

    @abstractmethod
    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All that `values` needs: what a round's file holds."""

    @abstractmethod
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take a checkpoint back; tensors of a wrong name, shape or range are refused."""

    def resume_state(self) -> dict[str, torch.Tensor]:
        """What the next round needs beside the checkpoint: optimiser and generator state."""
        return {}

    def restore_resume_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take `resume_state` back."""
        expect_tensors(tensors, {})

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of worker processes, if there are any."""


class QFunction(Fitted):
    """Q-functions of Discrete actions: a frame is asked for the values of all of them."""

    actions: int  # A

    @abstractmethod
    def log_values(self, start: int, stop: int) -> torch.Tensor:
        """[P, stop - start, A] values of these frames of the bound log."""

    @abstractmethod
    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        """[P, B, A] values of any frames, by some of the heads or all."""

    def restrict(self, allowed: torch.Tensor) -> None:
        """Know no other actions than these [F, A] of the bound log's frames, where a fit itself asks for the best."""

    def log_support(self, start: int, stop: int) -> torch.Tensor | None:
        """[stop - start, A] bool: actions of which this function knows anything, or None where it speaks of all."""
        return None

    def support(self, frames: Nest) -> torch.Tensor | None:
        """[B, A] bool: as `log_support`, for any frames."""
        return None

    def log_chances(self, start: int, stop: int) -> torch.Tensor | None:
        """[stop - start, A] how likely the behaviour was to take each action; None where no model of it was made."""
        return None

    def chances(self, frames: Nest) -> torch.Tensor | None:
        """[B, A] as `log_chances`, for any frames."""
        return None


class ContinuousQ(Fitted):
    """Q-functions of a frame and an action out of a box, which is kept as [-1, 1] in each dimension."""

    box: gym.spaces.Box
    cem: Cem  # how the best action is searched

    @abstractmethod
    def like(self) -> torch.Tensor:
        """An empty tensor on the device and in the precision of the values."""

    @abstractmethod
    def logged(self) -> torch.Tensor:
        """[P, B] Q(frame, action) of every row of the bound log."""

    @abstractmethod
    def log_search(self, value: Value, number: int) -> torch.Tensor:
        """[P, F] V of every frame of the bound log that a row bootstraps from, elsewhere 0; `number` is the round."""

    @abstractmethod
    def score(self, frames: Nest, heads: slice = slice(None)) -> Score:
        """What some heads, taken for one member, make of actions in these frames."""


def enumerating(q: Fitted) -> QFunction:
    """The function, if it values all actions."""
    if not isinstance(q, QFunction):
        raise UserError("this looks at the values of all actions, and continuous ones have no end")
    return q


def discrete_actions(space: gym.Space[Any], name: str) -> int:
    """A, the number of actions; a space that is not Discrete is refused."""
    if not isinstance(space, gym.spaces.Discrete):
        several = isinstance(space, gym.spaces.MultiDiscrete | gym.spaces.MultiBinary)
        hint = "; fqi data convert LOG FLAT.h5 --flatten-actions makes an index of their combinations" * several
        raise UserError(
            f"the {name} regressor has one output per action and needs Discrete actions, found {space}{hint}"
        )
    return int(space.n)


def expect_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Refuse tensors whose names, shapes or types are not the expected ones."""
    if set(found) != set(expected):
        raise UserError(f"checkpoint: expected the tensors {sorted(expected)}, found {sorted(found)}")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise UserError(
                f"checkpoint: {name} must be {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"found {found[name].dtype} of shape {tuple(found[name].shape)}"
            )
