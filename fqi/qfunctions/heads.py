"""The regression of a population of heads on a round's targets.

Every tensor has a leading axis P of heads, and a head's numbers do not depend on which others train beside it: each has
its own initialisation, its own shuffles and its own generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from fqi.networks.adam import Adam
from fqi.networks.alignment import ALIGN
from fqi.networks.contract import Architecture
from fqi.networks.graphs import CudaGraph, Graph
from fqi.networks.precision import arithmetic
from fqi.qfunctions import quantiles
from fqi.qfunctions.best import Best
from fqi.qfunctions.captured import Captured
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.drawn import Drawn
from fqi.qfunctions.inputs import Inputs, Window
from fqi.qfunctions.rows import Ahead, Rows
from fqi.qfunctions.settings import Regression
from fqi.qfunctions.state import State

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Inputs [P, b, D], actions [P, b, 1], targets [P, b, N], and what slopes are multiplied by [P, b, 1]; None: 1. N is 1,
or the number of quantiles."""


@dataclass(frozen=True)
class Kind:
    """What a head is: its architecture, and how it is fitted."""

    architecture: Architecture
    settings: Regression


class Heads:
    """Some heads of one architecture, at work on their state in place.

    Their settings may differ in what `option(sweep=True)` marks; the rest is that of the first.
    """

    def __init__(self, settings: Regression | Sequence[Regression], architecture: Architecture, state: State) -> None:
        self.each = [settings] * len(state.flat) if isinstance(settings, Regression) else list(settings)  # [P]
        self.settings, self.architecture, self.state = self.each[0], architecture, state
        self.mean, self.scale = state.mean[:, None, None], state.scale[:, None, None]  # [P, 1, 1], the same memory
        self.device, self.samples = state.flat.device, self.settings.samples
        flat, first, second = (t[:, : architecture.parameters] for t in (state.flat, state.first, state.second))
        self.network = architecture.over(flat)
        self.adam = Adam(flat, self.network.gradient, first, second, state.count)
        self.generators = [torch.Generator(self.device) for _ in state.draws]
        recorded = self.device.type == "cuda" and architecture.recordable
        self.graph: Callable[[], Graph] | None = CudaGraph if recorded else None
        self.steps: dict[bool, Captured] = {}  # recorded, by whether slopes are weighted
        self.parts: dict[tuple[int, int], Heads] = {}
        self.packed: tuple[Inputs, torch.Tensor] | None = None  # of the rows that it is bound to
        self.clip = state.flat.new_tensor([own.clip for own in self.each])[:, None]  # [P, 1]
        self.limit = self._column([math.inf if own.loss == "squared" else own.huber for own in self.each])
        self.conservative = self._column([own.conservative for own in self.each])
        self.limited = any(own.loss == "huber" for own in self.each)
        self.penalised = any(own.conservative for own in self.each)

    def _column(self, numbers: list[float]) -> torch.Tensor:
        """[P, 1, 1] a number of each head."""
        return self.state.flat.new_tensor(numbers)[:, None, None]

    def initialise(self) -> None:
        """A new network for every head; its output layer is zero, so that Q starts at 0."""
        self._load_draws()
        self.network.initialise(self.generators)
        state = self.state
        for tensor in (state.first, state.second, state.count, state.mean):
            tensor.zero_()
        state.scale.fill_(1)
        self._save_draws()

    def _load_draws(self) -> None:
        for generator, state in zip(self.generators, self.state.draws, strict=True):
            generator.set_state(state.clone())

    def _save_draws(self) -> None:
        for generator, state in zip(self.generators, self.state.draws, strict=True):
            state.copy_(generator.get_state())

    def part(self, heads: slice) -> Heads:
        """Some of these heads, over the same memory and bound to the same rows."""
        start, stop, _ = heads.indices(len(self.each))
        if (start, stop) == (0, len(self.each)):
            return self
        if (start, stop) not in self.parts:
            part = Heads(self.each[heads], self.architecture, self.state.part(heads))
            if self.packed is not None:
                part.bind(self.rows, self.packed)
            self.parts[start, stop] = part
        return self.parts[start, stop]

    # ---- values

    def values(self, inputs: torch.Tensor, piece: int) -> torch.Tensor:
        """[P, B, A] values of inputs [B, D], on a CPU so many rows at once."""
        together = self.device.type != "cpu" or len(inputs) <= piece
        return self._values((inputs,) if together else torch.split(inputs, piece))

    def values_at(self, inputs: Inputs, frames: torch.Tensor) -> torch.Tensor:
        """[P, n, A] values of these frames [n]."""
        pieces = torch.split(frames, inputs.piece) if self.device.type == "cpu" else (frames,)
        return self._values(inputs.at(piece) for piece in pieces)

    def _values(self, pieces: Iterable[torch.Tensor]) -> torch.Tensor:
        with arithmetic(self.device, self.settings.precision):
            outputs = [self._means(self._outputs(piece)) for piece in pieces]
        raw = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        return (raw * self.scale).add_(self.mean)

    def _outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """[P, B, O] what the networks say of inputs [B, D]."""
        return self.network.outputs(inputs.expand(len(self.state.flat), *inputs.shape))

    def _means(self, outputs: torch.Tensor) -> torch.Tensor:
        """[P, B, A] the mean of each action's quantiles, of outputs [P, B, A * N]."""
        return outputs if self.samples == 1 else self._by_action(outputs).mean(3)

    def _by_action(self, outputs: torch.Tensor) -> torch.Tensor:
        """[P, B, A, N] the quantiles of each action, of outputs [P, B, A * N]."""
        return outputs.view(*outputs.shape[:2], outputs.shape[2] // self.samples, self.samples)

    # ---- regression

    def bind(self, rows: Rows, packed: tuple[Inputs, torch.Tensor]) -> None:
        """Take the rows to regress on."""
        self.rows, self.packed = rows, packed
        self.steps.clear()
        self.parts.clear()
        self.inputs, self.actions = packed

    def fit(self, all_targets: torch.Tensor, weights: Weights | None = None) -> int:
        """One round's regression on targets [P, B]; returns the gradient steps made."""
        with arithmetic(self.device, self.settings.precision):
            return self._fit(all_targets, weights)

    def _fit(self, all_targets: torch.Tensor, weights: Weights | None) -> int:
        settings, state = self.settings, self.state
        ahead = self.rows.ahead
        around = None if ahead is None or self.samples == 1 else self._around(ahead)
        if settings.start == "cold":
            self.initialise()
        self._load_draws()
        targets = all_targets[:, self.rows.training]
        self._standardise(targets)
        normal = targets.sub_(state.mean[:, None]).div_(state.scale[:, None])  # a large copy, changed in place
        normal = normal.unsqueeze(2)  # [P, T, 1]
        if around is not None:
            normal = normal + around.div_(state.scale[:, None, None])
        done, best = 0, Best(self, all_targets) if settings.patience else None
        check = -(-settings.updates // settings.checks)
        drawn = None if weights is None else Drawn.of(weights, self.rows.training)
        steps = self._stepped(normal, drawn) if self.graph is None else self._captured(normal, drawn)
        for done in steps:
            if best and (done % check == 0 or done == settings.updates) and best.look():
                break
        if best:
            best.take_back()
        state.slope.copy_(norms(self.network.gradient))
        self._save_draws()
        return done

    def _around(self, ahead: Ahead) -> torch.Tensor:
        """[P, T, N] how the return of each training row lies around its target, as the frozen Q has it: as the
        quantiles of the next frame's best action lie around their mean."""
        rows, found = self.rows, []
        for part in torch.split(rows.training, rows.inputs.piece):
            frames = ahead.frame[part]
            outputs = self._by_action(self._outputs(rows.inputs.at(frames)))
            found.append(quantiles.spread(outputs, ahead.allowed[frames]) * ahead.discount[part, None])
        return torch.cat(found, 1).mul_(self.state.scale[:, None, None])

    def _standardise(self, targets: torch.Tensor) -> None:
        """Move to the new targets' mean and scale: Q follows the mean and keeps its shape."""
        state = self.state
        mean, scale = targets.mean(1), targets.std(1, correction=0)
        scale = torch.maximum(scale, 0.01 * mean.abs()).clamp_min(1e-6)  # equal targets have no scale of their own
        self.network.rescale(state.scale / scale)
        state.mean.copy_(mean)
        state.scale.copy_(scale)

    def _stepped(self, targets: torch.Tensor, drawn: Drawn | None) -> Iterator[int]:
        """The steps of a round, one by one: how many are done."""
        for done, (inputs, actions, wanted, factor) in enumerate(self._batches(targets, drawn)):
            self._step(inputs, actions, wanted, self._rates(done), factor)
            yield done + 1

    def _captured(self, targets: torch.Tensor, drawn: Drawn | None) -> Iterator[int]:
        """The same by the recorded graph, which is made once for the rows that are bound."""
        assert self.graph is not None
        slope = None if drawn is None else drawn.slope
        size, weighted = self._size(targets.shape[1]), slope is not None
        if weighted not in self.steps:
            self.steps[weighted] = Captured(self, size, weighted, self.graph())
        rates = torch.tensor([self._rates(done) for done in range(self.settings.updates)]).to(self.device)
        return self.steps[weighted].run(self._orders(targets.shape[1], drawn), targets, slope, rates)

    def _size(self, rows: int) -> int:
        """Rows of a batch: whole cache lines where there are as many."""
        return min(self.settings.batch, max(rows - rows % ALIGN, min(rows, ALIGN)))

    def _orders(self, rows: int, drawn: Drawn | None) -> Iterator[Window]:
        """The training rows [P, n * b] of the round's batches, a block of batches at a time: shuffle, slice; again when
        the rows run out. Rows that are drawn by weight come anew for each block instead."""
        size = self._size(rows)
        left, block = self.settings.updates, self.inputs.block(size)
        for window in self._windows(size, block, left, drawn):
            for start in range(0, window.rows.shape[1] - size + 1, block * size):
                count = min(block, (window.rows.shape[1] - start) // size, left)
                part = slice(start, start + count * size)
                yield Window(window.rows[:, part], window.inputs, window.place[:, part])
                left -= count
                if left == 0:
                    return

    def _batches(self, targets: torch.Tensor, drawn: Drawn | None = None) -> Iterator[Batch]:
        """The round's batches [P, b, …]: a block of them is gathered, and then sliced."""
        P, rows, _ = targets.shape
        size, offset = self._size(rows), torch.arange(P, device=self.device)[:, None] * rows
        for window in self._orders(rows, drawn):
            part = window.rows  # [P, n * b]
            count = part.shape[1] // size
            shape = (P, count, size)
            inputs = window.inputs.at(window.place.reshape(-1)).view(*shape, -1)
            if self.architecture.varies:
                inputs = self._varied(inputs)
            actions = self.actions[part.reshape(-1)].view(*shape, 1)
            wanted = targets.flatten(0, 1)[(part + offset).reshape(-1)].view(*shape, -1)
            factor = None
            if drawn is not None and drawn.slope is not None:
                factor = drawn.slope.reshape(-1)[(part + offset).reshape(-1)].view(*shape, 1)
            for i in range(count):
                yield inputs[:, i], actions[:, i], wanted[:, i], None if factor is None else factor[:, i]

    def _windows(self, size: int, block: int, updates: int, drawn: Drawn | None) -> Iterator[Window]:
        """Rows in the order in which they are regressed on, epoch after epoch or draw after draw, without end."""
        turn = 0 if self.inputs.resident else int(self.state.count[0])  # every head has made as many steps
        while True:
            if drawn is None:
                for window in self.inputs.epoch(size, self.generators, updates, turn):
                    yield window
                    updates -= window.rows.shape[1] // size
                turn += len(self.inputs) // size
                continue
            rows = drawn.rows(min(block, updates) * size, self.generators)
            updates -= rows.shape[1] // size
            yield Window(rows, self.inputs, rows)

    def _varied(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [P, count, b, D] as the architecture shows them to a regression, drawn for each head by itself."""
        varied = [self.architecture.varied(x.flatten(0, 1), g) for x, g in zip(inputs, self.generators, strict=True)]
        return torch.stack(varied).view_as(inputs)

    def _rates(self, done: int) -> list[float]:
        """[P] the learning rate of each head after so many steps of the round."""
        progress = done / self.settings.updates
        falls = {"cosine": 0.5 + 0.5 * math.cos(math.pi * progress), "linear": 1 - progress, "constant": 1.0}
        return [own.lr * falls[own.schedule] for own in self.each]

    def _step(
        self,
        inputs: torch.Tensor,
        actions: torch.Tensor,
        wanted: torch.Tensor,
        rates: Sequence[float],
        factor: torch.Tensor | None = None,
    ) -> None:
        """One gradient step of every head: forward, the loss's slope, backward, clip, Adam."""
        self.slopes(inputs, actions, wanted, factor)
        self.adam.step(rates, self.clip)

    def slopes(
        self, inputs: torch.Tensor, actions: torch.Tensor, wanted: torch.Tensor, factor: torch.Tensor | None
    ) -> None:
        """The gradient of every head's loss, left in its network."""
        activations = self.network.forward(inputs)  # [P, B, ·] each
        outputs = activations[-1]
        chosen = actions
        if self.samples > 1:  # the quantiles of the action, side by side
            chosen = actions * self.samples + torch.arange(self.samples, device=self.device)  # [P, B, N]
        slope = self._slope(outputs.gather(2, chosen), wanted)  # [P, B, N]
        if factor is not None:
            slope.mul_(factor)
        slope.div_(inputs.shape[1])
        slopes = torch.zeros_like(outputs).scatter_(2, chosen, slope)
        if self.penalised:
            pressed = self._conservative(self._means(outputs), actions, factor)  # [P, B, A]
            if self.samples > 1:
                pressed = (pressed / self.samples).repeat_interleave(self.samples, 2)
            slopes.add_(pressed, alpha=1 / inputs.shape[1])
        self.network.backward(activations, slopes)

    def _slope(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """[P, B, N] the slope of the loss with regard to what was found [P, B, N]."""
        if self.samples > 1:
            return quantiles.slope(found, wanted, self.limit.unsqueeze(3))
        slope = found.sub_(wanted)
        return slope.clamp_(-self.limit, self.limit) if self.limited else slope

    def _conservative(self, outputs: torch.Tensor, actions: torch.Tensor, factor: torch.Tensor | None) -> torch.Tensor:
        """[P, B, A] the slope of the conservative penalty. Outputs are standardised: values are `scale` times as large,
        the squared error in units of value is the square of that."""
        scale = self.state.scale[:, None, None]
        slopes = (outputs * scale).softmax(2)
        slopes.scatter_add_(2, actions, slopes.new_full((), -1.0).expand_as(actions))
        slopes.mul_(self.conservative / scale)
        return slopes if factor is None else slopes.mul_(factor)

    def held_out_loss(self, targets: torch.Tensor) -> torch.Tensor:
        """[P] mean squared error on the held-out rows of targets [P, B], in units of value."""
        rows = self.rows
        values = self.values_at(rows.inputs, rows.frame[rows.held])  # [P, B - T, A]
        chosen = values[:, torch.arange(len(rows.held), device=self.device), rows.action[rows.held]]
        return (chosen - targets[:, rows.held]).square().mean(1)


def norms(rows: torch.Tensor) -> torch.Tensor:
    """[P] the length of each row; in float64, so that how many rows lie beside it does not show."""
    found: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return found.float()


def heads_of(kinds: Sequence[Kind], state: State) -> Heads:
    """Heads of one architecture."""
    return Heads([kind.settings for kind in kinds], kinds[0].architecture, state)


def alike(kinds: Sequence[Kind]) -> list[slice]:
    """Runs of heads of one architecture."""
    edges = [i for i in range(1, len(kinds)) if kinds[i].architecture != kinds[i - 1].architecture]
    return [slice(a, b) for a, b in pairwise([0, *edges, len(kinds)])]
