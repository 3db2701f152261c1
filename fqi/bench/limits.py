"""What the machine's own matrix product could do at best."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch

SIDE = 768  # of the square product that shows what the arithmetic can do


def square_product(dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Callable[[], object], float]:
    """One product of large squares as a call, and its floating-point operations."""
    left, right = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out), 2.0 * SIDE**3


def step_operations(sizes: tuple[int, ...], batch: int) -> float:
    """Floating-point operations of the products in one gradient step: forward, by the weights, and by the inputs of all
    layers but the first."""
    pairs = list(pairwise(sizes))
    return sum(2.0 * batch * i * o * (2 if layer == 0 else 3) for layer, (i, o) in enumerate(pairs))


def forward_operations(sizes: tuple[int, ...], rows: int) -> float:
    """Floating-point operations of the products in a forward pass."""
    return sum(2.0 * rows * i * o for i, o in pairwise(sizes))


def step_products(sizes: tuple[int, ...], batch: int) -> Callable[[], None]:
    """The bare products of one gradient step, of the very shapes that it has, and nothing else."""
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for layer, (i, o) in enumerate(pairwise(sizes)):
        inputs, slope, weight = torch.randn(batch, i), torch.randn(batch, o), torch.randn(o, i)
        calls.append((inputs, weight.t(), torch.empty(batch, o)))
        calls.append((slope.t(), inputs, torch.empty(o, i)))
        if layer:
            calls.append((slope, weight, torch.empty(batch, i)))

    def products() -> None:
        for left, right, out in calls:
            torch.mm(left, right, out=out)

    return products
