"""Trees: the same forests as scikit-learn's, packed and unpacked without loss, and hostile files refused."""

from __future__ import annotations

import types
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor

from fqi.errors import UserError
from fqi.log import Log
from fqi.nest import Array
from fqi.qfunctions.forest import LEAF, Forest, Packed
from fqi.qfunctions.settings import TreesSettings
from fqi.qfunctions.trees import TreesQ
from fqi.transitions import transitions
from tests.fqi.known import CPU, chain, iterate, step_log


def trees(log: Log, seeds: tuple[int, ...] = (0,), **settings: Any) -> TreesQ:
    return TreesQ(TreesSettings(jobs=1, **settings), log.observation_space, log.action_space, seeds, CPU)


def noisy_log(B: int, D: int = 3, seed: int = 0) -> Log:
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(2, B, D))
    space: Any = types.SimpleNamespace(
        observation_space=gym.spaces.Box(-9, 9, (D,), np.float64), action_space=gym.spaces.Discrete(2)
    )
    rewards = np.sin(3 * places[0, :, 0]) + generator.normal(size=B) / 10
    return step_log(places[0], generator.integers(2, size=B), rewards, np.zeros(B, np.bool_), places[1], space)


def grown(B: int = 500, count: int = 5, **settings: Any) -> tuple[Forest, Array, Any]:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(B, 3)).astype(np.float32)
    model = ExtraTreesRegressor(count, random_state=0, **settings).fit(x, x[:, 0] * x[:, 1])
    return Forest([tree.tree_ for tree in model.estimators_], 3), x, model


@pytest.mark.parametrize("settings", [{}, {"per": "pair"}, {"freeze_structure_after": 3}])
def test_three_state_chain_by_hand(settings: dict[str, Any]) -> None:
    # Fully grown trees tell the three states apart, so that the forest is a table: Q* as in the tests of the table.
    log = chain()
    q = trees(log, trees=3, **settings)
    iterate(q, transitions(log, 0.5), rounds=4)
    expected = torch.tensor([[0.125, 0.25], [0.125, 0.5], [0.25, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(q.values(np.arange(3))[0], expected)


def test_a_forest_predicts_as_scikit_learn_does() -> None:
    forest, x, model = grown()
    np.testing.assert_allclose(forest.predict(x, 1), model.predict(x), rtol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"min_samples_leaf": 7}, {"max_depth": 1}, {"min_samples_split": 10_000}])
def test_packing_loses_nothing(settings: dict[str, Any]) -> None:
    forest, x, _ = grown(**settings)
    again = Forest.unpack(forest.pack(), 3)
    new = np.random.default_rng(2).normal(size=(20_000, 3)).astype(np.float32)
    for rows in (x, new):
        assert np.array_equal(forest.leaves(rows, 1), again.leaves(rows, 1))
        assert np.array_equal(forest.predict(rows, 1), again.predict(rows, 1))
    for one, other in zip(forest.trees, again.trees, strict=True):
        assert np.array_equal(one.children_left, other.children_left)
        assert np.array_equal(one.children_right, other.children_right)
        assert np.array_equal(one.feature, other.feature)
        assert one.max_depth <= other.max_depth


def test_thresholds_between_neighbouring_numbers_survive_packing() -> None:
    x = np.array([[1.0], [np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    x = np.concatenate([x, -x, x * np.float32(1e30), x * np.float32(1e-40)])
    model = ExtraTreesRegressor(50, random_state=0).fit(x, np.arange(8.0))
    forest = Forest([tree.tree_ for tree in model.estimators_], 1)
    assert np.array_equal(forest.predict(x, 1), Forest.unpack(forest.pack(), 1).predict(x, 1))


def test_threads_do_not_change_bits() -> None:
    forest, _, _ = grown()
    x = np.random.default_rng(2).normal(size=(20_000, 3)).astype(np.float32)
    assert np.array_equal(forest.predict(x, 1), forest.predict(x, 3))
    assert np.array_equal(forest.leaves(x, 1), forest.leaves(x, 3))
    assert np.array_equal(forest.predict(x, 1), forest.predict_leaves(forest.leaves(x, 1), 3))
    log = noisy_log(300)
    rows = transitions(log, 0.9)
    made = []
    for jobs in (1, 2):
        q = TreesQ(TreesSettings(trees=6, jobs=jobs), log.observation_space, log.action_space, [0], CPU)
        iterate(q, rows, rounds=2)
        made.append(q.values(log.observations))
    assert torch.equal(*made)


def test_frozen_leaves_are_the_means_of_their_rows() -> None:
    # The same targets again: what scikit-learn put into the leaves is what the frozen structure finds.
    log = noisy_log(400)
    rows = transitions(log, 0.9)
    targets = torch.from_numpy(rows.returns)[None]
    q = trees(log, trees=5, leaf=4, freeze_structure_after=1)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    assert q.fit(targets)["grown"] == [1]
    before = q.log_values(0, 800)
    assert q.fit(targets)["grown"] == [0]
    torch.testing.assert_close(q.log_values(0, 800), before)
    q.fit(3 * targets + 1)
    torch.testing.assert_close(q.log_values(0, 800), 3 * before + 1)
    torch.testing.assert_close(q.values(log.observations), 3 * before + 1)


def test_directions_find_a_step_that_no_column_shows() -> None:
    # The target changes sign across the diagonal of two columns of very different units.
    generator = np.random.default_rng(0)
    places = generator.normal(size=(2, 3000, 2)) * [1.0, 1000.0]
    space: Any = types.SimpleNamespace(
        observation_space=gym.spaces.Box(-1e4, 1e4, (2,), np.float64), action_space=gym.spaces.Discrete(1)
    )
    none = np.zeros(3000, np.bool_)
    log = step_log(places[0], np.zeros(3000, np.int64), np.zeros(3000), none, places[1], space)
    rows = transitions(log, 0.9)

    def truth(x: Array) -> Array:
        return np.sign(x[:, 0] + x[:, 1] / 1000)

    errors = []
    for directions in (0, 8):
        q = trees(log, trees=10, directions=directions)
        q.bind(rows, torch.ones(3000, dtype=torch.bool))
        q.fit(torch.from_numpy(truth(places[0]))[None])
        errors.append(float(np.square(q.values(places[1])[0, :, 0].numpy() - truth(places[1])).mean()))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("space", [gym.spaces.Discrete(4), gym.spaces.Box(0, 1, (1,))])
def test_directions_need_two_columns(space: gym.Space[Any]) -> None:
    with pytest.raises(UserError, match="at least two measured columns"):
        TreesQ(TreesSettings(directions=2), space, gym.spaces.Discrete(2), [0], CPU)


def test_rounds_in_which_trees_are_grown() -> None:
    log = noisy_log(50)
    rows = transitions(log, 0.9)
    targets = torch.from_numpy(rows.returns)[None]
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 1, 1, 1, 1]),
        ({"freeze_structure_after": 2}, [1, 1, 0, 0, 0]),
        ({"regrow_every": 2}, [1, 0, 1, 0, 1]),
        ({"regrow_every": 2, "freeze_structure_after": 3}, [1, 0, 1, 0, 0]),
    ]
    for settings, expected in cases:
        q = trees(log, trees=1, **settings)
        q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
        assert [q.fit(targets)["grown"][0] for _ in range(5)] == expected


def test_rounds_grow_different_forests() -> None:
    log = noisy_log(100)
    rows = transitions(log, 0.9)
    q = trees(log, trees=2, leaf=5)
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    targets = torch.from_numpy(rows.returns)[None]
    q.fit(targets)
    first = q.values(log.observations)
    q.fit(targets)
    assert not torch.equal(first, q.values(log.observations))


# ---- hostile files


def good() -> Packed:
    """Two trees: a root with leaves 1 and 2 split at 0.5 on column 1; a single leaf 3."""
    return packed([3, 1], [1, LEAF, LEAF, LEAF], [0.5], [1.0, 2.0, 3.0])


def packed(nodes: list[int], feature: list[int], threshold: list[float], value: list[float]) -> Packed:
    return Packed(np.array(nodes), np.array(feature, np.int16), np.array(threshold, np.float32), np.array(value))


def test_unpacking_by_hand() -> None:
    x = np.array([[9, 0.4], [-9, 0.5], [0, 0.6]], np.float32)
    assert Forest.unpack(good(), 2).predict(x, 1).tolist() == [2.0, 2.0, 2.5]


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (packed([3, 2], [1, -1, -1, -1], [0.5], [1, 2, 3]), "nodes that add up to the 4 features"),
        (packed([4, 0], [1, -1, -1, -1], [0.5], [1, 2, 3]), "nodes that add up"),
        (packed([5, -1], [1, -1, -1, -1], [0.5], [1, 2, 3]), "nodes that add up"),
        (packed([3, 1], [2, -1, -1, -1], [0.5], [1, 2, 3]), "features from 0 to 1"),
        (packed([3, 1], [-2, -1, -1, -1], [0.5], [1, 2, 3]), "features from 0 to 1"),
        (packed([3, 1], [1, -1, -1, -1], [], [1, 2, 3]), "a threshold for each of 1 inner nodes"),
        (packed([3, 1], [1, -1, -1, -1], [0.5], [1, 2]), "a value for each of 3 leaves"),
        (packed([2, 2], [1, -1, -1, -1], [0.5], [1, 2, 3]), "in preorder"),  # the first tree lacks a subtree
        (packed([3, 1], [-1, 1, -1, -1], [0.5], [1, 2, 3]), "in preorder"),  # it ends before its nodes do
        (packed([4], [1, -1, -1, -1], [0.5], [1, 2, 3]), "in preorder"),
        (packed([2, 2], [1, 1, -1, -1], [0.5, 0.5], [1, 2]), "in preorder"),
    ],
)
def test_trees_that_cannot_be_are_refused(hostile: Packed, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Forest.unpack(hostile, 2)


def test_any_preorder_unpacks_to_children_that_exist() -> None:
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        feature = generator.choice([LEAF, 0, 1], size=7, p=[4 / 7, 1.5 / 7, 1.5 / 7]).astype(np.int16)
        inner = int((feature != LEAF).sum())
        try:
            forest = Forest.unpack(Packed(np.array([7]), feature, np.zeros(inner, np.float32), np.zeros(7 - inner)), 2)
        except ValueError:
            refused += 1
            continue
        tree = forest.trees[0]
        inside = feature != LEAF
        for children in (tree.children_left[inside], tree.children_right[inside]):
            assert ((children > np.flatnonzero(inside)) & (children < 7)).all()
        everyone = np.sort(np.concatenate([tree.children_left[inside], tree.children_right[inside]]))
        assert everyone.tolist() == list(range(1, 7))  # each node but the root has one parent
    assert 0 < refused < 500


def test_a_checkpoint_for_other_columns_is_refused() -> None:
    log = noisy_log(50)
    q = trees(log, trees=2)
    iterate(q, transitions(log, 0.9), rounds=1)
    checkpoint = q.checkpoint()
    checkpoint["feature"] = torch.where(checkpoint["feature"] == 2, 3, checkpoint["feature"]).to(torch.int16)
    with pytest.raises(UserError, match="checkpoint of trees: expected features from 0 to 2"):
        trees(log, trees=2).restore(checkpoint)
    with pytest.raises(UserError, match="nodes must be"):
        trees(log, trees=3).restore(q.checkpoint())
    with pytest.raises(UserError, match="fits must be at least 0"):
        q.restore_resume_state({"fits": torch.tensor([-1])})


def test_too_many_columns_are_refused() -> None:
    space = gym.spaces.Box(0, 1, (40_000,))
    with pytest.raises(UserError, match="no more than 32767 columns"):
        TreesQ(TreesSettings(), space, gym.spaces.Discrete(2), [0], CPU)
