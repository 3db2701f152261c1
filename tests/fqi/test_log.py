"""A log: where its frames are, what it refuses, that it cannot be changed."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings

from fqi.errors import UserError
from fqi.log import Log, fingerprint, violations
from fqi.nest import leaves
from tests.fqi.small import log_of
from tests.strategies import logs

# Steps 0 1 2 | 3 4; frames 0 1 2 3 | 4 5 6.
TWO = log_of(([1, 2, 3], "terminated"), ([4, 5], "truncated"))


def changed(log, **columns):
    return {f.name: getattr(log, f.name) for f in dataclasses.fields(log)} | columns


def test_frames_and_steps_by_hand():
    assert (TWO.steps, TWO.episodes) == (5, 2)
    assert TWO.starts.tolist() == [0, 3]
    assert TWO.episode_of_step.tolist() == [0, 0, 0, 1, 1]
    assert TWO.frame_of_step.tolist() == [0, 1, 2, 4, 5]
    assert TWO.start_frames.tolist() == [0, 4]
    assert TWO.returns.tolist() == [6, 9]
    assert TWO.episode(1) == slice(3, 5)


def test_episodes_can_be_selected_in_any_order_and_twice():
    extra = {"propensity": np.linspace(0.1, 0.5, 5), "seeds": np.array([7, 8]), "origin": np.array([[0, 0], [1, 3]])}
    mask = np.ones((7, 2), np.bool_)
    mask[6] = False
    log = Log(
        **changed(
            TWO,
            **extra,
            label=np.array([1, 1, 0, 0, 1]),
            action_mask=mask,
            behaviour=np.arange(5, dtype=np.int32),
            behaviours=tuple("abcde"),
        )
    )
    part = log.select(np.array([1, 0, 1]))
    assert part.lengths.tolist() == [2, 3, 2]
    assert part.rewards.tolist() == [4, 5, 1, 2, 3, 4, 5]
    assert part.observations[:, 0].tolist() == [4, 5, 6, 0, 1, 2, 3, 4, 5, 6]
    assert part.seeds.tolist() == [8, 7, 8]
    assert part.origin.tolist() == [[1, 3], [0, 0], [1, 3]]
    assert part.action_mask.all(1).tolist() == [True, True, False, True, True, True, True, True, True, False]
    assert part.behaviour.tolist() == [3, 4, 0, 1, 2, 3, 4]
    assert part.label.tolist() == [0, 1, 1, 1, 0, 0, 1]
    assert part.propensity.tolist() == pytest.approx([0.4, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_log_without_episodes_is_whole():
    empty = TWO.select(np.zeros(0, np.int64))
    assert (empty.steps, empty.episodes, len(empty.observations)) == (0, 0, 0)
    assert empty.returns.tolist() == empty.starts.tolist() == empty.start_frames.tolist() == []


def test_columns_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        TWO.rewards[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        TWO.observations[0] = 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        TWO.rewards = TWO.rewards


def test_the_fingerprint_changes_with_any_value():
    seen = {fingerprint(TWO)}
    for name in ("observations", "rewards", "actions"):
        column = getattr(TWO, name).copy()
        column[4] = 1 - column[4] if name == "actions" else column[4] + 1
        seen.add(fingerprint(Log(**changed(TWO, **{name: column}))))
    both = TWO.truncations.copy()
    both[2] = True
    seen.add(fingerprint(Log(**changed(TWO, truncations=both))))
    seen.add(fingerprint(Log(**changed(TWO, seeds=np.array([1, 2])))))
    seen.add(fingerprint(TWO.select(np.array([1, 0]))))
    assert len(seen) == 7
    assert fingerprint(TWO.select(np.array([0, 1]))) == fingerprint(TWO)


def spoilt(name, row, value):
    column = getattr(TWO, name).copy()
    column[row] = value
    return {name: column}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lengths": np.array([5, 0])}, r"lengths: row 1: expected at least one step .* found 0"),
        ({"lengths": np.array([3.0, 2.0])}, r"lengths: .*vector of integers"),
        ({"observations": np.zeros((5, 1), np.float32)}, r"observations: .*\(7, 1\) .*one frame more.* found \(5, 1\)"),
        ({"observations": np.zeros((7, 1))}, r"observations: .*dtype float32 .*found float64"),
        ({"observations": {"x": np.zeros((7, 1), np.float32)}}, r"observations: .*leaves"),
        ({"actions": np.zeros(4, np.int64)}, r"actions: .*\(5,\), found \(4,\)"),
        ({"actions": np.zeros(5)}, r"actions: .*integers of Discrete\(2\), found float64"),
        (spoilt("actions", 3, 2), r"actions: row 3: expected integers from 0 to 1, found 2"),
        (spoilt("actions", [1, 3], -1), r"actions: 2 rows \(first: 1\): expected integers from 0 to 1, found -1"),
        (spoilt("rewards", 4, np.nan), r"rewards: row 4: expected finite numbers, found nan"),
        ({"rewards": np.zeros(5, np.int64)}, r"rewards: .*floating-point values, found int64"),
        ({"rewards": np.zeros((5, 1))}, r"rewards: .*\(5,\), found \(5, 1\)"),
        (spoilt("observations", 6, np.inf), r"observations: row 6: expected finite numbers"),
        (spoilt("terminations", 1, True), r"terminations: row 1: expected no end inside an episode"),
        (spoilt("truncations", 3, True), r"truncations: row 3: expected no end inside an episode"),
        (spoilt("terminations", 2, False), r"truncations: row 2: expected every episode's last step"),
        ({"terminations": np.zeros(5, np.uint8)}, r"terminations: .*boolean values, found uint8"),
        ({"propensity": np.array([0.5, 0.5, 0.0, 0.5, 0.5])}, r"propensity: row 2: expected probabilities in \(0, 1\]"),
        ({"propensity": np.array([0.5, 0.5, 1.1, 0.5, 0.5])}, r"propensity: row 2"),
        ({"propensity": np.array([0.5, 0.5, np.nan, 0.5, 0.5])}, r"propensity: row 2"),
        ({"behaviour": np.array([0, 0, 0, 0, 1]), "behaviours": ("a",)}, r"behaviour: row 4: expected an index into"),
        ({"action_mask": np.ones((7, 3), np.bool_)}, r"action_mask: .*bool \(7, 2\)"),
        ({"action_mask": np.zeros((7, 2), np.bool_)}, r"actions: 5 rows .*an action that the mask allows"),
        ({"label": np.zeros(4, np.int64)}, r"label: .*\(5,\), found \(4,\)"),
        ({"label": np.array([0, 1, 2, 0, 0])}, r"label: row 2: expected integers from 0 to 1, found 2"),
        ({"seeds": np.zeros(3, np.int64)}, r"seeds: .*\(2,\)"),
        ({"origin": np.zeros((2, 3), np.int64)}, r"origin: .*\(2, 2\)"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(columns, message):
    with pytest.raises(UserError, match=message) as found:
        Log(**changed(TWO, **columns))
    assert "\n" not in str(found.value)


def test_categories_outside_their_space_are_refused():
    # A negative one would otherwise be taken for another category, counted from the end.
    observations = np.array([0, 1, 2, 0, 1, -1, 2])
    with pytest.raises(UserError, match=r"observations: row 5: expected integers from 0 to 2, found -1"):
        Log(**changed(TWO, observations=observations, observation_space=gym.spaces.Discrete(3)))
    space = gym.spaces.MultiDiscrete([2, 3])
    pairs = np.tile([[1, 2]], (7, 1))
    pairs[4] = [2, 0]
    with pytest.raises(UserError, match=r"observations: row 4: expected integers from"):
        Log(**changed(TWO, observations=pairs, observation_space=space))
    pairs[4] = [1, 0]
    assert Log(**changed(TWO, observations=pairs, observation_space=space)).steps == 5


def test_a_space_need_not_begin_at_zero():
    log = Log(**changed(TWO, actions=np.array([5, 6, 5, 6, 5]), action_space=gym.spaces.Discrete(2, start=5)))
    assert log.steps == 5
    with pytest.raises(UserError, match="integers from 5 to 6, found 0"):
        Log(**changed(TWO, action_space=gym.spaces.Discrete(2, start=5)))


def test_actions_outside_a_box_are_refused():
    space = gym.spaces.Box(-1, 1, (2,))
    actions = np.zeros((5, 2), np.float32)
    actions[3, 1] = 1.5
    with pytest.raises(UserError, match=r"actions: row 3: expected values inside Box"):
        Log(**changed(TWO, actions=actions, action_space=space))
    # The density of a continuous action may exceed 1.
    assert Log(**changed(TWO, actions=actions / 2, action_space=space, propensity=np.full(5, 3.0))).steps == 5


def test_numbers_too_large_to_add_up_are_still_finite():
    observations = np.full((7, 1), np.finfo(np.float32).max, np.float32)
    assert Log(**changed(TWO, observations=observations)).steps == 5


def test_both_ends_at_once_are_allowed():
    assert log_of(([1.0], "both")).steps == 1


@settings(max_examples=60, deadline=None)
@given(logs())
def test_any_valid_log_has_no_violations_and_can_be_taken_apart(log):
    assert list(violations(log)) == []
    halves = [log.select(np.array([m])) for m in range(log.episodes)]
    joined = np.concatenate([part.rewards for part in halves])
    assert joined.tolist() == log.rewards.tolist()
    for path, array in leaves(log.observations).items():
        assert np.array_equal(np.concatenate([leaves(part.observations)[path] for part in halves]), array)
    assert fingerprint(log.select(np.arange(log.episodes))) == fingerprint(log)
