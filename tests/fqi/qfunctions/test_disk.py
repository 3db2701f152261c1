"""Frames on disk give the inputs that they give in memory, every row once an epoch, within the memory allowed."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.datasets.load import load_log, save_log
from fqi.errors import UserError
from fqi.frames import on_disk
from fqi.log import Log
from fqi.networks.graphs import Replayed
from fqi.qfunctions.disk import OnDisk
from fqi.qfunctions.inputs import ColumnEncoder, Encoder, ImageEncoder
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.parts import PartEncoder
from fqi.qfunctions.settings import MlpSettings
from fqi.run import Run
from fqi.training import configure, resume, train
from fqi.transitions import Transitions, transitions
from tests.fqi.training_kit import SMALL, config_of, files, walks

CPU = torch.device("cpu")
MEMORY = 1200  # bytes: less than any of these logs


def pictures(lengths: tuple[int, ...] = (30, 7, 23)) -> Log:
    """Noise of 6 x 5 bytes, 63 frames, of which the brighter ones pay."""
    steps = sum(lengths)
    last = np.zeros(steps, np.bool_)
    last[np.cumsum(lengths) - 1] = True
    frames = np.random.default_rng(0).integers(0, 256, (steps + len(lengths), 6, 5), np.uint8)
    log = Log(
        observations=frames,
        actions=np.arange(steps) % 2,
        rewards=np.zeros(steps),
        terminations=last,
        truncations=np.zeros(steps, np.bool_),
        lengths=np.array(lengths),
        observation_space=gym.spaces.Box(0, 255, (6, 5), np.uint8),
        action_space=gym.spaces.Discrete(2),
    )
    return Log(**{**vars(log), "rewards": frames[log.frame_of_step].mean((1, 2)) / 255})


def mixed() -> Log:
    """Pictures beside a vector and a category."""
    log = pictures()
    frames = log.steps + log.episodes
    drawn = np.random.default_rng(1)
    parts = {"eye": log.observations, "feel": drawn.normal(size=(frames, 2)).astype(np.float32)}
    parts["kind"] = drawn.integers(0, 3, frames)
    space = gym.spaces.Dict([
        ("eye", log.observation_space),
        ("feel", gym.spaces.Box(-9, 9, (2,))),
        ("kind", gym.spaces.Discrete(3)),
    ])  # fmt: skip
    return Log(**{**vars(log), "observations": parts, "observation_space": space})


def both(log: Log, path: Path, memory: int = MEMORY, stack: int = 1) -> tuple[Transitions, Transitions]:
    """The rows of the log in memory, and of the log on disk."""
    save_log(log, path / "log.h5")
    lazy = load_log(path / "log.h5", memory=memory)
    assert on_disk(lazy.observations)
    return transitions(log, 0.9, stack=stack), transitions(lazy, 0.9, stack=stack)


def encoder_of(log: Log, stack: int) -> Encoder:
    if isinstance(log.observation_space, gym.spaces.Dict):
        return PartEncoder(log.observation_space, CPU, images=True)
    low, high = log.observation_space.low, log.observation_space.high  # type: ignore[attr-defined]
    if stack > 1:
        low, high = np.stack([low] * stack), np.stack([high] * stack)
    space = gym.spaces.Box(low, high, dtype=log.observation_space.dtype)  # type: ignore[arg-type]
    return ImageEncoder(space, CPU, centred=True) if space.dtype == np.uint8 else ColumnEncoder(space, CPU)


@pytest.mark.parametrize(("make", "stack"), [(walks, 1), (walks, 3), (pictures, 1), (pictures, 3), (mixed, 1)])
def test_the_inputs_are_those_in_memory(make, stack: int, tmp_path: Path) -> None:
    log = make()
    here, there = both(log, tmp_path, stack=stack)
    training = torch.from_numpy(np.arange(len(here)) % 5 != 0)
    mine, others = encoder_of(log, stack), encoder_of(log, stack)
    expected = mine.bound(here, training)
    found = OnDisk.bound(others, there, training, processes=1)
    for name, tensor in mine.tensors().items():
        torch.testing.assert_close(others.tensors()[name], tensor)
    some = torch.tensor([5, 40, 41, 3, 3])
    torch.testing.assert_close(found.at(some), expected.at(some))
    torch.testing.assert_close(found.between(17, 49)[:32], expected.between(17, 49)[:32])
    end = log.steps + log.episodes
    torch.testing.assert_close(found.between(end - 5, end)[:5], expected.between(end - 5, end)[:5])
    rows = torch.from_numpy(here.frame)[training]
    torch.testing.assert_close(
        found.packed(rows).at(torch.tensor([9, 2])), expected.packed(rows).at(torch.tensor([9, 2]))
    )


def test_an_epoch_is_every_row_once_and_the_order_in_a_window_is_each_heads_own_affair(tmp_path: Path) -> None:
    log = pictures((60, 14, 46))
    _, there = both(log, tmp_path, memory=8 * 30 * 8)  # two windows of 8 rows for each of four processes
    encoder = encoder_of(log, 1)
    every = torch.ones(len(there), dtype=torch.bool)
    packed = OnDisk.bound(encoder, there, every, processes=1).packed(torch.from_numpy(there.frame))
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    windows = list(packed.epoch(4, generators, 100))
    assert [window.rows.shape for window in windows] == [(2, 8)] * 15
    for window in windows:
        assert len(window.inputs) == window.rows.shape[1]
        assert torch.equal(window.rows[0].sort().values, window.rows[1].sort().values)
        expected = packed.at(window.rows.reshape(-1))
        assert torch.equal(window.inputs.at(window.place.reshape(-1)), expected)
    rows = torch.cat([window.rows for window in windows], 1)
    assert torch.equal(rows.sort(1).values, torch.arange(120).expand(2, -1))
    assert not torch.equal(rows[0], rows[1])
    alone = [window.rows[0] for window in packed.epoch(4, [torch.Generator().manual_seed(2)], 100)]
    assert torch.equal(torch.cat(alone), rows[1])
    later = next(iter(packed.epoch(4, [torch.Generator().manual_seed(2)], 4, turn=30))).rows
    assert not torch.equal(later.sort().values, rows[1:, :8].sort().values)


def test_no_more_windows_are_read_than_batches_are_needed(tmp_path: Path) -> None:
    _, there = both(pictures((60, 14, 46)), tmp_path, memory=8 * 30 * 8)
    every = torch.ones(len(there), dtype=torch.bool)
    packed = OnDisk.bound(encoder_of(there.log, 1), there, every, processes=1).packed(torch.from_numpy(there.frame))
    few = list(packed.epoch(4, [torch.Generator().manual_seed(1)], 5))
    assert [window.rows.shape for window in few] == [(1, 8)] * 3
    whole = packed.epoch(4, [torch.Generator().manual_seed(1)], 100)
    for window, same in zip(few, whole, strict=False):
        assert torch.equal(window.rows, same.rows)
    whole.close()  # type: ignore[attr-defined]


def test_recorded_steps_from_disk_are_the_steps(tmp_path: Path) -> None:
    """By the stand-in for a CUDA graph: a block's inputs are laid down where the graph looks for them."""
    _, rows = both(walks(12), tmp_path)
    found = []
    for graph in (None, Replayed):
        q = Mlp(
            MlpSettings(width=16, updates=40, batch=16), rows.log.observation_space, rows.log.action_space, (3, 4), CPU
        )
        q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
        q.crew.here.groups[0][1].graph = graph
        with torch.no_grad():
            for _ in range(2):
                assert q.fit(torch.linspace(-1, 1, len(rows)).repeat(2, 1))["updates"] == [40, 40]
        found.append(q.state)
    torch.testing.assert_close(found[1].flat, found[0].flat, rtol=2e-3, atol=2e-4)
    assert torch.equal(found[1].draws, found[0].draws)


def test_neighbours_do_not_stay_together(tmp_path: Path) -> None:
    """Windows of 128 of 1,200 rows hold blocks of 2 neighbours from all over the log."""
    log = pictures((1200,))
    _, there = both(log, tmp_path, memory=128 * 30 * 8)
    every = torch.ones(1200, dtype=torch.bool)
    packed = OnDisk.bound(encoder_of(log, 1), there, every, processes=1).packed(torch.from_numpy(there.frame))
    first = next(iter(packed.epoch(8, [torch.Generator().manual_seed(0)], 100))).rows[0]
    assert len(torch.unique(first // 2)) == 64
    assert first.max() - first.min() > 1000


@pytest.mark.parametrize(("regressor", "stack"), [pytest.param("mlp", 2, marks=pytest.mark.slow), ("cnn", 2)])
def test_training_from_disk_is_exact_whatever_the_workers_and_breaks(
    regressor: str, stack: int, tmp_path: Path
) -> None:
    _, rows = both(walks() if regressor == "mlp" else pictures(), tmp_path)
    flags = {name: value for name, value in SMALL.items() if regressor == "mlp" or name not in ("width", "depth")}
    flags |= {"regressor": regressor, "stack": stack, "iterations": 3} | ({"dense": 8} if regressor == "cnn" else {})
    whole = files(train(rows.log, configure(rows.log, flags=flags), tmp_path / "whole"))
    train(rows.log, configure(rows.log, flags=flags | {"iterations": 2}), tmp_path / "part")
    again = resume(Run.open(tmp_path / "part"), load_log(tmp_path / "log.h5", memory=MEMORY), iterations=3)
    assert files(again) == whole
    if regressor == "mlp":
        assert files(train(rows.log, configure(rows.log, flags=flags | {"workers": 2}), tmp_path / "two")) == whole
    assert again.record["log"]["memory"] == MEMORY


def test_from_disk_a_regression_finds_what_it_finds_in_memory(tmp_path: Path) -> None:
    """Windows of a part of the log fit the same rewards as shuffles of all of it."""
    here, there = both(walks(40), tmp_path, memory=2**11)
    loss = []
    for rows in (here, there):
        config = config_of(rows.log, gamma=0.0, iterations=1, updates=200, ensemble=1)
        run = train(rows.log, config, tmp_path / f"run{len(loss)}")
        loss.append(run.metrics[-1]["heldout_loss"])
    assert loss[0] < 0.02
    assert loss[1] < 1.5 * loss[0] + 0.002


@pytest.mark.parametrize(
    ("flags", "says"),
    [({"regressor": "trees"}, "trees regressor holds all of them in memory; give regressor mlp or cnn"),
     ({"constraint": 0.3}, "constraint clones the behaviour")],
)  # fmt: skip
def test_what_needs_all_frames_is_refused(flags: dict[str, object], says: str, tmp_path: Path) -> None:
    _, rows = both(walks(), tmp_path)
    with pytest.raises(UserError, match=says):
        train(rows.log, configure(rows.log, flags={"iterations": 1, **flags}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
