"""Heads shared out among processes of one thread each, over the same memory. Two threads hurt; two processes do not."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from fqi.errors import UserError
from fqi.networks.alignment import ALIGN
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.heads import Kind, heads_of
from fqi.qfunctions.pairs import LogSearch
from fqi.qfunctions.rows import Rows
from fqi.qfunctions.state import State

WINDOW = 65536  # frames that the workers value at once
NUMBERS = 2**24  # values of a head at once, about


class Crew:
    """Trains every head of a state in place: here, or in one worker process for each share of the heads."""

    def __init__(self, kinds: Sequence[Kind], state: State, shares: list[list[slice]], apart: bool) -> None:
        self.kinds, self.state = tuple(kinds), state
        self.shares, self.apart = shares, apart
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []

    def bind(self, rows: Rows, actions: int, search: LogSearch | None = None) -> None:
        """Give every worker the rows, and what is searched; they are in shared memory where there are several."""
        self.search = search
        P, B, F = len(self.state.flat), len(rows.frame), len(rows.inputs)
        self.targets = torch.zeros(P, B, device=rows.frame.device)
        if not self.apart:
            self.here = Share(self.kinds, self.state, self.shares[0], rows, self.targets)
            return
        self.close()
        self.window = min(WINDOW, max(1, NUMBERS // actions))
        self.outputs = torch.zeros(P, min(F, self.window), actions)
        shared = (*rows.tensors(), self.targets, self.outputs, *(search.tensors() if search else ()))
        _refuse_lack_of_shared_memory(sum(t.nbytes for t in shared), len(self.shares))
        for tensor in shared:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        context = torch.multiprocessing.get_context("spawn")
        for heads in self.shares:
            pipe, other = context.Pipe()
            arguments = (other, self.kinds, self.state, heads, rows, self.targets, self.outputs, search)
            process = context.Process(target=_work, args=arguments, daemon=True)
            self.pipes.append(pipe)
            with _plain_start():
                process.start()
            self.processes.append(process)
            other.close()

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> list[int]:
        """Regress every head on its targets [P, B]; returns the gradient steps of each."""
        self.targets.copy_(targets)
        if not self.apart:
            return self.here.fit(weights)
        # As arrays through the pipes: weights are rare, and memory shared for them would lie idle in every other run.
        sent = None if weights is None else {k: v.numpy() for k, v in vars(weights).items() if v is not None}
        return self._all("fit", sent)

    def values(self, start: int, stop: int) -> torch.Tensor:
        """[P, stop - start, A] of these frames of the log."""
        if not self.apart:
            return self.here.values(start, stop)
        found = []
        for first in range(start, stop, self.window):
            last = min(first + self.window, stop)
            self._all("values", first, last)
            found.append(self.outputs[:, : last - first].clone())
        return torch.cat(found, 1) if len(found) > 1 else found[0]

    def together(self, *arguments: Any) -> None:
        """Do the search with these arguments: here, or each worker a part of it."""
        assert self.search is not None
        if not self.apart:
            self.search.work(0, 1, *arguments)
            return
        self._each([("search", part, len(self.pipes), *arguments) for part in range(len(self.pipes))])

    def _all(self, *command: Any) -> list[int]:
        return self._each([command] * len(self.pipes))

    def _each(self, commands: Sequence[Any]) -> list[int]:
        try:
            for pipe, command in zip(self.pipes, commands, strict=True):
                pipe.send(command)
            answers = [self._answer(pipe) for pipe in self.pipes]
        except (EOFError, OSError):
            raise UserError(
                "a training process ended unexpectedly, perhaps for lack of memory; go on with the run by --resume, "
                "or give fewer --workers"
            ) from None
        return [steps for answer in answers for steps in answer]

    def _answer(self, pipe: Connection) -> list[int]:
        answer: list[int] | str = pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"a training process failed: {answer}")
        return answer

    def close(self) -> None:
        """End the worker processes."""
        for pipe in self.pipes:
            pipe.close()
        patience = time.monotonic() + 5  # for all of them together
        for process in self.processes:
            process.join(timeout=max(0.0, patience - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self.pipes, self.processes = [], []


class Share:
    """The groups of heads that one process trains, one group after the other."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        state: State,
        groups: list[slice],
        rows: Rows,
        targets: torch.Tensor,
    ) -> None:
        if len(rows.training) < ALIGN:  # batches are then no whole cache lines, and stacked heads would round unlike
            groups = [slice(head, head + 1) for group in groups for head in range(group.start, group.stop)]
        self.groups = [(group, heads_of(kinds[group], state.part(group))) for group in groups]
        self.rows, self.targets = rows, targets
        packed = rows.packed()
        for _, heads in self.groups:
            heads.bind(rows, packed)

    def fit(self, weights: Weights | None = None) -> list[int]:
        steps = []
        for group, heads in self.groups:
            for run, own in _runs(weights, group):
                part = heads.part(slice(run.start - group.start, run.stop - group.start))
                steps += [part.fit(self.targets[run], own)] * (run.stop - run.start)
        return steps

    def values(self, start: int, stop: int) -> torch.Tensor:
        inputs, found = self.rows.inputs, []
        step = inputs.piece if self.targets.device.type == "cpu" else max(1, stop - start)
        for first in range(start, max(stop, start + 1), step):  # pieces without, so that images are gathered once
            part = inputs.between(first, min(first + step, stop))
            found.append(torch.cat([heads.values(part, inputs.piece) for _, heads in self.groups]))
        return torch.cat(found, 1)[:, : stop - start]


def _runs(weights: Weights | None, group: slice) -> list[tuple[slice, Weights | None]]:
    """A group of heads in runs that draw their rows alike, by weight or not."""
    if weights is None or weights.alike is None:
        return [(group, None if weights is None else weights.part(group))]
    alike = weights.alike[group].tolist()
    edges = [i for i in range(len(alike) + 1) if i in (0, len(alike)) or alike[i] != alike[i - 1]]
    runs = [slice(group.start + a, group.start + b) for a, b in pairwise(edges)]
    return [(run, None if alike[run.start - group.start] else replace(weights.part(run), alike=None)) for run in runs]


def _work(
    pipe: Connection,
    kinds: Sequence[Kind],
    state: State,
    groups: list[slice],
    rows: Rows,
    targets: torch.Tensor,
    outputs: torch.Tensor,
    search: LogSearch | None,
) -> None:
    """A worker process: does as it is told until the pipe is closed or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and closes the pipe
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    share = Share(kinds, state, groups, rows, targets)
    while True:
        try:
            command, *arguments = pipe.recv()
        except (EOFError, OSError):  # closed, or reset with an answer unread
            return
        try:
            answer: list[int] | str = []
            if command == "fit":
                (sent,) = arguments
                answer = share.fit(sent and Weights(**{k: torch.from_numpy(v) for k, v in sent.items()}))
            elif command == "search" and search is not None:
                search.work(*arguments)
            else:
                start, stop = arguments
                outputs[groups[0].start : groups[-1].stop, : stop - start] = share.values(start, stop)
        except Exception as error:  # told to the parent, which raises it
            answer = repr(error)
        try:
            pipe.send(answer)
        except OSError:  # nobody is left to hear it
            return


def _refuse_lack_of_shared_memory(needed: int, workers: int) -> None:
    """Writing into shared memory that is not there would kill the process without a word."""
    place = Path("/dev/shm")
    free = shutil.disk_usage(place).free if place.is_dir() else needed
    if needed > free:
        raise UserError(
            f"{workers} training processes need {needed / 2**20:,.0f} MiB of shared memory, but {place} has "
            f"{free / 2**20:,.0f} MiB left; give --workers 1, or more shared memory (docker: --shm-size)"
        )


@contextlib.contextmanager
def _plain_start() -> Iterator[None]:
    """Let a process begin deaf to Ctrl-C, which its parent hears, and without running the parent's main module again:
    it needs nothing of that, and a script without a guard around its main part would start itself once more."""
    main, hears = sys.modules["__main__"], threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if hears else None
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if hears:
            signal.signal(signal.SIGINT, before)
