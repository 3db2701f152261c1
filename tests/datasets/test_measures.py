"""Measures of a log, worked by hand."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from fqi.datasets.doctor.measures import measure
from fqi.datasets.doctor.settings import MeasureSettings
from fqi.errors import UserError
from fqi.log import Log


def log_of(states: list[list[int]], actions: list[list[int]], rewards: list[list[float]], **more: Any) -> Log:
    """Episodes over three states and two actions, all terminated."""
    lengths = np.array([len(episode) for episode in actions])
    last = np.zeros(int(lengths.sum()), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    return Log(
        observations=np.concatenate([np.array(episode, np.int64) for episode in states]),
        actions=np.concatenate([np.array(episode, np.int64) for episode in actions]),
        rewards=np.concatenate([np.array(episode, np.float64) for episode in rewards]),
        terminations=last,
        truncations=np.zeros_like(last),
        lengths=lengths,
        observation_space=gym.spaces.Discrete(3),
        action_space=gym.spaces.Discrete(2),
        **more,
    )


CHAIN = log_of([[0, 1, 2], [0, 1, 2], [0, 1]], [[0, 1], [0, 0], [0]], [[1, 2], [0, 4], [3]])


def test_quality_is_the_normalised_mean_discounted_return() -> None:
    # Returns at gamma 1/2: 1 + 2/2 = 2, 0 + 4/2 = 2, 3; their mean is 7/3. Between 1 and 5 that is (4/3) / 4 = 1/3.
    found = measure(CHAIN, MeasureSettings(gamma=0.5, worst_return=1.0, best_return=5.0))["trajectory_quality"]
    assert found["mean_return"] == pytest.approx(7 / 3)
    assert found["value"] == pytest.approx(1 / 3)


def test_quality_from_the_behaviours_of_the_log() -> None:
    told = {"behaviours": ("random", "scripted:x", "scripted:x,epsilon=0.5")}
    log = Log(**{**vars(CHAIN), **told, "behaviour": np.array([0, 0, 1, 1, 2], np.int32)})
    # random: 1 + 2 = 3, scripted: 0 + 4 = 4, noisy: 3; the mean is 10/3: a third of the way.
    found = measure(log, MeasureSettings(gamma=1.0))["trajectory_quality"]
    assert (found["worst"], found["best"]) == (3.0, 4.0)
    assert found["value"] == pytest.approx(1 / 3)


def test_quality_is_not_invented() -> None:
    found = measure(CHAIN, MeasureSettings())["trajectory_quality"]
    assert found["value"] is None
    assert "--worst-return" in found["why_none"]
    found = measure(CHAIN, MeasureSettings(worst_return=2.0, best_return=2.0))["trajectory_quality"]
    assert found["value"] is None
    with pytest.raises(UserError, match="give both"):
        measure(CHAIN, MeasureSettings(worst_return=2.0))


def test_coverage_counts_unique_pairs() -> None:
    # (0, 0), (1, 1) and (1, 0) of 6 pairs that there are.
    found = measure(CHAIN, MeasureSettings())["state_action_coverage"]
    assert (found["unique_pairs"], found["possible_pairs"], found["value"]) == (3, 6, None)
    reference = log_of([[0, 0, 1, 1, 2]], [[0, 1, 0, 1]], [[0, 0, 0, 0]])
    found = measure(CHAIN, MeasureSettings(), reference)["state_action_coverage"]
    assert (found["reference_pairs"], found["value"]) == (4, 0.75)


def test_pairs_are_not_confused_with_their_mirror_images() -> None:
    log = log_of([[0, 1, 2, 0]], [[1, 0, 1]], [[0, 0, 0]])  # (0, 1), (1, 0), (2, 1)
    assert measure(log, MeasureSettings())["state_action_coverage"]["unique_pairs"] == 3


def test_entropy_by_hand() -> None:
    # Actions 0 four times, 1 once. In state 0 always action 0; in state 1 one of each: (2/5) log 2 given the state.
    log = Log(**{**vars(CHAIN), "propensity": np.array([1, 0.5, 1, 0.5, 1.0])})
    found = measure(log, MeasureSettings())["behaviour_entropy"]
    assert found["actions"] == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert found["actions_given_state"] == pytest.approx(0.4 * math.log(2))
    assert found["by_propensity"] == pytest.approx(0.4 * math.log(2))
    assert found["most"] == pytest.approx(math.log(2))


def test_support_by_hand() -> None:
    found = measure(CHAIN, MeasureSettings())["support"]
    assert [(row["steps"], row["states"]) for row in found["actions"]] == [(4, 2), (1, 1)]
    assert found["states_with_every_action"] == 0.5
    assert found["never_taken"] == []
    lone = log_of([[0, 1]], [[1]], [[0]])
    assert measure(lone, MeasureSettings())["support"]["never_taken"] == [0]


def box_log(frames: Any, actions: Any) -> Log:
    count = len(actions)
    last = np.arange(count) == count - 1
    return Log(
        observations=np.asarray(frames, np.float32)[:, None],
        actions=np.asarray(actions, np.float32)[:, None],
        rewards=np.zeros(count),
        terminations=last,
        truncations=np.zeros_like(last),
        lengths=np.array([count]),
        observation_space=gym.spaces.Box(-10, 10, (1,), np.float32),
        action_space=gym.spaces.Box(-1, 1, (1,), np.float32),
    )


def test_continuous_states_lie_in_cells() -> None:
    # Two cells between 0 and 4: frames 0 and 1 in the lower, 3 and 4 in the upper; actions -1 in one, 1 in the other.
    log = box_log([0, 1, 3, 4, 4], [-1, -1, -1, 1])
    found = measure(log, MeasureSettings(cells=2))
    assert found["state_action_coverage"]["unique_pairs"] == 3
    assert found["support"] is None
    assert "2 cells along each dimension" in found["cells"]
    # The cells reach over both logs: against frames up to 8, 0 and 1 and 3 lie in the lower one, 4 in the upper.
    wide = box_log([0, 8, 8, 0, 0], [-1, -1, 1, 1])
    found = measure(log, MeasureSettings(cells=2), wide)["state_action_coverage"]
    assert (found["unique_pairs"], found["reference_pairs"]) == (2, 4)


def test_frames_of_pixels_are_told_apart_exactly() -> None:
    frames = np.zeros((5, 40, 40), np.uint8)
    frames[2, 39, 39] = 1
    last = np.arange(4) == 3
    log = Log(
        observations=frames,
        actions=np.zeros(4, np.int64),
        rewards=np.zeros(4),
        terminations=last,
        truncations=np.zeros_like(last),
        lengths=np.array([4]),
        observation_space=gym.spaces.Box(0, 255, (40, 40), np.uint8),
        action_space=gym.spaces.Discrete(2),
    )
    assert measure(log, MeasureSettings())["state_action_coverage"]["unique_pairs"] == 2


def test_a_reference_of_other_spaces_is_refused() -> None:
    with pytest.raises(UserError, match="other observations or actions"):
        measure(CHAIN, MeasureSettings(), box_log([0, 1], [0]))
