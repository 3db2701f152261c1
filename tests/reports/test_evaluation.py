"""What a run predicts of start states: by the very rule that made its targets, at every round."""

from __future__ import annotations

import pytest
import torch

from fqi.reports.evaluation import predictions
from fqi.settings import TARGETS
from fqi.training import train
from fqi.values import Value
from tests.fqi.training_kit import config_of, walks

LOG = walks()


@pytest.mark.parametrize("flags", [*({"target": name} for name in TARGETS), {"average": 3}], ids=str)
def test_predictions_are_what_the_next_round_was_regressed_on(flags, tmp_path):
    # `mean_value` of a round's metrics is the mean of V over the next frames of all rows, as training saw it.
    run = train(LOG, config_of(LOG, **flags, seeds=2, bound="none"), tmp_path / "run")
    q, after = run.build(), LOG.frame_of_step + 1
    for number in run.rounds:
        found = predictions(run, q, LOG.observations, number)
        assert found.shape == (2, LOG.steps + LOG.episodes)
        kept = [row["mean_value"] for row in run.metrics if row["round"] == number]
        assert found[:, after].mean(1) == pytest.approx(kept, rel=1e-4, abs=1e-6)


def test_predictions_by_hand(tmp_path):
    run = train(LOG, config_of(LOG, average=2, target="min"), tmp_path / "run")
    q, frames, asked = run.build(), LOG.observations[:5], {}
    for number in run.rounds:
        run.load(q, number)
        asked[number] = q.values(frames).double()  # [H, B, A]
    for number, expected in ((1, asked[1]), (4, (asked[4] + asked[3]) / 2)):
        found = torch.from_numpy(predictions(run, q, frames, number))
        torch.testing.assert_close(found, expected.amin(0).amax(-1)[None], rtol=1e-5, atol=1e-6)
    assert Value.of(run.config).rounds == 2
