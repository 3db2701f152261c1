"""Only what the behaviour does is valued and played, by counts and by a clone, before and after a break."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.log import Log
from fqi.policies import Greedy
from fqi.reports.evaluation import predictions
from fqi.run import Run
from fqi.training import configure, resume, train
from fqi.transitions import transitions
from tests.fqi.training_kit import SMALL, assert_same


def counted(times, space=None):
    """Steps of one state each: in state s the action a was taken times[s][a] times and paid a; the episode ended."""
    pairs = [(s, a) for s, row in enumerate(times) for a, n in enumerate(row) for _ in range(n)]
    s, a = (np.array(column) for column in zip(*pairs, strict=True))
    frames = np.repeat(s, 2)
    if space is not None:
        frames = np.stack([np.cos(frames), np.sin(frames)], 1).astype(np.float32)
    return Log(
        observations=frames, actions=a, rewards=a.astype(np.float64), terminations=np.zeros(len(s), np.bool_),
        truncations=np.ones(len(s), np.bool_), lengths=np.ones(len(s), np.int64),
        observation_space=space or gym.spaces.Discrete(len(times)), action_space=gym.spaces.Discrete(3),
    )  # fmt: skip


# State 0: action 2, the best paid, is rare; state 1: all alike; state 2: one action; state 3: 1 half as often as 0.
TIMES = [[10, 9, 1], [4, 4, 4], [0, 5, 0], [8, 4, 3]]
BOX = gym.spaces.Box(-1, 1, (2,))


def trained(log, share, path, **flags):
    """A run of three rounds, and its Q-function after the last one."""
    run = train(log, configure(log, flags={"iterations": 3, "gamma": 0.5, "constraint": share, **flags}), path)
    q = run.build()
    run.load(q, 3)
    return run, q


@pytest.mark.parametrize(("share", "expected"), [
    (0.05, [[True, True, True], [True] * 3, [False, True, False], [True, True, True]]),
    (0.3, [[True, True, False], [True] * 3, [False, True, False], [True, True, True]]),
    (0.5, [[True, True, False], [True] * 3, [False, True, False], [True, True, False]]),
    (1.0, [[True, False, False], [True] * 3, [False, True, False], [True, False, False]]),
])  # fmt: skip
def test_a_table_counts(share, expected, tmp_path):
    run, q = trained(counted(TIMES), share, tmp_path / "run")
    frames = np.arange(4)
    assert q.support(frames).tolist() == expected
    # A step stays in its state and pays its action: the best allowed one for ever, three rounds of gamma .5: 1.75 a.
    best = np.array([max(a for a in range(3) if row[a]) for row in expected])
    np.testing.assert_allclose(predictions(run, q, frames, 3)[0], best * 1.75)
    run.load(q, 3)
    assert Greedy(q).probabilities(frames).argmax(1).tolist() == best.tolist()


def test_others_ask_a_clone(tmp_path):
    # Fifty times as much, so that the clone's held-out episodes tell it enough: frequencies .5 .45 .05 in state 0, …
    log = counted([[50 * n for n in row] for row in TIMES], BOX)
    run, q = trained(log, 0.25, tmp_path / "run", regressor="trees", trees=5)
    frames = np.stack([np.cos(range(4)), np.sin(range(4))], 1).astype(np.float32)
    assert q.support(frames).tolist() == [[True, True, False], [True] * 3, [False, True, False], [True, True, True]]
    played = Greedy(q).probabilities(frames).argmax(1)
    assert played.tolist() == [1, 2, 1, 2]
    predicted = predictions(run, q, frames, 3)[0]
    np.testing.assert_allclose(predicted, played * 1.75, atol=1e-6)


@pytest.mark.parametrize("flags", [{}, {"n_step": 2, "n_step_rule": "importance", "propensities": "estimated"}])
def test_what_a_table_says_of_the_behaviour(flags, tmp_path):
    target = {} if flags else {"target": "expectile", "expectile": 0.75}
    run, q = trained(counted(TIMES), 0.0, tmp_path / "run", **flags, **target)
    wanted = np.array(TIMES) / np.sum(TIMES, 1, keepdims=True)
    np.testing.assert_allclose(q.chances(np.arange(4)), wanted, atol=1e-12)
    assert q.support(np.arange(4)).tolist() == [[n > 0 for n in row] for row in TIMES]  # a share of 0 forbids nothing
    if target:
        # Q = a + (V - of the state) / 2 for V of the round before; state 2: action 1 for ever. Three rounds: 1.75.
        assert predictions(run, q, np.array([2]), 3)[0, 0] == pytest.approx(1.75)
        # State 0, Q of the first round (0, 1, 2) taken 10, 9, 1 times: the expectile .75 is v with
        # .75 (9 (1 - v) + 1 (2 - v)) = .25 * 10 v, v = 8.25 / 10.
        run.load(q, 1)
        assert predictions(run, q, np.array([0]), 1)[0, 0] == pytest.approx(0.825)


def test_quantiles_look_ahead_to_likely_actions_only(tmp_path):
    log = counted([[50 * n for n in row] for row in TIMES], BOX)
    config = configure(log, flags=SMALL | {"constraint": 0.3, "loss": "quantile", "quantiles": 3})
    run = train(log, config, tmp_path / "run")
    q = run.build()
    q.bind(transitions(log, 0.5), torch.ones(log.steps, dtype=torch.bool))
    run.load(q, 4)
    assert q.q.rows.ahead.allowed.all()
    q.fit(torch.zeros(2, log.steps))
    assert torch.equal(q.q.rows.ahead.allowed, q.support(log.observations))
    assert not q.q.rows.ahead.allowed.all()


def test_a_clone_says_what_is_likely_under_the_masks(tmp_path):
    log = counted([[50 * n for n in row] for row in TIMES], BOX)
    mask = np.ones((log.steps + log.episodes, 3), np.bool_)
    mask[log.frame_of_step[log.actions != 2], 2] = False
    log = dataclasses.replace(log, action_mask=mask)
    flags = SMALL | {"n_step": 2, "n_step_rule": "importance", "propensities": "estimated"}
    config = configure(log, flags=flags)
    q = train(log, config, tmp_path / "run").build()
    q.bind(transitions(log, 0.5), torch.ones(log.steps, dtype=torch.bool))
    found = q.log_chances(0, len(mask))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found[~torch.from_numpy(mask)] == 0).all()


@pytest.mark.parametrize("flags", [SMALL, {"regressor": "table"}, {"regressor": "table", "target": "expectile"}])
def test_going_on_is_exact_and_learns_nothing_anew(flags, tmp_path, monkeypatch):
    log = counted(TIMES, None if "regressor" in flags else BOX)
    settings = flags | {"constraint": 0.3, "gamma": 0.9}
    whole = train(log, configure(log, flags=settings | {"iterations": 4}), tmp_path / "whole")
    half = train(log, configure(log, flags=settings | {"iterations": 2}), tmp_path / "half")

    def never(*_):
        raise AssertionError("the behaviour is in the checkpoint")

    monkeypatch.setattr("fqi.qfunctions.constrained.Cloned.learn", never)
    monkeypatch.setattr("fqi.qfunctions.constrained.Counted.learn", never)
    assert_same(whole, resume(Run.open(half.path), log, iterations=4))


def test_a_mask_and_a_clone_do_not_go_together(tmp_path):
    log = counted(TIMES, BOX)
    masked = dataclasses.replace(log, action_mask=np.ones((log.steps + log.episodes, 3), np.bool_))
    with pytest.raises(UserError, match=r"constraint: a cloned behaviour says nothing sure .* give constraint 0"):
        train(masked, configure(masked, flags=SMALL | {"constraint": 0.5}), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("counts", [torch.zeros(9), torch.ones(2), torch.full((9,), torch.nan)])
def test_checkpoints_are_checked(counts, tmp_path):
    run, q = trained(counted(TIMES), 0.3, tmp_path / "run")
    tensors = q.checkpoint()
    assert len(tensors["behaviour/counts"]) == 10
    tensors["behaviour/counts"] = counts.double()
    with pytest.raises(UserError, match="checkpoint"):
        run.build().restore(tensors)
