"""Training on continuous actions from log to policy: exact going on, members by themselves, evaluation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.errors import UserError
from fqi.log import Log
from fqi.policy_specs import component
from fqi.reports.evaluation import evaluate
from fqi.run import Run
from fqi.training import configure, resume, train
from tests.fqi.training_kit import assert_same

SMALL = {"iterations": 3, "updates": 12, "width": 8, "depth": 1, "batch": 32, "workers": 1, "gamma": 0.9}
SMALL |= {"cem_samples": 8, "cem_elites": 3}


def pendulum_log(seed: int = 0) -> Log:
    """Six short pieces of Pendulum under random torques, cut by the time limit."""
    generator = np.random.default_rng(seed)
    lengths = np.full(6, 20)
    angle = generator.uniform(-np.pi, np.pi, 126)
    frames = np.stack([np.cos(angle), np.sin(angle), generator.uniform(-8, 8, 126)], 1, dtype=np.float32)
    return Log(
        observations=frames,
        actions=generator.uniform(-2, 2, (120, 1)).astype(np.float32),
        rewards=generator.uniform(-16, 0, 120),
        terminations=np.zeros(120, np.bool_),
        truncations=np.isin(np.arange(120), np.cumsum(lengths) - 1),
        lengths=lengths,
        observation_space=gym.spaces.Box(np.array([-1, -1, -8], np.float32), np.array([1, 1, 8], np.float32)),
        action_space=gym.spaces.Box(np.float32(-2), np.float32(2), (1,)),
        environment={"id": "Pendulum-v1", "kwargs": {}, "max_episode_steps": 10},
    )


LOG = pendulum_log()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(LOG, configure(LOG, flags=SMALL | {"seeds": 2}), tmp_path_factory.mktemp("whole") / "run")


def test_a_run_says_how_it_maximised(whole: Run) -> None:
    assert whole.record["status"] == "finished"
    assert whole.config.train.maximise == "cem"
    assert whole.config.heads == 2
    assert np.isfinite([row["training_loss"] for row in whole.metrics]).all()


def test_going_on_ends_with_the_same_bits(whole: Run, tmp_path) -> None:
    config = configure(LOG, flags=SMALL | {"seeds": 2, "iterations": 2})
    shorter = train(LOG, config, tmp_path / "run")
    assert_same(whole, resume(shorter, LOG, iterations=3))


def test_a_member_equals_the_run_of_its_seed_alone(tmp_path) -> None:
    # The rows held out are drawn from the run's own seed and are the same for all members: without, nothing is shared.
    both = train(LOG, configure(LOG, flags=SMALL | {"seeds": 2, "holdout": 0.0}), tmp_path / "both")
    alone = train(LOG, configure(LOG, flags=SMALL | {"seed": 1, "holdout": 0.0}), tmp_path / "alone")
    together, one = both.build(), alone.build()
    for number in both.rounds:
        both.load(together, number)
        alone.load(one, number)
        assert torch.equal(together.checkpoint()["weights"][2:], one.checkpoint()["weights"])
        assert torch.equal(together.checkpoint()["target_mean"][2:], one.checkpoint()["target_mean"])


@pytest.mark.parametrize("flags", [
    {"n_step": 3, "trace_decay": 0.5}, {"weights": "prioritised"}, {"cem_start": "box"}, {"target": "min"},
    {"patience": 1, "checks": 2}, {"stack": 2},
])  # fmt: skip
def test_other_settings_go_on_exactly_too(flags, tmp_path) -> None:
    full = train(LOG, configure(LOG, flags=SMALL | flags | {"iterations": 2}), tmp_path / "whole")
    half = train(LOG, configure(LOG, flags=SMALL | flags | {"iterations": 1}), tmp_path / "half")
    assert_same(full, resume(half, LOG, iterations=2))


def test_every_member_is_played_and_predicts(whole: Run) -> None:
    found = evaluate(whole, [1, 3], episodes=3)
    assert [(row["round"], row["member"]) for row in found] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert all(len(row["returns"]) == len(row["predicted"]) == 3 for row in found)
    assert np.isfinite([row["predicted"] for row in found]).all()
    again = evaluate(whole, [3], episodes=3)
    assert [row["returns"] for row in again] == [row["returns"] for row in found[2:]]


def test_a_run_is_a_policy(whole: Run) -> None:
    policy = component(f"run:{whole.path}@2", LOG.observation_space, LOG.action_space, LOG.environment).policy
    frames = np.asarray(LOG.observations)[:7]
    actions = policy.actions(frames, np.random.default_rng(0))
    assert actions.shape == (7, 1)
    assert actions.dtype == np.float32
    assert (np.abs(actions) <= 2).all()


def test_actions_without_bounds_are_refused() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (1,))
    free = Log(**{**{f: getattr(LOG, f) for f in LOG.__dataclass_fields__}, "action_space": space})
    with pytest.raises(UserError, match="bounded in each dimension"):
        configure(free)
