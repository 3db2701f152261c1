"""Replay: rows against `transitions`, draws against brute force."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fqi.baselines.replay import FLOOR, Draws, Experience, Latest, Proportional, SumTree, Uniform
from fqi.transitions import transitions

SPACE = gym.spaces.Box(-np.inf, np.inf, (1,))
ACTIONS = gym.spaces.Discrete(3, start=2)


def lived(seed, seeds, steps, gamma, n, ending=0.3, finish_every=1):
    """Random experience; each frame is the number of frames its seed saw before."""
    draws = np.random.default_rng(seed)
    experience = Experience(SPACE, ACTIONS, seeds, steps, gamma, n)
    seen = np.zeros(seeds)

    def frames(which):
        found = seen[which, None].astype(np.float32)
        seen[which] += 1
        return found

    everyone = np.arange(seeds)
    experience.begin(everyone, frames(everyone), everyone + 100)
    for t in range(steps):
        terminated = draws.random(seeds) < ending
        truncated = ~terminated & (draws.random(seeds) < ending)
        actions, rewards = draws.integers(3, size=seeds), draws.normal(size=seeds)
        experience.add(frames(everyone), actions, rewards, terminated, truncated, np.full(seeds, 0.5), t % 2)
        if t % finish_every == 0:
            experience.finish()
        ended = np.flatnonzero(terminated | truncated)
        if len(ended) and t + 1 < steps:
            experience.begin(ended, frames(ended), ended + 1000 * (t + 1))
    experience.finish()
    return experience


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 30), st.integers(1, 4), st.integers(1, 7),
       st.sampled_from([0.0, 0.2, 0.5]))  # fmt: skip
def test_rows_are_what_transitions_says_of_the_log(seed, seeds, steps, n, finish_every, ending):
    experience = lived(seed, seeds, steps, 0.9, n, ending, finish_every)
    rows = experience.rows()
    ready = max(steps - n + 1, 0)
    assert experience.ready == ready
    for p in range(seeds):
        log = experience.log(p, ("a", "b"), None, {})
        table = transitions(log, 0.9, n)
        mine = rows.base[p, 0] + np.arange(ready)
        np.testing.assert_array_equal(rows.action[mine], table.action[:ready])
        np.testing.assert_allclose(rows.returns[mine], table.returns[:ready], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rows.discount[mine], table.discount[:ready], rtol=1e-6)
        np.testing.assert_array_equal(rows.frames[rows.frame[mine]], log.observations[table.frame[:ready]])
        np.testing.assert_array_equal(rows.frames[rows.next_frame[mine]], log.observations[table.next_frame[:ready]])


def test_the_log_holds_everything_and_cuts_the_open_episode():
    experience = lived(0, 2, 40, 0.9, 1, ending=0.1)
    for p in range(2):
        log = experience.log(p, ("a", "b"), {"id": "X"}, {"why": 1})
        frames = log.steps + log.episodes
        assert log.steps == 40
        np.testing.assert_array_equal(log.observations[:, 0], np.arange(frames))  # none is missing, none stands twice
        assert log.actions.min() >= 2
        assert log.provenance["last_episode_cut"] == (not (experience.terminations | experience.truncations)[p, -1])
        assert log.terminations[-1] or log.truncations[-1]
        assert log.seeds[0] == 100 + p
        np.testing.assert_array_equal(log.behaviour, np.arange(40) % 2)


def test_truncation_bootstraps_and_termination_does_not():
    experience = Experience(SPACE, ACTIONS, 2, 2, 0.5, 2)
    frame = np.zeros((2, 1), np.float32)
    everyone = np.arange(2)
    experience.begin(everyone, frame, everyone)
    experience.add(frame + 1, everyone, np.ones(2), np.array([True, False]), np.array([False, True]), np.ones(2), 0)
    experience.begin(everyone, frame + 2, everyone)
    experience.add(frame + 3, everyone, np.full(2, 9.0), np.zeros(2, bool), np.zeros(2, bool), np.ones(2), 0)
    experience.finish()
    rows = experience.rows()
    first = rows.base[:, 0]
    np.testing.assert_array_equal(rows.returns[first], [1, 1])  # nothing of the next episode
    np.testing.assert_array_equal(rows.discount[first], [0, 0.5])  # the truncated one after one step of its two
    np.testing.assert_array_equal(rows.frames[rows.next_frame[first]], [[1], [1]])  # the final frame


def brute_force(values, share):
    """The leaf at this share of the whole, found by adding up."""
    return int(np.searchsorted(np.cumsum(values), share * values.sum(), "right"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_leaves_are_found_as_by_adding_up(leaves, seed):
    draws = np.random.default_rng(seed)
    tree, held = SumTree(3, leaves), np.zeros((3, leaves))
    for _ in range(4):
        where, values = draws.integers(leaves, size=(3, 5)), draws.integers(1, 9, size=(3, 5)).astype(float)
        tree.set(where, values)
        for p in range(3):
            held[p, where[p]] = values[p]
    shares = draws.random((3, 20))
    found = tree.find(shares)
    np.testing.assert_array_equal(tree.total[:, 0], held.sum(1))
    np.testing.assert_array_equal(tree.get(found), np.take_along_axis(held, found, 1))
    for p in range(3):  # small integers add up exactly
        assert found[p].tolist() == [brute_force(held[p], share) for share in shares[p]]


def test_an_empty_leaf_is_never_found():
    tree = SumTree(1, 8)
    tree.set(np.array([[2, 5]]), np.array([[0.1, 0.2]]))
    shares = np.array([[0, 1 / 3, np.nextafter(1 / 3, 0), np.nextafter(1, 0)]])
    assert set(tree.find(shares)[0].tolist()) <= {2, 5}


def test_rows_are_drawn_in_proportion_to_their_priorities():
    sampler = Proportional([0, 1], capacity=4, purpose=0, alpha=0.5, beta=0.4)
    sampler.admit(6)  # rows 2 to 5 are held
    rows = np.tile(np.arange(2, 6), (2, 1))
    sampler.learned(rows, np.array([[0.0, 1, -4, 9], [3, 3, 3, 3]]))
    priorities = np.array([FLOOR, 1 + FLOOR, 4 + FLOOR, 9 + FLOOR]) ** 0.5
    drawn, weights = sampler.draw(200_000, progress=0.5)
    expected = priorities / priorities.sum()
    frequencies = np.bincount(drawn[0] - 2, minlength=4) / drawn.shape[1]
    np.testing.assert_allclose(frequencies, expected, atol=0.005)
    np.testing.assert_allclose(np.bincount(drawn[1] - 2) / drawn.shape[1], 0.25, atol=0.005)
    exact = (4 * expected) ** -0.7  # beta half way from .4 to 1
    np.testing.assert_allclose(weights[0], (exact / exact.max())[drawn[0] - 2], rtol=1e-5)
    np.testing.assert_allclose(weights[1], 1)


def test_a_new_row_is_as_likely_as_the_likeliest_ever():
    sampler = Proportional([0], capacity=4, purpose=0, alpha=1.0, beta=1.0)
    sampler.admit(2)
    sampler.learned(np.array([[0, 1]]), np.array([[4.0, 1.0]]))
    sampler.learned(np.array([[0]]), np.array([[2.0]]))
    sampler.admit(3)
    np.testing.assert_allclose(sampler.tree.get(np.array([[0, 1, 2, 3]])), [[2 + FLOOR, 1 + FLOOR, 4 + FLOOR, 0]])
    sampler.admit(5)  # row 4 takes the place of row 0
    drawn, _ = sampler.draw(1000, 0.0)
    assert set(drawn[0].tolist()) == {1, 2, 3, 4}


def test_uniform_draws_among_the_latest():
    sampler = Uniform([0, 1], capacity=10, purpose=0)
    sampler.admit(4)
    assert set(sampler.draw(200, 0)[0].ravel().tolist()) == {0, 1, 2, 3}
    sampler.admit(25)
    assert set(sampler.draw(500, 0)[0][1].tolist()) == set(range(15, 25))


def test_latest_is_the_newest_row():
    sampler = Latest(2)
    sampler.admit(7)
    assert sampler.draw(1, 0)[0].tolist() == [[6], [6]]


@pytest.mark.parametrize("counts", [[3, 4, 20, 1], [28], [7] * 4])
def test_draws_do_not_depend_on_how_they_are_taken(counts):
    both = Draws([5, 6], purpose=1, block=8)
    found = np.concatenate([both.take(count).copy() for count in counts], 1)
    alone = Draws([6], purpose=1, block=8)
    np.testing.assert_array_equal(found[1], alone.take(28)[0])
    assert not np.array_equal(found[0], found[1])
