"""Q(frame, action) of continuous actions by multilayer perceptrons, whose best action is searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.encoding import width
from fqi.errors import UserError
from fqi.maximise import Cem, Score, bounded_box, to_unit
from fqi.nest import Nest
from fqi.networks.alignment import aligned
from fqi.networks.perceptrons import Dense
from fqi.qfunctions.contract import ContinuousQ
from fqi.qfunctions.heads import Kind
from fqi.qfunctions.inputs import ColumnEncoder, Columns
from fqi.qfunctions.networks import Networks
from fqi.qfunctions.pairs import LogSearch, Pairs
from fqi.qfunctions.rows import Rows
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import Transitions
from fqi.values import Value

LOGGED = 8192  # rows whose own actions are valued at once
_BEGIN = "search_begin"


class ContinuousMlp(Networks, ContinuousQ):
    """P heads. On a CPU they, and the frames that are searched, are shared out among processes."""

    def __init__(
        self,
        settings: MlpSettings,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        seeds: Sequence[int],
        device: torch.device,
        cem: Cem,
        workers: int = 1,
    ) -> None:
        self.heads, self.box, self.cem = len(seeds), bounded_box(action_space), cem
        if settings.conservative:
            raise UserError("conservative sums over all actions, and a box of them has no end; give conservative 0")
        encoder, self.K = ColumnEncoder(observation_space, device), width(self.box)
        self.dense = Dense((encoder.width + self.K, *[settings.width] * settings.depth, 1))
        self._build([Kind(self.dense, settings)] * len(seeds), encoder, seeds, workers)
        self.stacked = device.type == "cuda"
        self.pairs = Pairs(self.dense, self.state, self.stacked)
        self.searched = self.begun = False  # whether `best` is newer than `begin`, and whether there is a beginning

    def bind(self, rows: Transitions, training: torch.Tensor) -> None:
        device, D = self.device, self.encoder.width
        frames = self.encoder.bound(rows, training)
        self.frames = rows.log.steps + rows.log.episodes
        self.features = frames.between(0, self.frames)[: self.frames]  # [F, D]
        self.frame = torch.as_tensor(rows.frame).to(device)
        self.actions = torch.from_numpy(to_unit(rows.action, self.box)).to(device)  # [B, K]
        own = self.features.new_zeros(aligned(len(rows)), D + self.K)  # every row's frame and action
        own[: len(rows), :D] = self.features[self.frame]
        own[: len(rows), D:] = self.actions
        every = torch.arange(len(rows), device=device)
        table = Rows(
            inputs=Columns(own),
            frame=every,
            action=torch.zeros_like(every),
            training=training.nonzero()[:, 0].to(device),
            held=(~training).nonzero()[:, 0].to(device),
        )
        wanted = np.zeros(self.frames, np.bool_)
        wanted[rows.next_frame[rows.discount > 0]] = True
        self.ahead = torch.from_numpy(np.flatnonzero(wanted)).to(device)  # [N] frames that rows bootstrap from
        N, P = len(self.ahead), self.heads
        begin, best = (self.features.new_zeros(P, N, self.K) for _ in range(2))
        values = self.features.new_zeros(P, N)
        ahead = self.features[self.ahead]
        self.search = LogSearch(self.dense, self.state, self.cem, ahead, begin, best, values, self.stacked)
        self.searched = self.begun = False
        self.crew.bind(table, 1, self.search)

    def like(self) -> torch.Tensor:
        return self.state.flat.new_empty(0)

    def logged(self) -> torch.Tensor:
        found = []
        for start in range(0, len(self.frame), LOGGED):
            rows = slice(start, start + LOGGED)
            score = self.pairs.score(self.features[self.frame[rows]], slice(None), 1)
            found.append(score(self.actions[None, None, rows, None])[0, :, :, 0])
        return torch.cat(found, 1)

    def log_search(self, value: Value, number: int) -> torch.Tensor:
        found = self.features.new_zeros(self.heads, self.frames)
        if number == 0:  # every value is still 0
            return found
        if self.searched:
            self.search.begin.copy_(self.search.best)
            self.begun = True
        self.crew.together(value, number, self.begun and self.cem.warm)
        self.searched = True
        found[:, self.ahead] = self.search.values
        return found

    def score(self, frames: Nest, heads: slice = slice(None)) -> Score:
        return self.pairs.score(self.encoder(frames), heads, 1)

    def resume_state(self) -> dict[str, torch.Tensor]:
        # Going on begins with the last search once more, so what that one began with is kept.
        return super().resume_state() | {_BEGIN: self._kept(self.begun and self.cem.warm)}

    def restore_resume_state(self, tensors: dict[str, torch.Tensor]) -> None:
        begin = tensors.get(_BEGIN)
        self.searched, self.begun = False, begin is not None and len(begin) > 0
        super().restore_resume_state(tensors)
        if not bool((self.search.begin.abs() <= 1).all()):
            raise UserError(f"resume state: {_BEGIN} must lie in [-1, 1]")

    def _kept(self, begun: bool) -> torch.Tensor:
        return self.search.begin if begun else self.search.begin[:0]
