"""One fused Adam for a population, head by head."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8  # decay of the moments, and what keeps the step finite


class Adam:
    """Moves the rows of `flat` [P, n] against their gradients; moments [P, n] and steps [P] are the caller's."""

    def __init__(
        self,
        flat: torch.Tensor,
        gradient: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        count: torch.Tensor,
    ) -> None:
        self.flat, self.gradient, self.moments, self.count = flat, gradient, (first, second), count
        # Head by head: in one stacked tensor an element's rounding would depend on how many heads lie before it.
        parameters, gradients, firsts, seconds = (list(t.unbind()) for t in (flat, gradient, first, second))
        self.tensors: tuple[list[torch.Tensor], ...] = (
            parameters,
            gradients,
            firsts,
            seconds,
            [],
            list(count.unbind()),
        )

    def step(self, rates: float | Sequence[float], clip: float | torch.Tensor) -> None:
        """One step of every head at this learning rate, or each at its own; a gradient of a norm above `clip`, of all
        or of each [P, 1], is shortened to it."""
        factor = self._shorter(clip)
        if factor.is_cuda or bool((factor < 1).any()):  # on a CPU it costs less to look than to multiply by 1
            self.gradient.mul_(factor)
        self.count.add_(1)
        if isinstance(rates, float):
            return self._move(rates, slice(None))
        alike: dict[float, list[int]] = {}
        for head, rate in enumerate(rates):
            alike.setdefault(rate, []).append(head)
        for rate, heads in alike.items():
            self._move(rate, slice(None) if len(alike) == 1 else heads)
        return None

    def step_by(self, rates: torch.Tensor, clip: torch.Tensor, alike: bool) -> None:
        """The same at rates [P] that lie on the device, `alike` where they are all the same: nothing is looked at, so
        that it can be recorded."""
        self.gradient.mul_(self._shorter(clip))
        self.count.add_(1)
        if alike:
            return self._move(rates[0], slice(None))
        first, second, count = self.moments[0], self.moments[1], self.count[:, None]
        first.lerp_(self.gradient, 1 - FIRST)
        second.mul_(SECOND).addcmul_(self.gradient, self.gradient, value=1 - SECOND)
        root = (second / (1 - SECOND**count)).sqrt_().add_(EPSILON)
        self.flat.sub_((first / root).mul_(rates[:, None] / (1 - FIRST**count)))
        return None

    def _shorter(self, clip: float | torch.Tensor) -> torch.Tensor:
        """[P, 1] what shortens gradients of a norm above `clip` to it."""
        norm = torch.linalg.vector_norm(self.gradient, dim=1, keepdim=True)
        shorter: torch.Tensor = (clip / norm).clamp_(max=1.0)
        return shorter

    def _move(self, rate: float | torch.Tensor, heads: slice | list[int]) -> None:
        """Move some heads."""
        own = (
            self.tensors
            if isinstance(heads, slice)
            else tuple([t[h] for h in heads] if t else [] for t in self.tensors)
        )
        torch._fused_adam_(
            *own,
            lr=rate, beta1=FIRST, beta2=SECOND, weight_decay=0.0, eps=EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip
