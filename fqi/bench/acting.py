"""Collection and evaluation against the bare environment with one forward pass a step; environments by themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from fqi.behaviour import Acted, Component, Mixture
from fqi.bench.figure import Figure
from fqi.bench.problem import ACTIONS, INPUTS, bound_mlp, random_rows
from fqi.bench.textbook import network
from fqi.bench.timing import interleaved
from fqi.environments.make import make_slots
from fqi.nest import Array, Nest
from fqi.policies import Greedy
from fqi.qfunctions.mlp import Mlp
from fqi.rollout import episodes, play
from fqi.slots import Slots

CARTPOLE: dict[str, Any] = {"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500}
COUNT = 256  # environments side by side
WIDTH = 64
TICKS = 50  # steps of each before others have their turn


class _Counted:
    """An actor that counts how often it was asked."""

    def __init__(self, actor: Mixture) -> None:
        self.actor, self.names, self.ticks = actor, actor.names, 0

    def act(self, frames: Nest, fresh: Array, draws: np.random.Generator, legal: Array | None = None) -> Acted:
        self.ticks += 1
        return self.actor.act(frames, fresh, draws, legal)


def _same(q: Mlp) -> torch.nn.Sequential:
    """The network of the first head as torch's own layers: bare and collected episodes are then equally long."""
    net, scales = network((INPUTS, WIDTH, WIDTH, ACTIONS)), q.encoder.tensors()
    torch.nn.utils.vector_to_parameters(q.state.flat[0], net.parameters())
    first = net[0]
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        first.weight.div_(scales["input_spread"])
        first.bias.sub_(first.weight @ scales["input_centre"])
    return net


def _bare(slots: Slots, net: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], int]:
    """Some ticks of an environment with one batched forward pass each, and resets of what ended: nothing is kept."""
    every = np.arange(slots.count)
    frames = np.asarray(slots.reset(every, every))

    def ticks() -> int:
        nonlocal frames
        for tick in range(TICKS):
            actions = net(torch.from_numpy(frames)).argmax(1).numpy()
            frames, _, ended, _, _ = slots.step(every, actions)  # type: ignore[assignment]
            if ended.any():
                again = every[ended]
                frames[again] = np.asarray(slots.reset(again, again + tick))
        return TICKS * slots.count

    return ticks


def acting(seconds: float) -> list[Figure]:
    """A greedy network of 2x64 in many environments: collected, judged, and bare."""
    q = bound_mlp(random_rows(2_000), 1, width=WIDTH, updates=50)
    q.fit(torch.randn(1, 2_000, generator=torch.Generator().manual_seed(0)))
    bare, judged, gathered = (make_slots(CARTPOLE, COUNT) for _ in range(3))

    def actor() -> _Counted:
        return _Counted(Mixture([Component("greedy", Greedy(q))], bare.action_space))

    collecting, judging = actor(), actor()
    blocks = episodes(gathered, collecting, 0, 500)

    def collect() -> int:
        before = collecting.ticks
        while collecting.ticks < before + TICKS:
            next(blocks)
        return (collecting.ticks - before) * COUNT

    def evaluate() -> int:
        before = judging.ticks
        play(judged, judging, np.arange(COUNT), 500, 0.9)
        return (judging.ticks - before) * COUNT

    programs = {"bare": _bare(bare, _same(q)), "collect": collect, "evaluate": evaluate}
    took = interleaved(programs, seconds)
    against = "steps of the bare environment with one forward pass each"
    what = f"CartPole in {COUNT} environments, greedy 2x64, "
    return [
        Figure(name, what + done, took["bare"] / took[name], against, 1 / took[name], "steps/s", 1 / 1.5)
        for name, done in (("collect", "collected"), ("evaluate", "judged"))
    ]


def environments(seconds: float) -> list[Figure]:
    """Environments of ours with simple dynamics, 1,024 at once, against as many sines a step."""
    numbers, found = np.linspace(0, 1, 1024), []
    for id in ("MountainCar-v0", "Pendulum-v1"):
        slots = make_slots({"id": id, "kwargs": {}, "max_episode_steps": 200}, len(numbers))
        every = np.arange(slots.count)
        slots.reset(every, every)
        actions = np.stack([np.asarray(slots.action_space.sample()) for _ in every]) if "Pend" in id else every % 2
        took = interleaved({"own": partial(_step, slots, every, actions), "bare": partial(np.sin, numbers)}, seconds)
        found.append(
            Figure(
                f"environment-{id}", f"{id}, 1,024 at once", took["bare"] / took["own"], "one sine of 1,024 numbers",
                slots.count / took["own"], "steps/s",
            )
        )  # fmt: skip
    return found


def _step(slots: Slots, every: Array, actions: Array) -> None:
    slots.step(every, actions)
