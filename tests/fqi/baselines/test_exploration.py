"""How often DQN acts at random, for how long, and what it says of the chances."""

from __future__ import annotations

import numpy as np
import pytest

from fqi.baselines.exploration import Exploration
from fqi.baselines.settings import DqnSettings

SEEDS, ACTIONS = (0, 1, 2, 3), 3


def acted(repeat: int, epsilon: float, steps: int, warmup: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Actions and probabilities [steps, P] of four seeds whose greedy action is always 2."""
    settings = DqnSettings(
        steps=steps, warmup=warmup, epsilon_start=epsilon, epsilon_end=epsilon, exploration_repeat=repeat
    )
    exploration, best = Exploration(settings, SEEDS, ACTIONS, 3), np.full(len(SEEDS), 2)
    rows = [exploration.act(t, None if t <= warmup else best) for t in range(1, steps + 1)]
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


@pytest.mark.parametrize("repeat", [1, 2, 16])
def test_the_share_of_random_steps_is_epsilon_however_long_an_action_is_kept(repeat: int) -> None:
    actions, _ = acted(repeat, epsilon=0.3, steps=20_000)
    # Two of three random actions are not the greedy one. 4 x 20,000 steps in spells of at most 16: error about .004.
    assert np.mean(actions != 2) == pytest.approx(0.3 * 2 / 3, abs=0.012)
    assert np.mean(actions == 0) == pytest.approx(0.1, abs=0.01)


def test_an_action_is_kept_for_at_most_the_steps_allowed() -> None:
    """Where no greedy action lies between two spells (epsilon 1), lengths are those of spells that may touch."""
    settings = DqnSettings(steps=4000, warmup=4000, exploration_repeat=5)
    exploration = Exploration(settings, SEEDS, ACTIONS, 3)
    rows = [exploration.act(t, None) for t in range(1, 4001)]
    chances = np.stack([row[1] for row in rows])[:, 0]
    begins = np.flatnonzero(chances < 1)  # a kept action has probability 1, a new one 1/3
    lengths = np.diff(begins)
    np.testing.assert_allclose(chances[begins], 1 / 3)
    assert lengths.min() == 1
    assert lengths.max() == 5
    np.testing.assert_allclose(np.bincount(lengths)[1:] / len(lengths), 0.2, atol=0.04)
    actions = np.stack([row[0] for row in rows])[:, 0]
    for start, length in zip(begins, lengths, strict=False):
        assert (actions[start : start + length] == actions[start]).all()


def test_probabilities_are_those_of_the_actions_given_what_was_done_before() -> None:
    actions, chances = acted(4, epsilon=0.5, steps=3000)
    begin = 0.5 / (0.5 + 0.5 * 2.5)  # a spell lasts 2.5 steps on average
    assert set(np.round(chances[1:].ravel(), 9)) == set(np.round([begin / 3, begin / 3 + 1 - begin, 1.0], 9))
    assert (chances[actions != 2] < 1).any()
    assert (chances[actions != 2] == 1).any()


def test_without_repeats_every_step_is_plain_epsilon_greedy() -> None:
    actions, chances = acted(1, epsilon=0.3, steps=500, warmup=100)
    np.testing.assert_allclose(chances[:100], 1 / 3)
    np.testing.assert_allclose(chances[100:], np.where(actions[100:] == 2, 0.7 + 0.1, 0.1))


def test_the_end_of_an_episode_ends_what_was_kept() -> None:
    settings = DqnSettings(steps=50, warmup=50, exploration_repeat=1000)
    exploration = Exploration(settings, SEEDS, ACTIONS, 3)
    exploration.act(1, None)
    exploration.ended(np.array([0, 1]))
    _, chances = exploration.act(2, None)
    np.testing.assert_allclose(chances, [1 / 3, 1 / 3, 1, 1])
