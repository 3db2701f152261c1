"""Reading ahead: while a device computes on one window, a thread reads the next, and brings it to a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch

from fqi.nest import Array


class Tensors(Protocol):
    """What is read: the memory behind it is known."""

    def tensors(self) -> tuple[torch.Tensor, ...]: ...


Read = TypeVar("Read", bound=Tensors)


def read_ahead(jobs: Iterable[Callable[[], Read]], device: torch.device) -> Iterator[Read]:
    """What each job reads, in order. A job runs while whoever takes the results works on the one before; jobs are
    themselves asked for by the caller's thread, so that what they draw is drawn in order."""
    cuda = device.type == "cuda"
    stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
    with ThreadPoolExecutor(1, "fqi-reads-ahead") as pool:
        coming: Future[Read] | None = None
        for job in jobs:
            following = pool.submit(_aside, job, stream)
            if coming is not None:
                yield _arrived(coming.result(), cuda)
            coming = following
        if coming is not None:
            yield _arrived(coming.result(), cuda)


def _aside(job: Callable[[], Read], stream: torch.cuda.Stream | None) -> Read:
    """The job on a stream of its own; its copies have arrived when it returns."""
    if stream is None:
        return job()
    with torch.cuda.stream(stream):
        found = job()
    stream.synchronize()
    return found


def _arrived(found: Read, cuda: bool) -> Read:
    """Memory of the other stream is not given to others before the stream that computes has done with it."""
    if cuda:
        for tensor in found.tensors():
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return found


def onto(array: Array, device: torch.device) -> torch.Tensor:
    """The array as a tensor there: the same memory on a CPU; to a GPU by pinned memory, which it fetches itself."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
