"""Work that is recorded once and replayed: a CUDA graph, or for tests a stand-in that does the same on a CPU.

What is recorded must read all that changes from tensors that stay where they are: a Python number is frozen at its
value, and nothing may wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WARM = 2  # times that work runs before it is recorded: libraries prepare themselves in the first ones
_WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")


class Graph(Protocol):
    """Recorded work."""

    def record(self, work: Callable[[], None], changes: Sequence[torch.Tensor]) -> None:
        """Take the work down. It changes these tensors, which are afterwards as they were."""

    def replay(self) -> None:
        """Do it once more."""


class CudaGraph:
    """The work's kernels, launched by one call."""

    def record(self, work: Callable[[], None], changes: Sequence[torch.Tensor]) -> None:
        kept = [tensor.clone() for tensor in changes]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            work()
        for tensor, before in zip(changes, kept, strict=True):
            tensor.copy_(before)

    def replay(self) -> None:
        self.graph.replay()


class Replayed:
    """The same on any device, call by call: every result lands in the memory that it had when it was recorded."""

    def record(self, work: Callable[[], None], changes: Sequence[torch.Tensor]) -> None:
        kept = [tensor.clone() for tensor in changes]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        for _ in range(WARM):
            work()
        with _Recorder(self.calls):
            work()
        for tensor, before in zip(changes, kept, strict=True):
            tensor.copy_(before)

    def replay(self) -> None:
        for call, args, kwargs, results in self.calls:
            for new, old in zip(_tensors(call(*args, **kwargs)), _tensors(results), strict=True):
                if new.data_ptr() != old.data_ptr():
                    old.copy_(new)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every call that reaches a tensor, and refuses those that would wait for a device."""

    def __init__(self, calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = calls

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket.__name__.rstrip("_") in _WAITS or func.overloadpacket.__name__ in _WAITS:
            raise RuntimeError(f"recorded work must not wait for the device, and {func} does")
        results = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, results))
        return results


def _tensors(results: Any) -> list[torch.Tensor]:
    """The tensors among what a call returned."""
    if isinstance(results, torch.Tensor):
        return [results]
    return [t for t in results if isinstance(t, torch.Tensor)] if isinstance(results, list | tuple) else []
