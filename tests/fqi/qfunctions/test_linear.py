"""Linear regression: ridge in closed form, and what each kind of feature makes."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import scipy.sparse
import torch

import fqi.qfunctions.linear
from fqi.errors import UserError
from fqi.features import make_features
from fqi.imports import trust
from fqi.log import Log
from fqi.nest import Array
from fqi.qfunctions.linear import LinearQ
from fqi.qfunctions.settings import LinearSettings
from fqi.transitions import Transitions, transitions
from tests.fqi.known import CPU, chain, iterate, step_log

PLANE = gym.spaces.Box(-10, 10, (2,), np.float64)


def linear(log: Log, features: str, ridge: float = 1e-9, seeds: tuple[int, ...] = (0,)) -> LinearQ:
    return LinearQ(LinearSettings(features, ridge), log.observation_space, log.action_space, seeds, CPU)


def plane_log(B: int = 200, actions: int = 2, seed: int = 0) -> Log:
    """One-step episodes at random places."""
    generator = np.random.default_rng(seed)
    places = generator.uniform(-3, 5, size=(2, B, 2))
    none = np.zeros(B, np.bool_)
    spaces: Any = types.SimpleNamespace(observation_space=PLANE, action_space=gym.spaces.Discrete(actions))
    return step_log(places[0], generator.integers(2, size=B), np.zeros(B), none, places[1], spaces)


def fitted(q: LinearQ, rows: Transitions, targets: Array) -> LinearQ:
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    q.fit(torch.from_numpy(targets).expand(q.heads, -1))
    return q


def test_three_state_chain_by_hand() -> None:
    # States are one-hot columns, so that linear regression is a table: Q* as in the tests of the table.
    log = chain()
    q = linear(log, "raw")
    iterate(q, transitions(log, 0.5), rounds=4)
    expected = torch.tensor([[0.125, 0.25], [0.125, 0.5], [0.25, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(q.values(np.arange(3))[0], expected, atol=1e-6, rtol=0)


def test_ridge_by_hand() -> None:
    # One column x = -1, 1 (already standard), y = 0, 2, two rows, ridge .5 a row: the bias is free, hence 1;
    # the weight is sum(x y) / (sum(x²) + 2 * .5) = 2 / 3.
    space: Any = types.SimpleNamespace(
        observation_space=gym.spaces.Box(-1, 1, (1,), np.float64), action_space=gym.spaces.Discrete(1)
    )
    x = np.array([[-1.0], [1.0]])
    log = step_log(x, np.zeros(2, np.int64), np.zeros(2), np.zeros(2, np.bool_), x, space)
    q = fitted(linear(log, "raw", ridge=0.5), transitions(log, 0.9), np.array([0.0, 2.0]))
    torch.testing.assert_close(q.values(x)[0, :, 0], torch.tensor([1 / 3, 5 / 3], dtype=torch.float64))


@pytest.mark.parametrize("features", ["polynomial:2", "polynomial:3"])
def test_a_quadratic_is_found_exactly_for_each_action(features: str) -> None:
    log = plane_log()
    rows = transitions(log, 0.9)
    x, y = np.asarray(log.observations).T

    def truth(x: Array, y: Array) -> Array:  # [B, A]
        return np.stack([2 + x - 3 * x * y, y**2 - x], axis=1)

    q = fitted(linear(log, features), rows, truth(x, y)[rows.frame, rows.action])
    np.testing.assert_allclose(q.values(log.observations)[0].numpy(), truth(x, y), atol=1e-5)


def test_slices_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    log = plane_log(B=2000)
    rows = transitions(log, 0.9)
    targets = np.sin(np.asarray(log.observations)[rows.frame, 0])
    for features in ("fourier:3", "tiles:4:4"):
        whole = fitted(linear(log, features, 1e-3), rows, targets)
        assert whole.cache is not None
        with monkeypatch.context() as patch:
            patch.setattr(fqi.qfunctions.linear, "CACHE", 0)
            patch.setattr(fqi.qfunctions.linear, "SLICE", 0)
            sliced = fitted(linear(log, features, 1e-3), rows, targets)
        assert sliced.cache is None
        assert len(list(sliced._slices())) > 10
        torch.testing.assert_close(whole.values(log.observations), sliced.values(log.observations))
        torch.testing.assert_close(sliced.log_values(300, 900), sliced.values(log.observations)[:, 300:900])


def test_an_action_without_rows_is_worth_nothing_and_never_chosen() -> None:
    log = plane_log(actions=3)
    rows = transitions(log, 0.9)
    q = fitted(linear(log, "raw"), rows, np.full(len(rows), -5.0))
    torch.testing.assert_close(q.values(log.observations)[0, :, :2], torch.full((400, 2), -5.0, dtype=torch.float64))
    assert (q.values(log.observations)[0, :, 2] == 0).all()
    support = q.support(log.observations)
    assert support is not None
    assert support[0].tolist() == [True, True, False]


# ---- features


def made(spec: str, frames: Array, space: gym.Space[Any] = PLANE, seed: int = 0) -> Array:
    features = make_features(spec, space)
    features.fit(frames, np.random.default_rng(seed))
    matrix = features(frames)
    assert matrix.shape == (len(frames), features.columns)
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


CORNERS = np.array([[0.0, 1.0], [0.0, 3.0], [4.0, 1.0], [4.0, 3.0]])  # ranges [0, 4] and [1, 3]; means 2, 2


def test_raw_features_are_standardised() -> None:
    np.testing.assert_allclose(made("raw", CORNERS), [[1, -1, -1], [1, -1, 1], [1, 1, -1], [1, 1, 1]])


def test_polynomial_features_are_every_monomial_on_minus_one_to_one() -> None:
    x, y = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1.0]]).T
    expected = np.stack([np.ones(4), x, y, x * x, x * y, y * y], axis=1)
    np.testing.assert_allclose(made("polynomial:2", CORNERS), expected)


def test_fourier_features_are_cosines_on_zero_to_one() -> None:
    # c = (0,0), (0,1), (1,0), (1,1): cos(pi c.x) is 1 or -1 at the corners.
    np.testing.assert_allclose(
        made("fourier:1", CORNERS), [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], atol=1e-12
    )


def test_radial_centres_cover_the_data_and_are_no_more_than_there_are_frames() -> None:
    matrix = made("radial:50:1", np.repeat(CORNERS, 3, axis=0))
    assert matrix.shape == (12, 1 + 4)
    np.testing.assert_allclose(matrix[:, 1:].max(0), 1)  # each corner is a centre
    # Standardised corners are 2 or sqrt(8) apart: exp(-4 / 2), exp(-8 / 2).
    np.testing.assert_allclose(np.sort(matrix[0, 1:]), [np.exp(-4), np.exp(-2), np.exp(-2), 1])


def test_a_row_has_one_tile_of_each_tiling() -> None:
    generator = np.random.default_rng(0)
    frames = generator.uniform(-3, 3, size=(500, 2))
    matrix = made("tiles:5:4", frames)
    assert (matrix.sum(1) == 1 + 5).all()
    assert (matrix.sum(0) > 0).all()  # only tiles that the data touches
    assert matrix.shape[1] <= 1 + 5 * 5 * 5


def test_frames_on_tiles_that_the_data_never_touched_keep_the_bias_alone() -> None:
    features = make_features("tiles:2:10", PLANE)
    features.fit(np.array([[0.0, 0.0], [1.0, 1.0]]), np.random.default_rng(0))
    matrix = features(np.array([[0.0, 1.0]]))
    assert scipy.sparse.issparse(matrix)
    assert matrix.sum() == 1


def test_a_constant_column_is_harmless() -> None:
    frames = np.array([[2.0, 1.0], [2.0, 3.0]])
    for spec in ("raw", "polynomial:2", "fourier:2", "radial:3:1", "tiles:2:2"):
        assert np.isfinite(made(spec, frames)).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fourier:3", r"fourier:3 make 1,048,576 features here, more than 10000"),
        ("polynomial:9", r"polynomial:9 make 92,378 features"),
        ("tiles:8:1000", r"tiles:8:1000 of 10 columns make more than 10\^15 tiles"),
        ("fourier:99999", r"more than 10\^15 features"),
    ],
)
def test_too_many_features_are_refused_by_number(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_features(spec, gym.spaces.Box(-1, 1, (10,)))


@pytest.mark.parametrize(
    "spec",
    ["", "wavelet:3", "raw:1", "fourier", "fourier:x", "fourier:0", "fourier:-1", "radial:3", "radial:3:nan",
     "radial:3:inf", "radial:3:1:1", "tiles:1.5:2", "polynomial:1000000"],
)  # fmt: skip
def test_names_that_say_nothing_are_refused(spec: str) -> None:
    with pytest.raises(UserError, match="features"):
        make_features(spec, PLANE)


def test_too_many_tiles_touched_are_refused() -> None:
    log = plane_log(B=6000)
    q = linear(log, "tiles:8:1000")
    with pytest.raises(UserError, match=r"tiles:8:1000 make \d\d,\d\d\d features here"):
        q.bind(transitions(log, 0.9), torch.ones(6000, dtype=torch.bool))


def test_hostile_checkpoints_are_refused() -> None:
    log = plane_log()
    q = fitted(linear(log, "tiles:2:3"), transitions(log, 0.9), np.ones(200))
    good = q.checkpoint()
    for change in (
        {"0/scale": -good["0/scale"]},
        {"0/offsets": good["0/offsets"] + 2},
        {"0/touched": good["0/touched"].flip(0)},
        {"0/touched": good["0/touched"][:-1]},
        {"0/touched": good["0/touched"] - 5},
        {"0/touched": good["0/touched"][:0]},
        {"0/weights": good["0/weights"][:-1]},
    ):
        with pytest.raises(UserError, match="checkpoint of a linear regressor"):
            linear(log, "tiles:2:3").restore({**good, **change})


# ---- the user's own


@pytest.fixture
def module() -> Iterator[Any]:
    """A module that can be imported by name."""
    made = types.ModuleType("features_of_a_user")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_a_callable_of_the_users_makes_the_features(module: Any) -> None:
    module.products = lambda frames: frames[:, :1] * frames[:, 1:]
    spec = "py:features_of_a_user:products"
    with pytest.raises(UserError, match="has not been allowed to run"):
        make_features("py:features_of_a_user:never_trusted", PLANE)
    trust(spec, "features")
    log = plane_log()
    rows = transitions(log, 0.9)
    x, y = np.asarray(log.observations).T
    truth = 1 + 2 * x * y
    q = fitted(linear(log, spec), rows, truth[rows.frame])
    np.testing.assert_allclose(q.values(log.observations)[0, :, 0].numpy(), truth, atol=1e-5)
    again = linear(log, spec)
    again.restore(q.checkpoint())
    assert torch.equal(again.values(log.observations), q.values(log.observations))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda frames: frames[:, 0], r"must make numbers of shape \[\d+, D\]"),
        (lambda frames: frames[:1], r"must make numbers of shape \[\d+, D\], found float64 \[1, 2\]"),
        (lambda frames: np.array([["a"]] * len(frames)), "must make numbers"),
        (lambda frames: frames / 0 * np.nan, "finite"),
        (lambda frames: np.ones((len(frames), 20_000)), "20,001 features"),
    ],
)
def test_wrong_features_of_a_user_are_refused(module: Any, function: Any, message: str) -> None:
    module.wrong = function
    trust("py:features_of_a_user:wrong", "features")
    log = plane_log()
    q = linear(log, "py:features_of_a_user:wrong")
    with pytest.raises(UserError, match=message), np.errstate(all="ignore"):
        q.bind(transitions(log, 0.9), torch.ones(200, dtype=torch.bool))


@pytest.mark.parametrize("spec", ["py:", "py:os", "py:no_such_module:f", "py:os:no_such_name", "py:os:sep", "raw"])
def test_what_cannot_be_called_cannot_be_trusted(spec: str) -> None:
    with pytest.raises(UserError, match="features"):
        trust(spec, "features")
