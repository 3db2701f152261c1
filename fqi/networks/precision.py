"""How a GPU multiplies float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """How a GPU multiplies float32 meanwhile: as tf32 where that is asked for, else exactly, convolutions too."""
    if device.type != "cuda":
        yield
        return
    parts: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for part, own in zip(parts, before, strict=True):
            part.fp32_precision = own
