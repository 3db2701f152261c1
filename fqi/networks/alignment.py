"""Whole cache lines: matrix products round alike only on operands that are aligned alike."""

from __future__ import annotations

ALIGN = 16  # floats in a cache line


def aligned(count: int) -> int:
    """The count, rounded up to whole cache lines."""
    return -(-count // ALIGN) * ALIGN
