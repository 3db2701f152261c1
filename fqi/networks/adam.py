"""One fused Adam for a population, head by head."""

from __future__ import annotations

import torch


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
        self.gradient, self.count = gradient, count
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

    def step(self, rate: float, clip: float) -> None:
        """One step of every head at this learning rate; a gradient of a norm above `clip` is shortened to it."""
        norm = torch.linalg.vector_norm(self.gradient, dim=1, keepdim=True)  # [P, 1]
        factor = (clip / norm).clamp_(max=1.0)
        if factor.is_cuda or bool((factor < 1).any()):  # on a CPU it costs less to look than to multiply by 1
            self.gradient.mul_(factor)
        self.count.add_(1)
        torch._fused_adam_(
            *self.tensors,
            lr=rate, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
