"""Q-functions that are populations of networks: trained as one tensor program, or shared out among a few processes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from fqi.errors import UserError
from fqi.frames import on_disk
from fqi.nest import Nest
from fqi.networks.alignment import ALIGN
from fqi.qfunctions.contract import Fitted, QFunction, Weights, expect_tensors
from fqi.qfunctions.disk import OnDisk
from fqi.qfunctions.heads import Kind, alike, heads_of, norms
from fqi.qfunctions.inputs import Encoder
from fqi.qfunctions.rows import Ahead, Rows
from fqi.qfunctions.state import State
from fqi.qfunctions.workers import Crew
from fqi.transitions import Transitions

STACK = 20_000  # parameters of a head up to which heads train faster stacked than one after the other, on a CPU


class Networks(Fitted):
    """P heads of one architecture. On a CPU they are shared out among worker processes of one thread each; the bits are
    the same."""

    def _build(self, kinds: Sequence[Kind], encoder: Encoder, seeds: Sequence[int], workers: int) -> None:
        """Make the heads, of a kind each: the last thing that a constructor does."""
        device = encoder.device
        self.kinds, self.encoder, self.device = tuple(kinds), encoder, device
        self.state = State.new([kind.architecture for kind in kinds], seeds, device)
        shared = workers > 1 and device.type == "cpu" and self.heads > 1
        if shared:
            for tensor in self.state.tensors().values():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        self.runs = [(run, heads_of(kinds[run], self.state.part(run))) for run in alike(kinds)]
        for _, heads in self.runs:
            heads.initialise()
        self.crew = Crew(kinds, self.state, self._parts(workers if shared else 1), shared)

    def _parts(self, workers: int) -> list[list[slice]]:
        """For each worker the groups of heads that it trains stacked.

        Heads are not stacked where one's bits would depend on its place in the stack, or that each stops by itself.
        """
        settings, architecture = self.kinds[0].settings, self.kinds[0].architecture
        small = self.state.flat.shape[1] <= STACK and settings.batch % ALIGN == 0 and architecture.stackable
        stack = (self.device.type == "cuda" or small) and not settings.patience
        edges = np.linspace(0, self.heads, min(workers, self.heads) + 1).round().astype(int).tolist()
        shares = [slice(a, b) for a, b in pairwise(edges)]
        return [self._stacks(s) if stack else [slice(h, h + 1) for h in range(s.start, s.stop)] for s in shares]

    def _stacks(self, share: slice) -> list[slice]:
        """A worker's heads by their architecture."""
        return [slice(share.start + run.start, share.start + run.stop) for run in alike(self.kinds[share])]

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        updates = self.crew.fit(targets, weights)
        weight = norms(self.state.flat).tolist()
        return {"updates": updates, "weight_norm": weight, "gradient_norm": self.state.slope.tolist()}

    def checkpoint(self) -> dict[str, torch.Tensor]:
        state = self.state
        own = {"weights": state.flat, "target_mean": state.mean, "target_scale": state.scale}
        return own | self.encoder.tensors()

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        own = self.checkpoint()
        expect_tensors(tensors, own)
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(f"checkpoint: {name} must be finite")
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def resume_state(self) -> dict[str, torch.Tensor]:
        state = self.state
        return {"first": state.first, "second": state.second, "count": state.count, "draws": state.draws}

    def restore_resume_state(self, tensors: dict[str, torch.Tensor]) -> None:
        own = self.resume_state()
        expect_tensors(tensors, own)
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def close(self) -> None:
        self.crew.close()


class NetworkQ(Networks, QFunction):
    """Networks with one output per action."""

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        if any(kind.settings.conservative for kind in self.kinds) and rows.log.action_mask is not None:
            raise UserError(
                "conservative presses all actions down that the log does not take, also those that its masks forbid, "
                "of which it has no say; give conservative 0 for this log"
            )

        def tensor(index: Any) -> torch.Tensor:
            return torch.as_tensor(index).to(self.device, torch.int64)

        lies_on_disk = on_disk(rows.log.observations)
        self.rows = Rows(
            inputs=OnDisk.bound(self.encoder, rows, training, len(self.crew.shares))
            if lies_on_disk
            else self.encoder.bound(rows, training),
            frame=tensor(rows.frame),
            action=tensor(rows.action),
            training=tensor(training.nonzero()[:, 0]),
            held=tensor((~training).nonzero()[:, 0]),
            ahead=self._ahead(rows) if any(kind.settings.samples > 1 for kind in self.kinds) else None,
        )
        self.crew.bind(self.rows, self.actions)

    def _ahead(self, rows: Transitions) -> Ahead:
        shape = rows.log.steps + rows.log.episodes, self.actions
        mask = rows.log.action_mask
        return Ahead(
            frame=torch.as_tensor(rows.next_frame).to(self.device, torch.int64),
            discount=torch.as_tensor(rows.discount).to(self.device, torch.float32),
            allowed=torch.as_tensor(np.ones(shape, np.bool_) if mask is None else mask.copy()).to(self.device),
        )

    def restrict(self, allowed: torch.Tensor) -> None:
        if self.rows.ahead is not None:
            self.rows.ahead.allowed.logical_and_(allowed)

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        return self.crew.values(start, stop)

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        inputs, (first, last, _) = self.encoder(frames), heads.indices(self.heads)
        found = []
        for run, own in self.runs:
            asked = slice(max(first, run.start) - run.start, min(last, run.stop) - run.start)
            if asked.start < asked.stop:
                found.append(own.part(asked).values(inputs, self.encoder.piece))
        return found[0] if len(found) == 1 else torch.cat(found)
