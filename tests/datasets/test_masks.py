"""A log of an environment that says which actions are legal."""

from __future__ import annotations

import numpy as np

from fqi.datasets.collect import Request, collect
from fqi.reports.evaluation import evaluate
from fqi.training import configure, train


def test_taxi_from_collection_to_evaluation(tmp_path):
    log = collect(Request.new("Taxi-v4", {"envs": 8, "max_steps": 50}, 3000, None), tmp_path / "log.h5")
    assert log.action_mask.shape == (log.steps + log.episodes, 6)
    counts = log.action_mask[log.frame_of_step].sum(1)
    np.testing.assert_allclose(log.propensity, 1 / counts)  # Log itself refuses an action that its mask forbids
    # An unfinished episode that is played again after a break, and a log that goes on, are the same to the bit.
    half = collect(Request.new("Taxi-v4", {"envs": 8, "max_steps": 50}, 1500, None), tmp_path / "half.h5")
    whole = collect(Request.new("Taxi-v4", {"envs": 8, "max_steps": 50}, 3000, None), tmp_path / "half.h5", resume=True)
    assert half.steps == 1500
    np.testing.assert_array_equal(whole.action_mask, log.action_mask)
    np.testing.assert_array_equal(whole.actions, log.actions)
    run = train(log, configure(log, flags={"iterations": 3}), tmp_path / "run")
    rows = evaluate(run, [3], episodes=4, max_steps=20)
    assert len(rows) == 1
