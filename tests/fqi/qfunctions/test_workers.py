"""Worker processes: the same values in windows, and a plain word when one is lost."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from fqi.errors import UserError
from fqi.qfunctions import workers
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import transitions
from tests.fqi.training_kit import walks

LOG = walks(4)
ROWS = transitions(LOG, 0.9)


def mlp(count):
    settings = MlpSettings(width=8, depth=1, updates=5, batch=32)
    q = Mlp(settings, LOG.observation_space, LOG.action_space, (0, 1, 2), torch.device("cpu"), workers=count)
    q.bind(ROWS, torch.ones(len(ROWS), dtype=torch.bool))
    return q


def test_processes_give_the_same_values_and_a_lost_one_is_told(monkeypatch):
    monkeypatch.setattr(workers, "WINDOW", 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        one, two = mlp(1), mlp(2)
        try:
            targets = torch.stack([torch.linspace(-1, 1, len(ROWS)) * (p + 1) for p in range(3)])
            said = two.fit(targets)
            assert said == one.fit(targets)
            assert said["updates"] == [5, 5, 5]
            assert said["weight_norm"] == pytest.approx(one.state.flat.norm(dim=1).tolist())
            assert min(said["gradient_norm"]) > 0
            frames = len(LOG.observations)
            windows = [one.log_values(i, min(i + 16, frames)) for i in range(0, frames, 16)]
            assert torch.equal(two.log_values(0, frames), torch.cat(windows, 1))
            kept = two.log_values(0, 16)
            two.log_values(16, 32)
            assert torch.equal(kept, one.log_values(0, 16))  # what was answered does not change afterwards
            with pytest.raises(RuntimeError, match="a training process failed: "):
                two.crew._all("nonsense")
            lost = two.crew.processes[1]
            lost.kill()
            lost.join()
            for _ in range(2):
                with pytest.raises(UserError, match="a training process ended unexpectedly"):
                    two.fit(targets)
        finally:
            clock = time.monotonic()
            two.close()
            torch.set_num_threads(threads)
    assert time.monotonic() - clock < 5
    assert two.crew.processes == []


def test_too_little_shared_memory_is_said_before_it_is_touched(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "Path", lambda _: tmp_path)
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=r"2 training processes need .* MiB of shared memory, .* give --workers 1"):
        mlp(2)
    workers._refuse_lack_of_shared_memory(100, 2)
