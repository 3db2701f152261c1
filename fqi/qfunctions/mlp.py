"""Multilayer perceptrons, one output per action: a population of heads as one tensor program, or as a few processes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.encoding import encode, width
from fqi.errors import UserError
from fqi.nest import Nest
from fqi.networks.alignment import ALIGN, aligned
from fqi.networks.standards import standards
from fqi.qfunctions.contract import QFunction, Weights, discrete_actions, expect_tensors
from fqi.qfunctions.heads import Heads, Rows, State, norms
from fqi.qfunctions.settings import MlpSettings
from fqi.qfunctions.workers import Crew
from fqi.transitions import Transitions

STACK = 20_000  # parameters of a head up to which heads train faster stacked than one after the other, on a CPU


class Mlp(QFunction):
    """P heads. On a CPU they are shared out among worker processes of one thread each; the bits are the same."""

    def __init__(
        self,
        settings: MlpSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        workers: int = 1,
    ) -> None:
        self.heads, self.actions = len(seeds), discrete_actions(action_space, "mlp")
        self.space, self.device = observation_space, device
        inputs = width(observation_space)
        self.centre, self.spread = torch.zeros(inputs, device=device), torch.ones(inputs, device=device)
        sizes = (inputs, *[settings.width] * settings.depth, self.actions)
        self.state = State.new(sizes, seeds, device)
        shared = workers > 1 and device.type == "cpu" and self.heads > 1
        if shared:
            for tensor in self.state.tensors().values():
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        self.all = Heads(settings, sizes, self.state)
        self.all.initialise()
        self.crew = Crew(settings, sizes, self.state, self._parts(settings, workers if shared else 1), shared)

    def _parts(self, settings: MlpSettings, workers: int) -> list[list[slice]]:
        """For each worker the groups of heads that it trains stacked.

        Heads are not stacked where one's bits would depend on its place in the stack, or that each stops by itself.
        """
        stack = self.device.type == "cuda" or (self.state.flat.shape[1] <= STACK and settings.batch % ALIGN == 0)
        stack = stack and not settings.patience
        edges = np.linspace(0, self.heads, min(workers, self.heads) + 1).round().astype(int).tolist()
        shares = [slice(a, b) for a, b in pairwise(edges)]
        return [[s] if stack else [slice(h, h + 1) for h in range(s.start, s.stop)] for s in shares]

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        if self.all.settings.conservative and rows.log.action_mask is not None:
            raise UserError(
                "conservative presses all actions down that the log does not take, also those that its masks forbid, "
                "of which it has no say; give conservative 0 for this log"
            )
        raw = torch.from_numpy(encode(rows.log.observations, self.space)).to(self.device)  # [F, D]
        centre, spread = standards(raw[torch.as_tensor(rows.frame[training.numpy()])], self.space)
        self.centre, self.spread = centre[0], spread[0]

        def tensor(index: Any) -> torch.Tensor:
            return torch.as_tensor(index).to(self.device, torch.int64)

        features = raw.new_zeros(aligned(len(raw)), raw.shape[1])
        features[: len(raw)] = (raw - self.centre) / self.spread
        self.rows = Rows(
            features=features,
            frame=tensor(rows.frame),
            action=tensor(rows.action),
            training=tensor(training.nonzero()[:, 0]),
            held=tensor((~training).nonzero()[:, 0]),
        )
        self.crew.bind(self.rows, self.actions)

    def fit(self, targets: torch.Tensor, weights: Weights | None = None) -> dict[str, list[int] | list[float]]:
        updates = self.crew.fit(targets, weights)
        weight = norms(self.state.flat).tolist()
        return {"updates": updates, "weight_norm": weight, "gradient_norm": self.state.slope.tolist()}

    def log_values(self, start: int, stop: int) -> torch.Tensor:
        return self.crew.values(start, stop)

    def values(self, frames: Nest, heads: slice = slice(None)) -> torch.Tensor:
        features = torch.from_numpy(encode(frames, self.space)).to(self.device)
        return self.all.part(heads).values((features - self.centre) / self.spread)

    def checkpoint(self) -> dict[str, torch.Tensor]:
        state = self.state
        return {
            "weights": state.flat,
            "target_mean": state.mean,
            "target_scale": state.scale,
            "input_centre": self.centre,
            "input_spread": self.spread,
        }

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
