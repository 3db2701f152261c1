"""Frames shown several at once: by whoever plays as by the log."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from fqi import spaces
from fqi.behaviour import Component, Mixture
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.nest import leaves
from fqi.policies import Policy, of_single_frames, one_hot
from fqi.recent import Recent, first_shown
from fqi.rollout import episodes, play


class Looks(Policy):
    """Remembers what it was shown; always acts alike."""

    def __init__(self, stack, action=1):
        self.stack, self.action, self.seen = stack, action, []

    def probabilities(self, frames):
        self.seen.append(np.array(frames))
        return one_hot(np.full(len(frames), self.action), 2)

    def actions(self, frames, draws):
        raise NotImplementedError


def test_the_first_frame_is_repeated_until_there_are_others():
    recent = Recent(3)
    shown = []
    for tick, fresh in enumerate(([True, True], [False, False], [False, True], [False, False])):
        frames = {"x": np.array([10 + tick, 20 + tick])}
        recent.see(frames, np.array(fresh))
        shown.append([leaves(recent.last(depth, frames))["x"].tolist() for depth in (3, 2, 1)])
    assert shown[0] == [[[10, 10, 10], [20, 20, 20]], [[10, 10], [20, 20]], [10, 20]]
    assert shown[1] == [[[10, 10, 11], [20, 20, 21]], [[10, 11], [20, 21]], [11, 21]]
    assert shown[2] == [[[10, 11, 12], [22, 22, 22]], [[11, 12], [22, 22]], [12, 22]]
    assert shown[3][0] == [[11, 12, 13], [22, 22, 23]]
    assert first_shown(np.array([[1.0], [2.0]]), 2).tolist() == [[[1.0], [1.0]], [[2.0], [2.0]]]


def test_a_policy_is_shown_what_the_log_would_show():
    slots = make_slots({"id": "CartPole-v1"}, 3)
    looks = Looks(3)
    play(slots, Mixture([Component("looks", looks), Component("one", Looks(1))], slots.action_space, per="step"),
         np.array([5, 6, 7]), 30, gamma=1.0)  # fmt: skip
    blind = Looks(1)
    play(slots, Mixture([Component("blind", blind)], slots.action_space), np.array([5, 6, 7]), 30, gamma=1.0)
    assert looks.seen[0].shape == (3, 3, 4)
    for tick, shown in enumerate(looks.seen[: len(blind.seen)]):
        assert np.array_equal(shown[:, -1], blind.seen[tick])
        for back in (1, 2):
            assert np.array_equal(shown[:, -1 - back], blind.seen[max(tick - back, 0)])


def test_in_a_collection_each_slot_begins_anew():
    slots = make_slots({"id": "CartPole-v1"}, 2)
    looks = Looks(2)
    played = episodes(slots, Mixture([Component("looks", looks)], slots.action_space), 3, 50)
    blocks = [next(played) for _ in range(6)]
    shown = {tuple(np.ravel(stack)) for frames in looks.seen for stack in frames}
    for block in blocks:
        first = block.observations[: block.lengths[0]]  # of the first episode of those that ended together
        pairs = zip([first[0], *first], first, strict=False)
        assert all(tuple(np.ravel(np.stack(pair))) in shown for pair in pairs)


def test_spaces_of_stacks():
    box = spaces.stacked(gym.spaces.Box(-1, np.array([2, 3], np.float32)), 2)
    assert box.shape == (2, 2)
    assert box.high.tolist() == [[2, 3], [2, 3]]
    images = spaces.stacked(gym.spaces.Box(0, 255, (8, 6), np.uint8), 4)
    assert (images.shape, images.dtype) == ((4, 8, 6), np.uint8)
    both = gym.spaces.Dict({"z": gym.spaces.Discrete(3, start=1), "a": gym.spaces.MultiDiscrete([2, 5])})
    found = spaces.stacked(both, 2)
    assert found["z"] == gym.spaces.MultiDiscrete([3, 3], start=[1, 1])
    assert found["a"] == gym.spaces.MultiDiscrete([[2, 5], [2, 5]])
    assert spaces.stacked(both, 1) is both
    with pytest.raises(UserError, match="cannot be shown several at once; give stack 1"):
        spaces.stacked(gym.spaces.MultiBinary(3), 2)


def test_who_asks_about_single_frames_refuses_a_policy_that_needs_several():
    assert of_single_frames(Looks(1), "dagger").stack == 1
    with pytest.raises(UserError, match="dagger asks a policy about single frames, and this one looks at 3"):
        of_single_frames(Looks(3), "dagger")
