"""Mixtures: exact propensities by enumeration, draws that agree with them, blocks side by side."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

from fqi.behaviour import Blocks, Component, Mixture, sample
from fqi.errors import UserError
from fqi.policies import Function, Policy, Uniform

TWO = gym.spaces.Discrete(2)


class Fixed(Policy):
    """The same probabilities by frame: a row of a table for each number of a frame."""

    def __init__(self, *table):
        self.table = np.array(table, np.float64)

    def probabilities(self, frames):
        return self.table[frames[:, 0].astype(int)]

    def actions(self, frames, draws):
        return frames + draws.normal(size=frames.shape)


# Frame 0, 1 and 2 of an episode of three steps. The second policy never takes action 1 in frame 1.
FIRST = Fixed([0.9, 0.1], [0.2, 0.8], [0.5, 0.5])
SECOND = Fixed([0.3, 0.7], [1.0, 0.0], [0.25, 0.75])
FRAMES = [np.full((1, 1), t, np.float32) for t in range(3)]


class Chosen:
    """A generator whose uniform numbers are given."""

    def __init__(self, which, point):
        self.which, self.point = which, point

    def random(self, size):
        return np.full(size, self.point if isinstance(size, tuple) else self.which)


def product_of_propensities(mixture, sequence, component):
    """The product over an episode in which this component acts and these actions are taken; None where it cannot."""
    product = 1.0
    weights = np.cumsum(mixture.weights)
    for t, action in enumerate(sequence):
        c = component[t] if isinstance(component, tuple) else component
        exact = mixture._noisy(mixture.components[c], FRAMES[t])[0]
        if exact[action] == 0:
            return None
        point = exact[:action].sum() + exact[action] / 2
        acted = mixture.act(FRAMES[t], np.array([t == 0]), Chosen(weights[c] - 1e-9, point))
        assert acted.actions.tolist() == [action]
        assert acted.behaviour.tolist() == [c]
        product *= acted.propensity[0]
    return product


@pytest.mark.parametrize("epsilons", [(0, 0), (0.2, 0), (0.1, 0.5)])
def test_per_episode_the_product_is_the_probability_of_the_sequence(epsilons):
    components = [Component("a", FIRST, epsilons[0], 3), Component("b", SECOND, epsilons[1], 1)]
    mixture = Mixture(components, TWO)
    total = 0.0
    for sequence in itertools.product(range(2), repeat=3):
        # P(sequence) = sum over components of weight * product of its probabilities.
        of = [
            np.prod([(1 - c.epsilon) * c.policy.table[t][a] + c.epsilon / 2 for t, a in enumerate(sequence)])
            for c in components
        ]
        exact = 0.75 * of[0] + 0.25 * of[1]
        total += exact
        for component in range(2):  # whichever really acted, the propensities are the same
            found = product_of_propensities(mixture, sequence, component)
            if of[component] > 0:
                assert found == pytest.approx(exact, rel=1e-12)
            else:
                assert found is None
    assert total == pytest.approx(1)


def test_per_step_the_product_is_the_probability_of_the_sequence():
    mixture = Mixture([Component("a", FIRST, 0.1, 3), Component("b", SECOND, 0, 1)], TWO, per="step")
    for sequence in itertools.product(range(2), repeat=3):
        exact = 1.0
        for t, action in enumerate(sequence):
            exact *= 0.75 * (0.9 * FIRST.table[t][action] + 0.05) + 0.25 * SECOND.table[t][action]
        for components in itertools.product(range(2), repeat=3):
            found = product_of_propensities(mixture, sequence, components)
            assert found is None or found == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("per", ["episode", "step"])
def test_frequencies_agree_with_propensities(per):
    V = 40_000
    mixture = Mixture([Component("a", FIRST, 0.1, 3), Component("b", SECOND, 0, 1)], TWO, per)
    generator = np.random.default_rng(0)
    actions, product = [], np.ones(V)
    for t in range(3):
        acted = mixture.act(np.full((V, 1), t, np.float32), np.full(V, t == 0), generator)
        actions.append(acted.actions)
        product *= acted.propensity
        assert abs((acted.behaviour == 1).mean() - 0.25) < 0.01
    for sequence in itertools.product(range(2), repeat=3):
        same = np.all([a == s for a, s in zip(actions, sequence, strict=True)], axis=0)
        if same.any():
            exact = product[same][0]
            assert np.allclose(product[same], exact, rtol=1e-12)
            assert abs(same.mean() - exact) < 5 * np.sqrt(exact * (1 - exact) / V)  # five standard errors
    # The reciprocals of the propensities average to the number of possible sequences: all 8, given the noise.
    assert (1 / product).mean() == pytest.approx(8, rel=0.05)


def test_a_new_episode_forgets_what_was_seen():
    mixture = Mixture([Component("a", FIRST), Component("b", SECOND)], TWO)
    generator = np.random.default_rng(1)
    frames = np.repeat(FRAMES[0], 50, 0)
    first = mixture.act(frames, np.ones(50, np.bool_), generator)
    mixture.act(frames, np.zeros(50, np.bool_), generator)
    fresh = np.arange(50) % 2 == 0
    again = mixture.act(frames, fresh, generator)
    # In frame 0: .5 * (.9 + .3) = .6 for action 0, .4 for action 1, where nothing else is known.
    for acted, slots in ((first, np.arange(50)), (again, np.flatnonzero(fresh))):
        expected = np.where(acted.actions[slots] == 0, 0.6, 0.4)
        assert np.allclose(acted.propensity[slots], expected)
    assert not np.allclose(again.propensity[~fresh], np.where(again.actions[~fresh] == 0, 0.6, 0.4))


def test_within_an_episode_the_same_component_acts():
    mixture = Mixture([Component("a", FIRST), Component("b", SECOND)], TWO)
    generator = np.random.default_rng(2)
    chosen = [mixture.act(np.repeat(FRAMES[t], 99, 0), np.full(99, t == 0), generator).behaviour for t in range(3)]
    assert (chosen[0] == chosen[1]).all()
    assert (chosen[0] == chosen[2]).all()
    assert 20 < chosen[0].sum() < 80


def test_epsilon_and_spaces_that_begin_elsewhere():
    space = gym.spaces.Discrete(4, start=10)
    mixture = Mixture([Component("a", Function(lambda f: np.full(len(f), 12), space, "a"), epsilon=0.4)], space)
    acted = mixture.act(np.zeros((20_000, 1)), np.ones(20_000, np.bool_), np.random.default_rng(0))
    # .6 + .4 / 4 = .7 for action 12, .1 for each other.
    assert np.allclose(acted.propensity, np.where(acted.actions == 12, 0.7, 0.1))
    counts = np.bincount(acted.actions - 10, minlength=4) / 20_000
    assert np.abs(counts - [0.1, 0.1, 0.7, 0.1]).max() < 0.012


def test_an_action_of_probability_zero_is_never_drawn():
    class Edges:
        def random(self, shape):
            return np.linspace(0, 1, shape[0])[:, None]  # 0 and, beyond what a generator gives, 1

    probabilities = np.tile([0.0, 0.3, 0.0, 0.7, 0.0], (1001, 1))
    drawn = sample(probabilities, Edges())
    assert set(drawn.tolist()) == {1, 3}
    assert (drawn == 1).sum() in (300, 301)


def test_rounded_sums_do_not_lead_beyond_the_last_action():
    class One:
        def random(self, shape):
            return np.full(shape, np.nextafter(1, 0))

    assert sample(np.full((1, 10), 0.1), One()).tolist() == [9]
    assert sample(np.full((1, 3), 1 / 3), One()).tolist() == [2]


def test_propensities_of_a_function_are_those_it_is_drawn_with():
    # A softmax in single precision does not sum to 1 exactly.
    rough = np.array([[0.3, 0.7]], np.float32) * np.float32(1 + 4e-7)
    policy = Function(lambda f: np.repeat(rough, len(f), 0), TWO, "rough")
    assert policy.probabilities(np.zeros((3, 1))).sum(1) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(("component", "message"), [
    ({"epsilon": -0.1}, r"a: epsilon must lie in \[0, 1\], found -0.1"),
    ({"epsilon": 1.1}, "epsilon"),
    ({"epsilon": float("nan")}, "epsilon"),
    ({"weight": 0}, "weight must be a number greater than 0, found 0"),
    ({"weight": -1}, "weight"),
    ({"weight": float("nan")}, "weight"),
    ({"weight": float("inf")}, "weight"),
])  # fmt: skip
def test_wrong_components_are_named(component, message):
    with pytest.raises(UserError, match=message):
        Mixture([Component("a", FIRST, **component)], TWO)


def test_a_mixture_chooses_per_episode_or_step():
    with pytest.raises(UserError, match="per episode or per step, found 'day'"):
        Mixture([Component("a", FIRST)], TWO, per="day")


def test_blocks_act_side_by_side():
    # Slots 0-1 belong to the first actor, 2-3 to the second, whose components are numbered on.
    certain = [Component(f"always {a}", Function(lambda f, a=a: np.full(len(f), a), TWO, "f")) for a in (0, 1)]
    blocks = Blocks([Mixture(certain[:1], TWO), Mixture(certain[::-1], TWO)])
    assert blocks.names == ("always 0", "always 1", "always 0")
    generator = np.random.default_rng(3)
    seen = set()
    for _ in range(20):
        acted = blocks.act(np.zeros((4, 1)), np.ones(4, np.bool_), generator)
        assert acted.actions[:2].tolist() == [0, 0]
        assert acted.behaviour[:2].tolist() == [0, 0]
        assert acted.propensity.tolist() == [1, 1, 0.5, 0.5]
        assert (acted.actions[2:] == np.where(acted.behaviour[2:] == 1, 1, 0)).all()
        seen |= set(acted.behaviour[2:].tolist())
    assert seen == {1, 2}


def test_a_block_acts_as_if_it_were_alone():
    frames = np.zeros((6, 1), np.float32)
    fresh = np.ones(6, np.bool_)
    make = lambda: Mixture([Component("a", FIRST), Component("b", SECOND)], TWO)  # noqa: E731
    together = Blocks([make(), make()]).act(frames, fresh, np.random.default_rng(5))
    alone = make().act(frames[:3], fresh[:3], np.random.default_rng(5))
    assert together.actions[:3].tolist() == alone.actions.tolist()
    assert together.propensity[:3].tolist() == alone.propensity.tolist()


def test_continuous_actions_have_no_propensity_and_stay_in_bounds():
    space = gym.spaces.Box(-2, 2, (1,))
    far = Function(lambda f: np.full((len(f), 1), 9.0), space, "far")
    mixture = Mixture([Component("far", far, 0.5), Component("random", Uniform(space), 0)], space)
    acted = mixture.act(np.zeros((2000, 1)), np.ones(2000, np.bool_), np.random.default_rng(0))
    assert acted.propensity is None
    assert acted.actions.dtype == np.float32
    assert acted.actions.min() >= -2
    assert acted.actions.max() == 2
    # Half of the first component's actions are its own, clipped to 2.
    assert abs((acted.actions[acted.behaviour == 0] == 2).mean() - 0.5) < 0.06
    assert (acted.actions[acted.behaviour == 1] < 2).all()


def test_what_one_slot_draws_does_not_depend_on_who_acts_in_the_others():
    space = gym.spaces.Box(-100, 100, (1,))
    mixtures = [Mixture([Component("a", FIRST), Component("b", SECOND)], space) for _ in range(2)]
    frames = np.zeros((8, 1), np.float32)
    for mixture in mixtures:
        mixture.act(frames, np.ones(8, np.bool_), np.random.default_rng(0))
    # In the second, the first four slots begin anew at a moment when the others go on.
    found = [
        mixture.act(frames, np.arange(8) < count, np.random.default_rng(9)).actions[4:]
        for mixture, count in zip(mixtures, (0, 4), strict=True)
    ]
    assert np.array_equal(*found)


@pytest.mark.parametrize(("answer", "message"), [
    (np.array([0.0]), "must return 1 integer actions"),
    (np.array([2]), r"returned an action outside Discrete\(2\): 2"),
    (np.array([-1]), "outside"),
    (np.array([[0.4, 0.4]]), "do not sum to 1"),
    (np.array([[1.5, -0.5]]), "do not sum to 1"),
    (np.array([[np.nan, 1.0]]), "do not sum to 1"),
    (np.array([0, 1]), "must return 1 integer actions"),
    ("left", "must return 1 integer actions"),
])  # fmt: skip
def test_a_functions_wrong_answer_is_named(answer, message):
    with pytest.raises(UserError, match=message):
        Function(lambda frames: answer, TWO, "py:mine:act").probabilities(np.zeros((1, 1)))
