"""Inputs whose frames stay on disk: read in slices to be valued, in windows of blocks drawn at random to be learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from fqi.frames import PIECE, all_on_disk
from fqi.nest import Array, Nest, take
from fqi.networks.alignment import aligned
from fqi.networks.standards import spaced
from fqi.qfunctions.inputs import BLOCK, GATHERED, Encoder, Inputs, Window
from fqi.qfunctions.reading import read_ahead
from fqi.transitions import Transitions

RUN = 1 << 18  # bytes of neighbouring rows that are read in one go: more would mix windows less, fewer read slower
PROCESSES = 4  # that the memory is shared out for, however many there are: what is drawn does not depend on them
BLOCKS = 64  # that a window holds at least, for neighbours are alike


class OnDisk(Inputs):
    """Frames of a log on disk, by number. A row's neighbours in the log are read with it, so a shuffle is one of blocks
    of neighbours, and of rows among the blocks that are in memory together."""

    resident = False

    def __init__(
        self, encoder: Encoder, observations: Nest, first: torch.Tensor, stack: int, readers: int, number: torch.Tensor
    ) -> None:
        self.encoder, self.observations, self.stack, self.readers = encoder, observations, stack, readers
        self.first = first  # [F] the first frame of each one's episode
        self.number = number  # [n] the frame of each row
        self.columns, self.piece = encoder.width, encoder.piece
        self._ascending = bool((number.diff() > 0).all())
        self._known_blocks: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def bound(cls, encoder: Encoder, rows: Transitions, training: torch.Tensor, processes: int) -> OnDisk:
        """The inputs of a log's frames; scales are taken from the rows [B] that are regressed on, by so many processes
        that share the memory."""
        log = rows.log
        first = torch.from_numpy(np.repeat(log.start_frames, log.lengths + 1))
        every = torch.arange(len(first))
        found = cls(encoder, log.observations, first, rows.stack, max(PROCESSES, processes), every)
        regressed = torch.from_numpy(rows.frame)[training]
        encoder.measure(found._shown_of(spaced(regressed, encoder.measured)))
        return found

    def __len__(self) -> int:
        return len(self.number)

    def at(self, frames: torch.Tensor) -> torch.Tensor:
        inputs = self._read(frames.cpu().numpy())
        return inputs.between(0, len(frames))[: len(frames)]

    def between(self, start: int, stop: int) -> torch.Tensor:
        end = start + aligned(stop - start)
        if self._together(start, end):
            first = int(self.number[start])
            frames = take(self.observations, slice(first, first + end - start))
            return self.encoder.of(frames, np.arange(end - start)[:, None]).between(0, end - start)
        padded = np.minimum(np.arange(start, start + aligned(stop - start)), len(self) - 1)
        return self._read(padded).between(0, len(padded))

    def _together(self, start: int, end: int) -> bool:
        """Whether these rows are neighbours on disk: ascending numbers that span no more than themselves."""
        if self.stack > 1 or end > len(self) or not self._ascending:
            return False
        return int(self.number[end - 1] - self.number[start]) == end - 1 - start

    def packed(self, frames: torch.Tensor) -> OnDisk:
        number = self.number[frames.cpu()]
        return OnDisk(self.encoder, self.observations, self.first, self.stack, self.readers, number)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.first, self.number

    def block(self, batch: int) -> int:
        return max(1, min(BLOCK, GATHERED // (batch * self.columns)))

    def epoch(self, batch: int, generators: Sequence[torch.Generator], batches: int, turn: int = 0) -> Iterator[Window]:
        """Windows of as many rows as the memory has room for, the same for whoever takes this turn; in which order
        their rows are regressed on is drawn by each head for itself."""
        device, drawn = generators[0].device, list[tuple[torch.Tensor, torch.Tensor]]()

        def jobs() -> Iterator[Callable[[], Inputs]]:
            for rows in self._drawn(batch, batches, turn):
                drawn.append((torch.from_numpy(rows), _shuffles(len(rows), generators)))
                yield partial(self._read, rows)

        for inputs in read_ahead(jobs(), device):
            rows, places = drawn.pop(0)
            yield Window(rows[places].to(device), inputs, places.to(device))
            del inputs  # before the next but one is read

    def _drawn(self, batch: int, batches: int, turn: int) -> Iterator[Array]:
        """The rows [n] of each window as they lie on disk; no more windows than so many batches need."""
        count = len(self)
        size = min(count, max(1, self._room() // batch) * batch)
        order = self._blocks_in_turn(torch.Generator().manual_seed(turn)).numpy()
        for begin in range(0, min(count - batch + 1, batches * batch), size):
            yield np.sort(order[begin : begin + size])

    def _room(self) -> int:
        """Rows of a window: a process's share of half of the memory, for one is read while another is learned from."""
        found = all_on_disk(self.observations)
        row = sum(frames.row_bytes for frames in found)
        return max(frames.memory for frames in found) // (2 * self.readers * max(1, row, self.encoder.row_bytes))

    def _blocks_in_turn(self, generator: torch.Generator) -> torch.Tensor:
        """[n] all rows, those of a block side by side and the blocks in an order drawn anew."""
        starts, lengths = self._blocks()
        order = torch.randperm(len(starts), generator=generator)
        moved = lengths[order]
        begin = torch.cumsum(moved, 0) - moved
        return torch.repeat_interleave(starts[order] - begin, moved) + torch.arange(len(self))

    def _blocks(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each block of rows begins, and how many they are."""
        if self._known_blocks is None:
            block = self.number // self._run()
            starts = torch.cat((torch.zeros(1, dtype=torch.int64), (block.diff() != 0).nonzero()[:, 0] + 1))
            self._known_blocks = starts, torch.diff(starts, append=torch.tensor([len(self)]))
        return self._known_blocks

    def _run(self) -> int:
        """Frames of a block: what lies together on disk, but so few that a window holds many blocks."""
        found = all_on_disk(self.observations)
        whole = max(frames.block if frames.packed else RUN // max(1, frames.row_bytes) for frames in found)
        return max(1, min(whole, self._room() // BLOCKS))

    def _read(self, rows: Array) -> Inputs:
        """Inputs in memory of these rows, in this order."""
        shown = self._shown(self.number[torch.from_numpy(rows)])
        if self.stack == 1:
            return self.encoder.of(take(self.observations, shown[:, 0]), np.arange(len(shown))[:, None])
        unique, place = np.unique(shown, return_inverse=True)
        return self.encoder.of(take(self.observations, unique), place.reshape(shown.shape))

    def _shown(self, frames: torch.Tensor) -> Array:
        """[n, S] which frames of the log are shown with these."""
        if self.stack == 1:
            return frames[:, None].numpy()
        back = torch.arange(self.stack - 1, -1, -1)
        return torch.maximum(frames[:, None] - back, self.first[frames][:, None]).numpy()

    def _shown_of(self, frames: torch.Tensor) -> Iterator[Nest]:
        """What is shown of these frames, a few megabytes at a time."""
        for some in torch.split(frames, max(1, PIECE // (4 * self.columns))):
            shown = self._shown(some)
            unique, place = np.unique(shown, return_inverse=True)
            place = place.reshape(shown.shape)
            yield take(take(self.observations, unique), place if self.stack > 1 else place[:, 0])


def _shuffles(count: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """[P, count] the numbers below count in an order that each generator draws."""
    return torch.stack([torch.randperm(count, generator=g, device=g.device) for g in generators]).cpu()
