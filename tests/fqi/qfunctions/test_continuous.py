"""What a Q-function of continuous actions promises, as `test_contract.py` for Discrete ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch

from fqi.errors import UserError
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.maximise import Cem
from fqi.policies import Searched, greedy
from fqi.qfunctions.continuous import ContinuousMlp
from fqi.qfunctions.settings import MlpSettings
from fqi.transitions import Transitions, transitions
from fqi.values import VALUE_RULES, Value

CPU = torch.device("cpu")
SPACE = gym.spaces.Dict({"place": gym.spaces.Box(-4, 4, (2,), np.float32), "mode": gym.spaces.Discrete(3, start=1)})
BOX = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
SMALL = MlpSettings(width=8, updates=20, batch=16)
QUICK = Cem(samples=8, elites=3, acting=2)


def small_log(seed: int = 0) -> Log:
    """Twelve episodes of two to nine steps, of which every other one terminates."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 10, size=12)
    steps = int(lengths.sum())
    place = generator.normal(size=(steps + 12, 2)).clip(-4, 4).astype(np.float32)
    last = np.cumsum(lengths) - 1
    terminations, truncations = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    terminations[last[::2]], truncations[last[1::2]] = True, True
    return Log(
        observations={"mode": generator.integers(1, 4, size=steps + 12), "place": place},
        actions=generator.uniform(BOX.low, BOX.high, (steps, 2)).astype(np.float32),
        rewards=generator.normal(size=steps),
        terminations=terminations,
        truncations=truncations,
        lengths=lengths,
        observation_space=SPACE,
        action_space=BOX,
    )


def made(seeds: Any = (3, 4), workers: int = 1, cem: Cem = QUICK, settings: MlpSettings = SMALL) -> ContinuousMlp:
    return ContinuousMlp(settings, SPACE, BOX, seeds, CPU, cem, workers)


def run(
    q: ContinuousMlp, rows: Transitions, rounds: range, rule: str = "clipped", seeds: Any = (0,), bind: bool = True
) -> ContinuousMlp:
    if bind:
        q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    for _ in fitted_q_iteration(rows, q, Value(VALUE_RULES[rule], seeds), rounds):
        pass
    return q


def everything(q: ContinuousMlp, log: Log) -> torch.Tensor:
    return torch.cat([q.logged(), q.log_search(Value(VALUE_RULES["max"]), 9)], 1)


def test_values_are_finite_and_of_the_shape_they_promise() -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    q = run(made(), rows, range(1, 4))
    assert q.logged().shape == (2, log.steps)
    values = q.log_search(Value(VALUE_RULES["max"]), 4)
    assert values.shape == (2, log.steps + log.episodes)
    assert torch.isfinite(values).all()
    ahead = np.unique(rows.next_frame[rows.discount > 0])
    assert (values[:, ahead] != 0).all()
    other = np.setdiff1d(np.arange(values.shape[1]), ahead)  # starts and terminal frames, from which nobody bootstraps
    assert not values[:, other].any()


def test_the_fit_moves_towards_the_targets() -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    q = made(settings=MlpSettings(width=32, updates=200, batch=32))
    q.bind(rows, torch.ones(len(rows), dtype=torch.bool))
    targets = torch.from_numpy(rows.returns).float().expand(2, -1)
    q.fit(targets)
    assert (q.logged() - targets).square().mean() < 0.7 * (targets - targets.mean()).square().mean()


def test_what_is_said_of_an_action_is_what_was_fitted() -> None:
    """The score of the logged action in its own frame is the value of the row."""
    log = small_log()
    q = run(made(), transitions(log, 0.9), range(1, 3))
    frames: Any = {key: array[log.frame_of_step] for key, array in log.observations.items()}  # type: ignore[union-attr]
    actions = 2 * (log.actions - BOX.low) / (BOX.high - BOX.low) - 1
    found = q.score(frames)(torch.from_numpy(actions)[None, None, :, None].float())  # [1, P, B, 1]
    torch.testing.assert_close(found[0, :, :, 0], q.logged())
    alone = q.score(frames, slice(1, 2))(torch.from_numpy(actions)[None, None, :, None].float())
    torch.testing.assert_close(alone[0, 0, :, 0], q.logged()[1])


def test_the_search_is_worth_at_least_the_logged_action_nearby() -> None:
    """On average over the frames, the best of 64 x 2 tries beats the logged action by far."""
    log = small_log()
    rows = transitions(log, 0.9)
    q = run(made(cem=Cem()), rows, range(1, 4))
    values = q.log_search(Value(VALUE_RULES["max"]), 4)
    ahead = torch.from_numpy(np.intersect1d(rows.frame, rows.next_frame[rows.discount > 0]))
    at = torch.from_numpy(np.searchsorted(rows.frame, ahead.numpy()))
    assert (values[:, ahead] >= q.logged()[:, at] - 1e-2 * q.logged().std()).all()


def test_a_head_does_not_depend_on_those_beside_it() -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    both = run(made((3, 4)), rows, range(1, 4), "max", seeds=(0, 1))
    alone = run(made((4,)), rows, range(1, 4), "max", seeds=(1,))
    assert torch.equal(both.checkpoint()["weights"][1:], alone.checkpoint()["weights"])
    assert torch.equal(both.search.best[1:], alone.search.best)


@pytest.mark.parametrize("rule", [name for name, rule in VALUE_RULES.items() if rule.aim])
def test_the_same_seed_gives_the_same_bits_and_going_on_equals_not_stopping(rule: str) -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    whole = run(made(), rows, range(1, 5), rule)
    for stop in (1, 3):
        half = run(made(), rows, range(1, stop + 1), rule)
        resumed = made()
        resumed.bind(rows, torch.ones(len(rows), dtype=torch.bool))
        resumed.restore(half.checkpoint())
        resumed.restore_resume_state(safetensors.torch.load(safetensors.torch.save(half.resume_state())))
        run(resumed, rows, range(stop + 1, 5), rule, bind=False)
        for name, tensor in (whole.checkpoint() | whole.resume_state()).items():
            assert torch.equal(tensor, (resumed.checkpoint() | resumed.resume_state())[name]), name


def test_processes_do_not_change_a_bit() -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    cem = Cem(samples=2048, elites=3)  # two frames at a time, so that every process has its pieces
    one, two = made(cem=cem), made(workers=2, cem=cem)
    try:
        run(one, rows, range(1, 3))
        run(two, rows, range(1, 3))
        for name, tensor in (one.checkpoint() | one.resume_state()).items():
            assert torch.equal(tensor, (two.checkpoint() | two.resume_state())[name]), name
    finally:
        two.close()


def test_all_heads_at_once_say_what_each_says_alone() -> None:
    """As on a GPU: members and heads stacked, in blocks of all of them."""
    log = small_log()
    rows = transitions(log, 0.9)
    apart = run(made((3, 4, 5, 6)), rows, range(1, 4), seeds=(0, 1))
    value = Value(VALUE_RULES["clipped"], (0, 1))
    searches = [dataclasses.replace(apart.search, stacked=stacked) for stacked in (False, True)]
    found = []
    for search in searches:
        search.work(0, 1, value, 9, True)
        found.append((search.values.clone(), search.best.clone()))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-2, rtol=0)


def test_a_checkpoint_gives_the_same_policy_without_the_log() -> None:
    log = small_log()
    q = run(made(), transitions(log, 0.9), range(1, 3))
    again = made()
    again.restore(safetensors.torch.load(safetensors.torch.save(q.checkpoint())))
    draws = np.random.default_rng(0)
    first, second = (greedy(one).actions(log.observations, draws) for one in (q, again))
    assert isinstance(greedy(q), Searched)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (log.steps + log.episodes, 2)
    assert (first >= BOX.low).all()
    assert (first <= BOX.high).all()


def test_a_bad_resume_state_is_refused() -> None:
    log = small_log()
    rows = transitions(log, 0.9)
    q = run(made(), rows, range(1, 4))
    good = {name: tensor.clone() for name, tensor in q.resume_state().items()}
    for bad in ({"search_begin": good["search_begin"][:, 1:]}, {"search_begin": good["search_begin"] + 3}):
        with pytest.raises(UserError):
            q.restore_resume_state(good | bad)
    with pytest.raises(UserError):
        q.restore_resume_state({name: tensor for name, tensor in good.items() if name != "search_begin"})
    q.restore_resume_state(good)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(UserError, match="conservative sums over all actions"):
        made(settings=MlpSettings(conservative=1.0))
    with pytest.raises(UserError, match="bounded in each dimension, found Discrete"):
        ContinuousMlp(SMALL, SPACE, gym.spaces.Discrete(3), (3,), CPU, QUICK)


def test_the_best_action_of_a_known_task_is_learned() -> None:
    """One step: the reward is 1 - (a - s)², so that the best action is the state, and its value 1."""
    generator = np.random.default_rng(0)
    steps = 2000
    states = generator.uniform(-1, 1, (2 * steps, 1)).astype(np.float32)
    actions = generator.uniform(-1, 1, (steps, 1)).astype(np.float32)
    log = Log(
        observations=states,
        actions=actions,
        rewards=1 - np.square(actions[:, 0] - states[::2, 0]).astype(np.float64),
        terminations=np.ones(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
        lengths=np.ones(steps, np.int64),
        observation_space=gym.spaces.Box(-1, 1, (1,)),
        action_space=gym.spaces.Box(-1, 1, (1,)),
    )
    q = ContinuousMlp(
        MlpSettings(width=32, updates=600, batch=128), log.observation_space, log.action_space, (3, 4), CPU, Cem()
    )
    run(q, transitions(log, 0.9), range(1, 2))
    frames = np.linspace(-0.8, 0.8, 50, dtype=np.float32)[:, None]
    found = greedy(q).actions(frames, generator)
    assert np.abs(found - frames).mean() < 0.1
