"""Policies on disk: taken back exactly, and refused when they are not what they say."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch

from fqi.baselines.cloning import clone
from fqi.baselines.dqn import offline_dqn
from fqi.baselines.saved import save_learned, saved_policies
from fqi.baselines.settings import CloneSettings, OfflineDqnSettings
from fqi.errors import UserError
from fqi.log import Log
from fqi.policy_specs import component
from tests.fqi.training_kit import walks

LOG = walks(6)


def continuous() -> Log:
    return Log(
        observations=LOG.observations,
        actions=np.random.default_rng(0).normal(3, 2, (LOG.steps, 1)).astype(np.float32),
        rewards=LOG.rewards,
        terminations=LOG.terminations,
        truncations=LOG.truncations,
        lengths=LOG.lengths,
        observation_space=LOG.observation_space,
        action_space=gym.spaces.Box(-9, 9, (1,)),
    )


def test_discrete_policies_come_back_as_they_were(tmp_path):
    learned = {
        "clone": clone(LOG, CloneSettings(updates=20, width=8, act="sample"), [0, 1, 2]),
        "dqn": offline_dqn(LOG, OfflineDqnSettings(updates=20, width=8, looks=0), [0, 1], None),
    }
    for name, one in learned.items():
        path = tmp_path / f"{name}.safetensors"
        save_learned(one, LOG.action_space, path)
        policies, observations, actions = saved_policies(path)
        assert (observations, actions) == (LOG.observation_space, LOG.action_space)
        for policy, before in zip(policies, one.policies, strict=True):
            assert np.array_equal(policy.probabilities(LOG.observations), before.probabilities(LOG.observations))
    spec = component(
        f"learned:{tmp_path}/clone.safetensors@2,epsilon=0.1", LOG.observation_space, LOG.action_space, None
    )
    assert spec.epsilon == 0.1
    same = learned["clone"].policies[2].probabilities(LOG.observations)
    assert np.array_equal(spec.policy.probabilities(LOG.observations), same)


def test_continuous_policies_keep_the_scale_of_their_actions(tmp_path):
    log = continuous()
    learned = clone(log, CloneSettings(updates=20, width=8), [0, 1])
    save_learned(learned, log.action_space, tmp_path / "it")
    draws = np.random.default_rng(0)
    for policy, before in zip(saved_policies(tmp_path / "it")[0], learned.policies, strict=True):
        assert np.array_equal(policy.actions(LOG.observations, draws), before.actions(LOG.observations, draws))


def test_files_that_are_not_what_they_say_are_refused(tmp_path):
    path = tmp_path / "it.safetensors"
    save_learned(clone(LOG, CloneSettings(updates=5, width=8), [0]), LOG.action_space, path)
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["fqi"])

    def changed(said, **more):
        path.write_bytes(safetensors.torch.save(tensors | more, {"fqi": json.dumps(header | said)}))
        with pytest.raises(UserError) as error:
            saved_policies(path)
        return str(error.value)

    assert "not a file of policies" in changed({"version": 9})
    assert "damaged" in changed({"sizes": "all"})
    assert "damaged" in changed({"observation_space": {"type": "Lamp"}})
    assert "expected the weights" in changed({"policies": 2})
    assert "need more weights" in changed({"sizes": [2, 100_000, 100_000, 2]})
    assert "expected policies" in changed({"kind": "wise"})
    assert "must be finite" in changed({}, weights=torch.full_like(tensors["weights"], torch.nan))
    path.write_bytes(b"noise")
    with pytest.raises(UserError, match="not a file of policies"):
        saved_policies(path)
    with pytest.raises(UserError, match="no such file"):
        saved_policies(tmp_path / "gone")
