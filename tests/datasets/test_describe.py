"""What a log is said to hold, with expectations counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings

from fqi.datasets.describe import describe
from fqi.datasets.load import load_log, save_log
from fqi.log import Log
from tests.datasets.helpers import played, small_log
from tests.strategies import logs


@settings(max_examples=60, deadline=None)
@given(log=logs())
def test_any_log_can_be_described_in_strict_json(log: Log) -> None:
    found = json.loads(json.dumps(describe(log), allow_nan=False))
    assert found["steps"] == log.steps
    assert found["length"]["max"] == log.lengths.max()
    assert found["terminated"] + found["truncated"] >= log.episodes


def test_numbers_counted_by_hand() -> None:
    log = small_log()  # 4 episodes of 5 steps, rewards from 0 to 1, actions 0 1 0 1 …
    found = describe(log)
    assert found["return"]["mean"] == 2.5
    assert found["rewards"]["distinct"] == 20
    assert [row["count"] for row in found["actions"]["counts"]] == [10, 10]
    assert (found["terminated"], found["truncated"]) == (2, 2)
    assert found["behaviours"] == [
        {"behaviour": "random", "steps": 20, "share": 1.0, "episodes": 4, "episodes_alone": 4, "mean_return": 2.5}
    ]
    assert found["propensity"]["min"] == found["propensity"]["max"] == 0.5
    assert found["bytes"] == 24 * 8 + 20 * (8 + 8 + 1 + 1 + 8 + 4) + 4 * 8 + 4 * 8


def test_a_mixture_within_an_episode_earns_no_mean_return() -> None:
    log = small_log()
    behaviour = np.zeros(20, np.int32)
    behaviour[12:15] = 1  # within the third episode
    behaviour[15:] = 1  # all of the fourth
    mixed = Log(**{**vars(log), "behaviour": behaviour, "behaviours": ("a", "b", "c")})
    rows = {row["behaviour"]: row for row in describe(mixed)["behaviours"]}
    assert (rows["a"]["episodes"], rows["a"]["episodes_alone"]) == (3, 2)
    assert (rows["b"]["episodes"], rows["b"]["episodes_alone"]) == (2, 1)
    assert rows["b"]["mean_return"] == log.returns[3]
    assert (rows["c"]["steps"], rows["c"]["mean_return"]) == (0, None)


def test_coverage_of_states_that_can_be_counted() -> None:
    found = describe(played("FrozenLake-v1", 300))["coverage"]
    assert (found["states"], found["pairs"]) == (16, 64)
    assert 0 < found["pairs_seen"] <= 44  # five of sixteen states end the episode: 11 * 4 pairs can be seen
    assert found["pairs_share"] == found["pairs_seen"] / 64


def test_coverage_of_vectors_is_a_coarse_grid() -> None:
    found = describe(played("CartPole-v1", 300))["coverage"]
    assert found["grid"]["cells"] == 8**4
    assert max(found["grid"]["occupied_by_action"]) <= found["grid"]["occupied"] <= 300
    assert len(found["dimensions"]["observations"]) == 4


def test_the_checksum_is_that_of_the_content() -> None:
    one, other = small_log(), small_log()
    assert describe(one)["checksum"] == describe(other)["checksum"]
    rewards = one.rewards.copy()
    rewards[3] += 1
    assert describe(Log(**{**vars(one), "rewards": rewards}))["checksum"] != describe(one)["checksum"]


def test_frames_on_disk_are_described_by_their_ranges(tmp_path: Path) -> None:
    save_log(small_log(), tmp_path / "log.h5")
    found = describe(load_log(tmp_path / "log.h5", memory=0))
    whole = describe(small_log())
    assert found["coverage"]["ranges"] == {"observations": {"min": 0.0, "max": 47.0}}
    assert found["coverage"]["grid"] is None
    assert {k: v for k, v in found.items() if k != "coverage"} == {k: v for k, v in whole.items() if k != "coverage"}
