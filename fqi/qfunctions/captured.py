"""The gradient step of all heads as one recorded graph: what a GPU is asked for by a single call.

Everything that changes from step to step lies on the device: which rows a step takes, at which learning rates, and how
many steps were made. A round then copies nothing to the device but its rates, and waits for nothing. Of a log that is
not on the device, the inputs of a block of steps are laid down where the graph looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch

from fqi.networks.graphs import WARM, Graph
from fqi.qfunctions.inputs import Window

if TYPE_CHECKING:
    from fqi.qfunctions.heads import Heads


class Captured:
    """Steps of these heads on the rows that they are bound to, of so many rows each."""

    def __init__(self, heads: Heads, size: int, weighted: bool, graph: Graph) -> None:
        state, block = heads.state, heads.inputs.block(size)
        P, T = len(state.flat), len(heads.actions)
        self.heads, self.graph, self.size = heads, graph, size
        # The work runs a few times before it is recorded, each time on the rows of another step.
        self.order = torch.zeros(max(block, WARM + 1), P, size, dtype=torch.int64, device=heads.device)
        self.rates = torch.zeros(len(self.order), P, device=heads.device)
        self.step = torch.zeros(1, dtype=torch.int64, device=heads.device)
        self.targets = torch.zeros(P, T, heads.samples, device=heads.device)
        self.slope = torch.zeros(P, T, device=heads.device) if weighted else None
        self.inputs: torch.Tensor | None = None  # [steps, P * b, D] where the log is not on the device
        if not heads.inputs.resident:
            like = heads.inputs.at(torch.zeros(1, dtype=torch.int64))
            self.inputs = like.new_zeros(len(self.order), P * size, like.shape[1])
        self.alike = len({(own.lr, own.schedule) for own in heads.each}) == 1
        graph.record(self._work, [state.flat, state.first, state.second, state.count, self.step])

    def _work(self) -> None:
        heads, (P, size) = self.heads, self.order.shape[1:]
        index = self.order.index_select(0, self.step)[0]  # [P, b]
        flat = index.reshape(-1)
        found = heads.inputs.at(flat) if self.inputs is None else self.inputs.index_select(0, self.step)[0]
        actions = heads.actions.index_select(0, flat).view(P, size, 1)
        wanted = self.targets.gather(1, index.unsqueeze(2).expand(P, size, heads.samples))
        factor = None if self.slope is None else self.slope.gather(1, index).unsqueeze(2)
        heads.slopes(found.view(P, size, -1), actions, wanted, factor)
        heads.adam.step_by(self.rates.index_select(0, self.step)[0], heads.clip, self.alike)
        self.step.add_(1)

    def run(
        self, orders: Iterable[Window], targets: torch.Tensor, slope: torch.Tensor | None, rates: torch.Tensor
    ) -> Iterator[int]:
        """The steps of a round: rows [P, n * b] a block, targets [P, T, N], rates [U, P]; how many are done."""
        self.targets.copy_(targets)
        if self.slope is not None and slope is not None:
            self.slope.copy_(slope)
        done = 0
        for block in orders:
            count = block.rows.shape[1] // self.size
            self.order[:count].copy_(self._by_step(block.rows, count))
            if self.inputs is not None:
                place = self._by_step(block.place, count)
                self.inputs[:count].copy_(block.inputs.at(place.reshape(-1)).view(count, -1, self.inputs.shape[2]))
            self.rates[:count].copy_(rates[done : done + count])
            self.step.zero_()
            for _ in range(count):
                self.graph.replay()
                done += 1
                yield done

    def _by_step(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """[steps, P, b] of rows [P, steps * b]."""
        return rows.view(len(rows), count, self.size).transpose(0, 1)
