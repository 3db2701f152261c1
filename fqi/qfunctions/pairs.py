"""Perceptrons of a frame and an action: many actions are valued in each frame, and the best of them is searched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fqi.maximise import Cem, Score, search, shifts
from fqi.networks.perceptrons import Dense
from fqi.qfunctions.state import State
from fqi.values import Value, worth_of_best

TRIES = 4096  # actions valued at once by one head: hidden layers then fit a processor's cache
TRIES_STACKED = 1 << 22  # by all heads at once, which bounds the memory that hidden layers take


class Pairs:
    """Heads whose inputs are the D columns of a frame and, behind them, the K columns of an action.

    They are asked one after the other, which keeps hidden layers in a processor's cache and a head's numbers its own;
    or all at once, `stacked`, as a GPU likes it.
    """

    def __init__(self, architecture: Dense, state: State, stacked: bool) -> None:
        self.state, self.stacked = state, stacked
        self.network = architecture.over(state.flat)

    def score(self, features: torch.Tensor, heads: slice, members: int) -> Score:
        """What these heads, so many members of equally many heads, make of actions in frames [B, D]."""
        every = range(len(self.state.flat))[heads]
        P, B, D = len(every), *features.shape
        weight, bias = (tensor[heads] for tensor in self.network.layers[0])  # [P, W, D + K], [P, 1, W]
        # What the frame adds to the first layer is the same for all actions tried in it.
        known = torch.baddbmm(bias, features.expand(P, B, D), weight[..., :D].transpose(1, 2))  # [P, B, W]
        of_action = weight[..., D:].transpose(1, 2)  # [P, K, W]
        size = P if self.stacked else 1
        groups = [slice(p, p + size) for p in range(0, P, size)]

        def score(actions: torch.Tensor) -> torch.Tensor:
            S, K = actions.shape[-2:]
            each = actions.expand(members, P // members, B, S, K).flatten(0, 1)  # [P, B, S, K]
            found = []
            for group in groups:
                tried = each[group].reshape(size, B * S, K)
                hidden = torch.bmm(tried, of_action[group]).view(size, B, S, -1).add_(known[group].unsqueeze(2))
                own = slice(every[group.start], every[group.stop - 1] + 1)
                found.append(self._outputs(hidden.view(size, B * S, -1).relu_(), own).view(size, B, S))
            return torch.cat(found).view(members, P // members, B, S)

        return score

    def _outputs(self, hidden: torch.Tensor, heads: slice) -> torch.Tensor:
        """[P, B] the values, from the first hidden layer [P, B, W]."""
        for weight, bias in self.network.layers[1:-1]:
            hidden = torch.baddbmm(bias[heads], hidden, weight[heads].transpose(1, 2)).relu_()
        weight, bias = (tensor[heads] for tensor in self.network.layers[-1])  # [P, 1, W], [P, 1, 1]
        found = torch.bmm(hidden, weight.transpose(1, 2)).add_(bias)[..., 0]
        return found * self.state.scale[heads, None] + self.state.mean[heads, None]


@dataclass(frozen=True)
class LogSearch:
    """The search in all frames of a log that rows bootstrap from, in memory that several processes may share."""

    architecture: Dense
    state: State
    cem: Cem
    features: torch.Tensor  # [N, D] of those frames
    begin: torch.Tensor  # [P, N, K] where the search begins; of M·C rows the first ones are used
    best: torch.Tensor  # [P, N, K] what it finds
    values: torch.Tensor  # [P, N] what that is worth
    stacked: bool  # all heads and members at once

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All memory behind it but the state of the heads."""
        return self.features, self.begin, self.best, self.values

    def work(self, part: int, parts: int, value: Value, number: int, begun: bool) -> None:
        """Do every `parts`-th piece of the work, the first of them being `part`."""
        pairs, P = Pairs(self.architecture, self.state, self.stacked), len(self.state.flat)
        H = P // value.members
        for piece, (members, block, rows) in enumerate(self._pieces(value.members)):
            if piece % parts != part:
                continue
            own, seeds = value.of_members(members), value.seeds[members]
            heads = slice(members.start * H, members.stop * H)
            score = pairs.score(self.features[rows], heads, own.members)
            count, K = rows.stop - rows.start, self.begin.shape[2]
            drawn = [shifts(self.cem, seed, number, block, count, K) for seed in seeds]
            shift = torch.stack(drawn, 1).to(self.features)  # [iterations, M, B, K]
            C = own.choosers(H)
            places = slice(members.start * C, members.stop * C)
            begin = self.begin[places, rows].view(-1, C, count, K) if begun else None
            best = search(score, own.aim(number), self.cem, shift, begin)  # [M, C, B, K]
            self.best[places, rows] = best.flatten(0, 1)
            self.values[heads, rows] = worth_of_best(best, score, own, number)

    def _pieces(self, members: int) -> Iterator[tuple[slice, int, slice]]:
        """Members and blocks of rows that are searched at once, whoever does it: unless stacked, member by member."""
        if self.stacked:
            together, size = [slice(0, members)], TRIES_STACKED // (self.cem.samples * len(self.state.flat))
        else:
            together, size = [slice(m, m + 1) for m in range(members)], TRIES // self.cem.samples
        count, size = len(self.features), max(1, size)
        for own in together:
            for block, start in enumerate(range(0, count, size)):
                yield own, block, slice(start, min(start + size, count))
