"""The loop that a textbook shows, to measure against: replay gather, target network, autograd, torch's own Adam."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import torch

ROWS = 50_000  # of the replay table


def network(sizes: tuple[int, ...]) -> torch.nn.Sequential:
    """Linear layers, rectified in between."""
    layers: list[torch.nn.Module] = []
    for i, o in pairwise(sizes):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def textbook_step(sizes: tuple[int, ...], batch: int, device: str = "cpu") -> Callable[[], None]:
    """One update of one network from a replay table, as a call."""
    generator = torch.Generator().manual_seed(0)
    net = network(sizes).to(device)
    frozen = copy.deepcopy(net)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    frames, following = (torch.randn(ROWS, sizes[0], generator=generator).to(device) for _ in range(2))
    actions = torch.randint(sizes[-1], (ROWS, 1), generator=generator).to(device)
    rewards = torch.randn(ROWS, generator=generator).to(device)
    goes_on = (torch.rand(ROWS, generator=generator) < 0.99).float().to(device)
    draws = torch.Generator(device).manual_seed(0)

    def step() -> None:
        with torch.enable_grad():
            rows = torch.randint(ROWS, (batch,), generator=draws, device=device)
            with torch.no_grad():
                wanted = rewards[rows] + 0.99 * goes_on[rows] * frozen(following[rows]).max(1).values
            found = net(frames[rows]).gather(1, actions[rows])[:, 0]
            loss = torch.nn.functional.mse_loss(found, wanted)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return step
