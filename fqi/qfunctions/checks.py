"""What regressors refuse, and in which words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from fqi.errors import UserError
from fqi.nest import Array

Expected = tuple[torch.dtype, tuple[int | None, ...]]  # a tensor's dtype and shape; None where any length will do


def on_cpu(device: torch.device, regressor: str) -> None:
    """These regressors are not made of tensor programs: asking for another device would have no effect."""
    if device.type != "cpu":
        raise UserError(f"the {regressor} regressor computes on the CPU only, found the device {device}; choose cpu")


def checked(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, Expected], what: str) -> dict[str, Array]:
    """The tensors as arrays, if names, dtypes and shapes are these and every float is finite."""
    if set(tensors) != set(expected):
        raise UserError(f"{what}: expected the tensors {sorted(expected)}, found {sorted(tensors)}")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        fits = tensor.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if tensor.dtype != dtype or not fits:
            wanted = f"{dtype} [{', '.join('any' if n is None else str(n) for n in shape)}]"
            raise UserError(f"{what}: {name} must be {wanted}, found {tensor.dtype} {list(tensor.shape)}")
        if dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{what}: {name} must be finite, found NaN or infinity")
    return {name: np.asarray(tensors[name].detach().cpu().numpy()) for name in expected}


def within(array: Array, low: int, high: int, name: str, what: str) -> None:
    """Every index of the array lies in [low, high)."""
    if array.size and (array.min() < low or array.max() >= high):
        found = array.min() if array.min() < low else array.max()
        raise UserError(f"{what}: {name} must hold indices from {low} to {high - 1}, found {found}")


def training_rows(training: torch.Tensor, rows: int) -> Array:
    """[b] the rows that are regressed on."""
    index = np.flatnonzero(training.cpu().numpy())
    if len(training) != rows:
        raise ValueError(f"training must say of {rows} rows which are regressed on, found {len(training)}")
    if not len(index):
        raise UserError("no row is left to regress on: hold out fewer, or take a longer log")
    return index


def seen_actions(seen: Array, count: int) -> torch.Tensor | None:
    """[count, A] the actions of which there were training rows, or None where there were rows of all."""
    return None if seen.all() else torch.from_numpy(seen).expand(count, -1)
