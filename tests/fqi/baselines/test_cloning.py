"""Cloning: what is learned, from which episodes, when it stops, and how far it carries."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.baselines.cloning import agreement, clone, own_states, shift
from fqi.baselines.likelihood import Softmax
from fqi.baselines.settings import CloneSettings
from fqi.environments.make import make_slots
from fqi.errors import UserError
from fqi.log import Log
from fqi.options import build
from fqi.policies import Function
from fqi.scripted import cartpole

PLANE = gym.spaces.Box(-np.inf, np.inf, (2,))
QUICK = {"updates": 60, "look_every": 20, "width": 16, "batch": 64}


def log_of(rule, episodes=20, length=10, seed=0, space=None, **columns):
    """Episodes of random frames in which `rule` acts; the return of episode m is m."""
    space = space or gym.spaces.Discrete(2)
    generator = np.random.default_rng(seed)
    frames = generator.normal(size=(episodes * (length + 1), 2)).astype(np.float32)
    acted = np.delete(np.arange(len(frames)), np.arange(length, len(frames), length + 1))
    ends = np.tile(np.arange(length) == length - 1, episodes)
    return Log(
        observations=frames,
        actions=rule(frames[acted]),
        rewards=np.repeat(np.arange(episodes) / length, length),
        terminations=ends,
        truncations=np.zeros(len(ends), np.bool_),
        lengths=np.full(episodes, length),
        observation_space=PLANE,
        action_space=space,
        **columns,
    )


def by_sign(frames):
    return (frames[:, 0] > 0).astype(np.int64)


def test_a_rule_is_learned_and_told_of():
    learned = clone(log_of(by_sign), CloneSettings(**QUICK, lr=0.01), [1, 2])
    assert [type(policy) for policy in learned.policies] == [Softmax, Softmax]
    frames = np.random.default_rng(9).normal(size=(500, 2)).astype(np.float32)
    expert = Function(by_sign, gym.spaces.Discrete(2), "sign")
    same = shift(learned, expert, frames, gym.spaces.Discrete(2))
    assert (same > 0.93).all()
    assert same[0] == (learned.policies[0].probabilities(frames).argmax(1) == by_sign(frames)).mean()
    on_own = shift(learned, expert, [frames[:100], frames[:300]], gym.spaces.Discrete(2))
    assert on_own[1] == agreement(learned.policies[1], expert, frames[:300], gym.spaces.Discrete(2))
    for fact in learned.facts:
        assert (fact["episodes"], fact["heldout_episodes"], fact["rows"]) == (18, 2, 180)
        assert fact["training_accuracy"] > 0.93
        assert fact["heldout_accuracy"] > 0.8
        assert fact["heldout_loss"] < 0.4
    assert learned.updates == 60


def test_a_seeds_bits_do_not_depend_on_its_neighbours():
    log, settings = log_of(by_sign), CloneSettings(**QUICK, patience=1, lr=0.1)
    many = clone(log, settings, [5, 6, 7, 8])
    for p, seed in enumerate([5, 6, 7, 8]):
        alone = clone(log, settings, [seed])
        assert torch.equal(alone.population.flat[0], many.population.flat[p])
        assert alone.facts[0] == many.facts[p]
    assert len({fact["updates"] for fact in many.facts}) > 1  # so that some trained on after others had stopped
    assert len({fact["heldout_loss"] for fact in many.facts}) == 4


def test_the_best_look_is_kept():
    """Actions without a rule: what is learned beyond their frequency only spoils the held-out loss."""
    noise = log_of(lambda frames: np.random.default_rng(1).integers(0, 2, len(frames)))
    settings = {**QUICK, "updates": 400, "lr": 0.03, "schedule": "constant"}
    best, last = (clone(noise, CloneSettings(**settings, patience=n), [0]).facts[0] for n in (2, 0))
    assert best["updates"] < last["updates"] == 400
    assert best["heldout_loss"] < last["heldout_loss"]
    assert best["training_loss"] > last["training_loss"]


def test_the_best_episodes_alone_are_cloned():
    """The best tenth, episodes 18 and 19, does the opposite of the others."""

    def rule(frames):
        actions = by_sign(frames)
        actions[180:] = 1 - actions[180:]
        return actions

    log = log_of(rule, length=10)
    learned = clone(log, CloneSettings(**QUICK, best=10, holdout=0, patience=0), [0])
    frames = np.random.default_rng(9).normal(size=(500, 2)).astype(np.float32)
    expert = Function(by_sign, gym.spaces.Discrete(2), "sign")
    assert agreement(learned.policies[0], expert, frames, gym.spaces.Discrete(2)) < 0.4  # of all: above 0.6
    assert learned.facts[0]["rows"] == 20
    assert "heldout_loss" not in learned.facts[0]


def test_labels_are_learned_where_there_are_any():
    plain = log_of(by_sign)
    labelled = dataclasses.replace(plain, label=1 - plain.actions)
    frames = np.random.default_rng(9).normal(size=(500, 2)).astype(np.float32)
    expert, actions = Function(by_sign, gym.spaces.Discrete(2), "sign"), gym.spaces.Discrete(2)
    for imitate, low, high in (("auto", 0, 0.1), ("labels", 0, 0.1), ("actions", 0.9, 1)):
        learned = clone(labelled, CloneSettings(**QUICK, lr=0.01, imitate=imitate), [0])
        assert low <= agreement(learned.policies[0], expert, frames, actions) <= high
    with pytest.raises(UserError, match="no labels"):
        clone(plain, CloneSettings(imitate="labels"), [0])


def test_actions_need_not_begin_at_zero_and_masks_are_honoured():
    """Only actions 6 and 7 of 5, 6, 7 are legal: 5 gets no probability in the loss, and is never thought likely."""
    space = gym.spaces.Discrete(3, start=5)
    mask = np.tile([False, True, True], (220, 1))
    log = log_of(lambda frames: by_sign(frames) + 6, space=space, action_mask=mask)
    settings = CloneSettings(**QUICK, lr=0.01)
    learned = clone(log, settings, [0])
    assert learned.facts[0]["training_accuracy"] > 0.93
    weight, bias = learned.population.network.layers[-1]
    assert not weight[0, 0].any()  # no gradient ever reached it
    assert not bias[0, 0, 0]
    free = clone(dataclasses.replace(log, action_mask=None), settings, [0])
    assert free.population.network.layers[-1][1][0, 0, 0] < 0


@pytest.mark.parametrize("head", [None, "gaussian"])
def test_continuous_actions_are_learned(head):
    space = gym.spaces.Box(-1, 1, (1,))

    def rule(frames):
        return np.clip(0.5 * frames[:, :1], -1, 1)

    log = log_of(rule, episodes=40, space=space)
    learned = clone(log, CloneSettings(**{**QUICK, "updates": 300}, lr=0.01, head=head), [0, 1])
    frames = np.random.default_rng(9).normal(size=(500, 2)).astype(np.float32)
    error = shift(learned, Function(rule, space, "rule"), frames, space)
    assert (error < 0.01).all()
    assert 0 < learned.facts[0]["training_error"] < 0.01
    assert "training_accuracy" not in learned.facts[0]


def test_images_are_cloned():
    """A bright spot on the left or on the right."""
    space, generator = gym.spaces.Box(0, 255, (8, 8, 1), np.uint8), np.random.default_rng(0)
    side = generator.integers(0, 2, 110)
    frames = generator.integers(0, 100, (110, 8, 8, 1), np.uint8)
    frames[np.arange(110), 3, 1 + 5 * side] = 255
    log = log_of(by_sign, episodes=10)
    log = dataclasses.replace(
        log, observations=frames, observation_space=space, actions=side[np.arange(100) + np.arange(100) // 10]
    )
    settings = CloneSettings(updates=30, look_every=10, batch=32, width=32)
    both = clone(log, settings, [3, 4])
    assert both.population.stack is not None
    assert [fact["training_accuracy"] for fact in both.facts] == [1.0, 1.0]
    assert torch.equal(clone(log, settings, [4]).population.flat[0], both.population.flat[1])


def test_own_states_are_those_in_which_the_policy_acts():
    slots = make_slots({"id": "CartPole-v1", "kwargs": {}}, 3)
    always = Function(lambda frames: np.ones(len(frames), np.int64), slots.action_space, "right")
    frames = own_states(always, slots, np.array([1, 2, 3]), 500)
    single = gym.make("CartPole-v1")
    expected = []
    for seed in (1, 2, 3):
        frame, ended = single.reset(seed=seed)[0], False
        while not ended:
            expected.append(frame)
            frame, _, ended, _, _ = single.step(1)
    np.testing.assert_allclose(frames, expected)
    expert = Function(cartpole, slots.action_space, "expert")
    assert len(own_states(expert, slots, np.array([1, 2, 3]), 20)) == 60


@pytest.mark.parametrize(
    ("options", "episodes", "message"),
    [
        ({"holdout": 0.0}, 20, "patience looks at held-out episodes"),
        ({}, 1, "one episode alone leaves none to hold out"),
        ({"best": 5.0}, 20, "one episode alone"),
    ],
)
def test_what_cannot_be_done_is_refused(options, episodes, message):
    with pytest.raises(UserError, match=message):
        clone(log_of(by_sign, episodes=episodes), CloneSettings(**options), [0])


def test_impossible_options_and_logs_are_refused():
    for options in ({"best": 0.0}, {"best": 101.0}, {"patience": 0, "look_every": 5}):
        with pytest.raises(UserError, match="clone"):
            build(CloneSettings, options, "clone")
    with pytest.raises(UserError, match="one seed"):
        clone(log_of(by_sign), CloneSettings(), [])
    with pytest.raises(UserError, match="no steps"):
        clone(log_of(by_sign).select(np.zeros(0, np.int64)), CloneSettings(), [0])


def test_the_listener_hears_how_far_it_is():
    heard = []
    clone(
        log_of(by_sign), CloneSettings(**QUICK), [0], listen=lambda share, note: heard.append((round(share, 2), note))
    )
    assert heard == [(0.33, "20 updates"), (0.67, "40 updates"), (1.0, "60 updates")]
