"""Illegal actions are never played, never believed, and recorded as what they are."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.behaviour import Component, Mixture
from fqi.environments.make import make_slots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.policies import Function, Greedy, Uniform
from fqi.rollout import episodes, play
from fqi.slots import legal_actions

THREE = gym.spaces.Discrete(3)
LEGAL = np.array([[True, True, False], [False, False, True], [True, False, True], [True, True, True]])
FRAMES = np.arange(4)


class Lever(gym.Env):
    """Eight steps; the number of the step, modulo 3, is the action that may not be taken, and taking it is an error.
    Action 2 pays 2, action 1 pays 1."""

    observation_space = gym.spaces.Discrete(9)
    action_space = THREE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return 0, self._info()

    def step(self, action):
        assert action != self.at % 3, "an illegal action was played"
        self.at += 1
        return self.at, float(action), self.at == 8, False, self._info()

    def _info(self):
        mask = np.ones(3, np.int8)
        mask[self.at % 3] = 0
        return {"action_mask": mask}


class Fixed:
    """A Q-function that says the same of every frame."""

    stack = 1

    def __init__(self, values, support=None):
        self.said, self.known = torch.tensor(values), support

    def values(self, frames, heads=slice(None)):
        return self.said.expand(1, len(frames), 3)

    def support(self, frames):
        return None if self.known is None else torch.tensor(self.known).expand(len(frames), 3)


def test_greedy_takes_the_best_legal_action():
    assert Greedy(Fixed([1.0, 3.0, 2.0])).among(FRAMES, LEGAL).argmax(1).tolist() == [1, 2, 2, 1]
    assert Greedy(Fixed([1.0, 3.0, 2.0])).probabilities(FRAMES).argmax(1).tolist() == [1] * 4
    # What it knows nothing of comes last: action 1 is unknown; in frame 1 only action 2 is legal, known or not.
    assert Greedy(Fixed([1.0, 3.0, 2.0], [True, False, True])).among(FRAMES, LEGAL).argmax(1).tolist() == [0, 2, 2, 2]
    assert Greedy(Fixed([1.0, 3.0, 2.0], [True, True, False])).among(FRAMES, LEGAL).argmax(1).tolist() == [1, 2, 0, 1]


def test_other_policies_keep_their_legal_share():
    expected = [[1 / 2, 1 / 2, 0], [0, 0, 1], [1 / 2, 0, 1 / 2], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(Uniform(THREE).among(FRAMES, LEGAL), expected)
    leaning = Function(lambda frames: np.tile([0.6, 0.3, 0.1], (len(frames), 1)), THREE, "py:x")
    expected = [[2 / 3, 1 / 3, 0], [0, 0, 1], [6 / 7, 0, 1 / 7], [0.6, 0.3, 0.1]]
    np.testing.assert_allclose(leaning.among(FRAMES, LEGAL), expected)
    np.testing.assert_allclose(leaning.among(FRAMES, None), [[0.6, 0.3, 0.1]] * 4)


def test_a_policy_that_insists_is_told():
    stubborn = Function(lambda frames: np.zeros(len(frames), int), THREE, "py:x")
    with pytest.raises(UserError, match=r"allows the actions \[2\] .* the policy takes only \[0\]; .* a legal one"):
        stubborn.among(FRAMES, LEGAL)


def test_a_mixture_says_how_likely_the_legal_action_was():
    # Frame 0 allows 0 and 1. Greedy on 1 with epsilon .4: .8 and .2; a uniform half beside it: (.8 + .5) / 2 = .65.
    components = [Component("greedy", Greedy(Fixed([1.0, 3.0, 2.0])), epsilon=0.4), Component("random", Uniform(THREE))]
    mixture = Mixture(components, THREE, per="step")
    count = 2000
    legal = np.repeat(LEGAL[:1], count, 0)
    acted = mixture.act(np.zeros(count), np.ones(count, np.bool_), np.random.default_rng(0), legal)
    assert set(acted.actions.tolist()) == {0, 1}
    np.testing.assert_allclose(acted.propensity, np.where(acted.actions == 1, 0.65, 0.35))
    assert (acted.actions == 1).mean() == pytest.approx(0.65, abs=0.04)


def test_slots_pass_on_what_the_environment_tells():
    slots = make_slots({"id": "Taxi-v4"}, 3)
    slots.reset(np.arange(3), np.array([5, 6, 7]))
    env = gym.make("Taxi-v4")
    masks = [env.reset(seed=seed)[1]["action_mask"] for seed in (5, 6, 7)]
    np.testing.assert_array_equal(slots.legal, np.array(masks, np.bool_))
    before = slots.legal.copy()
    _, _, _, _, info = [env.reset(seed=6), env.step(int(np.flatnonzero(masks[1])[0]))][1]
    slots.step(np.array([1]), np.array([np.flatnonzero(masks[1])[0]]))
    np.testing.assert_array_equal(slots.legal[1], info["action_mask"].astype(np.bool_))
    np.testing.assert_array_equal(slots.legal[[0, 2]], before[[0, 2]])


def test_others_say_nothing():
    for name in ("FrozenLake-v1", "CartPole-v1", "Pendulum-v1"):
        assert legal_actions(make_slots({"id": name}, 2)) is None


def test_a_mask_of_another_length_is_named():
    class Short(Lever):
        def _info(self):
            return {"action_mask": np.ones(2, np.int8)}

    slots = SingleSlots(1, Short)
    with pytest.raises(UserError, match=r"action_mask must have 3 entries, found shape \(2,\)"):
        slots.reset(np.array([0]), np.array([0]))


def test_blocks_hold_a_mask_for_every_frame():
    slots = SingleSlots(3, Lever)
    block = next(episodes(slots, Mixture([Component("random", Uniform(THREE))], THREE), 0, 5))
    assert block.action_mask.shape == (3 * 6, 3)
    np.testing.assert_array_equal(block.action_mask, np.arange(3) != np.tile(np.arange(6), 3)[:, None] % 3)
    assert set(np.unique(block.propensity)) == {0.5}


def test_greedy_plays_without_ever_touching_an_illegal_action():
    slots = SingleSlots(2, Lever)
    actor = Mixture([Component("greedy", Greedy(Fixed([0.0, 1.0, 2.0])))], THREE)
    played = play(slots, actor, np.array([1, 2]), 8, 1.0)
    # Forbidden are 0 1 2 0 1 2 0 1: the best legal ones pay 2 2 1 2 2 1 2 2.
    assert played.returns.tolist() == [14, 14]
    np.testing.assert_array_equal(played.legal, [[False, True, True]] * 2)
