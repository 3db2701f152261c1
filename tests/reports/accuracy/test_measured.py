"""What is measured of a run whose truth is known, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fqi.environments.make import environment_record
from fqi.environments.models import model_of
from fqi.errors import UserError
from fqi.reports.accuracy.crosswise import crosswise
from fqi.reports.accuracy.measure import Wanted, measure
from fqi.reports.accuracy.sample import Neighbours, drawn_steps, frames_at
from fqi.reports.accuracy.summary import audit_by_round, exact_by_round, fitted_by_round, states_by_round
from fqi.run import Run
from tests.reports.accuracy.accuracy_runs import lake
from tests.reports.report_runs import log as noise
from tests.reports.report_runs import trained


def test_the_parts_add_up_to_the_exact_bias():
    _, run = lake()
    model = model_of(environment_record("FrozenLake-v1"))
    for row in run.measured("exact"):
        assert sum(row["parts"].values()) == pytest.approx(row["bias"], abs=1e-9)
        assert row["parts"]["regressor"] == pytest.approx(0.0, abs=1e-9)  # a table is the log's own average
        assert row["parts"]["maximum"] >= 0
        assert row["parts"]["policy"] >= 0
        worth = model.worth(np.array(row["choices"]), 0.95, None)
        assert row["earned"] == pytest.approx(model.starts @ worth[np.arange(16), row["choices"]])
        assert row["optimum"] == pytest.approx(model.starts @ model.best(model.optimum(0.95, None)))
    last = exact_by_round(run.measured("exact"))[-1]
    assert last["parts"]["maximum"] > 0.01  # 1,500 steps are noisy
    assert last["bias"] > 0


def test_the_exact_bias_lies_within_the_interval_of_the_played_one():
    from fqi.reports.overestimation import by_round

    _, run = lake()
    played, exact = by_round(run.evaluations)[-1]["bias"], exact_by_round(run.measured("exact"))[-1]["bias"]
    assert played.low <= exact <= played.high


def test_states_of_the_log_are_drawn_without_repeats_and_valued_exactly():
    log, run = lake()
    found = states_by_round(run.measured("states"))[-1]
    assert (found["states"], found["error"]) == (40, 0.0)
    row, exact = run.measured("states")[-1], run.measured("exact")[-1]
    assert len(set(row["steps"])) == 40
    states = np.asarray(log.observations)[log.frame_of_step[row["steps"]]]
    assert row["realised"] == pytest.approx(np.array(exact["worth"])[states].tolist())
    assert found["bias"].mean == pytest.approx(np.mean(np.subtract(row["predicted"], row["realised"])))


def test_states_are_played_where_there_is_no_model(tmp_path):
    run = trained(tmp_path / "run", members=2, rounds=2)
    data = noise()
    assert measure(run, data, [2], Wanted(states=15), run.record["environment"]) == ["audit", "states"]
    rows = run.measured("states")
    assert [row["member"] for row in rows] == [0, 1]
    assert rows[0]["rollouts"] == 1
    # CartPole pays 1 a step and ends at once in most of these noisy states: values from 1 to 1 / (1 - gamma)
    assert all(1 <= v <= 100 for row in rows for v in row["realised"])
    assert audit_by_round(run.measured("audit"))[0]["units"] == "members"


def test_fitted_values_of_the_same_rows_agree_with_an_exact_table():
    _, run = lake()
    found = fitted_by_round(run.measured("policy_values"))[-1]
    assert not found["held_out"]
    # The table's own policy on the table's own rows: what it predicts is what fitted Q-evaluation finds.
    assert found["excess"].mean == pytest.approx(0.0, abs=0.02)


def test_crosswise_by_hand():
    # Two heads, one frame, two actions: the first likes action 0 at 3, which the second values at 1; the second likes
    # action 1 at 2, which the first values at 2.5.
    units = np.array([[[3.0, 2.5]], [[1.0, 2.0]]])
    assert crosswise(units, None).tolist() == [[2.0], [-0.5]]
    assert crosswise(units[:1], None) is None
    only_first = np.array([[True, False]])
    assert crosswise(units, only_first).tolist() == [[2.0], [-2.0]]


def test_the_gap_of_pure_noise_is_what_the_law_of_the_maximum_says():
    noise_of = np.random.default_rng(0).normal(size=(2, 40_000, 4))
    assert crosswise(noise_of, None).mean() == pytest.approx(1.0294, abs=0.02)  # E max of 4 standard normal noises


def test_neighbours_by_hand():
    log, _ = lake()
    near = Neighbours(log)
    steps = drawn_steps(log, 5, 0)
    frames, done = frames_at(log, steps), log.actions[steps]
    assert near.supported(frames, done).all()
    data = noise()
    near = Neighbours(data)
    steps = drawn_steps(data, 20, 0)
    frames, done = frames_at(data, steps), data.actions[steps]
    assert (near.distances(frames, done, np.full(20, -1)) == 0).all()  # the rows themselves
    assert (near.distances(frames, done, near.episode[steps]) > 0).all()


def test_a_changed_log_is_refused():
    _, run = lake()
    with pytest.raises(UserError, match="the log has changed"):
        measure(Run(run.path), noise(), [30], Wanted())
