"""Policies as users type them: every form, and one sentence for whatever is wrong."""

from __future__ import annotations

import dataclasses
import sys
import textwrap

import gymnasium as gym
import numpy as np
import pytest

from fqi.errors import UserError
from fqi.policies import Function, Greedy, Uniform
from fqi.policy_specs import component, imported, mixture
from fqi.run import Run
from fqi.scripted import EXPERTS
from tests.fqi.training_kit import config_of, walks

LOG = walks()
BOX, TWO = LOG.observation_space, LOG.action_space
CARTPOLE = gym.spaces.Box(-np.inf, np.inf, (4,))
FRAMES = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)


def of(spec, observations=BOX, actions=TWO, environment=None):
    return component(spec, observations, actions, environment)


@pytest.fixture
def run(tmp_path):
    """A run of two members with rounds 1 and 2: member 0 prefers action 0 in round 1, and 1 in round 2."""
    made = Run.create(tmp_path / "run", config_of(LOG, seeds=2), LOG, "", [])
    q = made.build()
    for number in (1, 2):
        bias = q.runs[0][1].network.layers[-1][1]  # [P, 1, A]
        bias.zero_()
        bias[:2, 0, number - 1] = 1
        bias[2:, 0, 2 - number] = 5
        made.write_round(number, q, [])
    return made.path


def test_a_member_of_a_run_plays_if_it_is_named(run):
    for suffix, action in (("@1,member=0", 0), ("@2,member=1,epsilon=0.5", 0), (",member=1", 0), ("@1,member=1", 1)):
        found = of(f"run:{run}{suffix}")
        assert found.policy.probabilities(FRAMES).argmax(1).tolist() == [action] * 5
    for spec, words in {
        ",member=2": "has no member 2; it has 0 to 1",
        "@2,member=x": "whole number, found 'x'",
    }.items():
        with pytest.raises(UserError, match=words):
            of(f"run:{run}{spec}")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, with a module of the user's."""
    (tmp_path / "mine_for_test.py").write_text(
        textwrap.dedent(
            """
            import numpy as np

            def act(frames):
                return np.ones(len(frames), np.int64)

            class Box:
                act = staticmethod(act)

            number = 3
            """
        )
    )
    (tmp_path / "broken_for_test.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("mine_for_test", "broken_for_test"):
        sys.modules.pop(name, None)


def test_random():
    found = of("random")
    assert isinstance(found.policy, Uniform)
    assert (found.name, found.epsilon, found.weight) == ("random", 0, 1)


@pytest.mark.parametrize(("suffix", "epsilon", "weight"), [
    (",epsilon=0.25", 0.25, 1),
    (",weight=3", 0, 3),
    (",epsilon=0.5,weight=2", 0.5, 2),
    (",weight=2,epsilon=1e-2", 0.01, 2),
])  # fmt: skip
def test_epsilon_and_weight_stand_behind_in_any_order(suffix, epsilon, weight):
    found = of("random" + suffix)
    assert (found.name, found.epsilon, found.weight) == ("random" + suffix, epsilon, weight)


@pytest.mark.parametrize("name", EXPERTS)
def test_scripted(name):
    expert = EXPERTS[name]
    space = gym.spaces.Box(-np.inf, np.inf, expert.observation_shape)
    frames = np.zeros((3, *expert.observation_shape), np.float32)
    by_name = of(f"scripted:{name}", space, expert.action_space)
    by_environment = of("scripted", space, expert.action_space, {"id": expert.environments[0]})
    for found in (by_name, by_environment):
        assert isinstance(found.policy, Function)
        if isinstance(expert.action_space, gym.spaces.Discrete):
            assert found.policy.probabilities(frames).sum(1).tolist() == [1, 1, 1]
        else:
            assert found.policy.actions(frames, np.random.default_rng(0)).shape == (3, *expert.action_space.shape)


def test_run_acts_by_its_first_member(run):
    for suffix, action in (("", 1), ("@1", 0), ("@2", 1)):
        found = of(f"run:{run}{suffix},epsilon=0.1")
        assert isinstance(found.policy, Greedy)
        assert found.policy.probabilities(FRAMES).argmax(1).tolist() == [action] * 5


def test_py_finds_modules_of_the_current_folder(here):
    for reference in ("mine_for_test:act", "mine_for_test:Box.act"):
        assert of(f"py:{reference}").policy.probabilities(FRAMES).tolist() == [[0, 1]] * 5


def test_a_mixture_of_several():
    class Slots:
        observation_space, action_space = BOX, TWO

    found = mixture(["random,weight=3", "random,epsilon=0.5"], Slots, None, "step")
    assert found.names == ("random,weight=3", "random,epsilon=0.5")
    assert found.weights.tolist() == [0.75, 0.25]
    assert found.per_step


@pytest.mark.parametrize(("spec", "message"), [
    ("", "expected random, scripted:NAME, run:DIR"),
    ("nobody", "policy 'nobody': expected random, scripted:NAME, run:DIR"),
    ("Random", "expected random"),
    ("random:x", "policy random takes no name, found 'x'"),
    ("random,epsilon=", "epsilon must be a number, found ''"),
    ("random,epsilon=much", "epsilon must be a number, found 'much'"),
    ("random,weight=1x", "weight must be a number, found '1x'"),
    ("random,epsilon=.1,epsilon=.2", "epsilon is given twice"),
    ("random,noise=1", "expected random"),
    ("random,noise=1,epsilon=.1", "expected random"),
    ("epsilon=.1", "expected random"),
    ("scripted:nobody", "there is no scripted policy 'nobody': choose one of cartpole"),
    ("scripted", "no scripted policy is shipped for this environment; there are cartpole"),
    ("scripted:cartpole", "the scripted policy 'cartpole' is for"),
    ("run:", "has no run.json|not a run directory|no such run"),
    ("run:nowhere", "nowhere: no such run"),
    ("run:{run}@", "the round behind @ must be a whole number, found ''"),
    ("run:{run}@last", "the round behind @ must be a whole number, found 'last'"),
    ("run:{run}@-1", "the round behind @ must be a whole number, found '-1'"),
    ("run:{run}@²", "the round behind @ must be a whole number"),
    ("run:{run}@7", "has no round 7; it has 1 to 2"),
    ("py:", "expected py:MODULE:CALLABLE"),
    ("py:mine_for_test", "expected py:MODULE:CALLABLE"),
    ("py::act", "expected py:MODULE:CALLABLE"),
    ("py:mine_for_test:", "expected py:MODULE:CALLABLE"),
    ("py:nobody_at_all:act", "module 'nobody_at_all' cannot be imported"),
    ("py:broken_for_test:act", "module 'broken_for_test' cannot be imported: No module named 'nothing_of_that_name'"),
    ("py:.mine:act", r"module '\.mine' cannot be imported"),
    ("py:mine_for_test:nothing", "has no callable 'nothing'"),
    ("py:mine_for_test:number", "has no callable 'number'"),
    ("sb3:", "expected sb3:ALGO:ZIP"),
    ("sb3:PPO", "expected sb3:ALGO:ZIP"),
    ("sb3:PPO:none.zip", "no such file: none.zip"),
    ("sb3:PPO:mine_for_test.py", r"needs stable-baselines3: pip install 'fqi\[sb3\]'"),
])  # fmt: skip
def test_what_is_wrong_is_named(spec, message, run, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=message) as found:
        of(spec.replace("{run}", str(run)))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("options", ["epsilon=-1", "epsilon=1.5", "epsilon=nan", "weight=0", "weight=-1", "weight=inf"])
def test_numbers_out_of_bounds_are_refused(options):
    class Slots:
        observation_space, action_space = BOX, TWO

    name = options.split("=")[0]
    with pytest.raises(UserError, match=f"{options}: {name} must"):
        mixture([f"random,{options}"], Slots, None, "episode")


@pytest.mark.parametrize(("observations", "actions"), [
    (gym.spaces.Box(-1, 1, (3,)), TWO),
    (gym.spaces.Discrete(2), TWO),
    (gym.spaces.Dict({"x": BOX}), TWO),
    (BOX, gym.spaces.Discrete(3)),
    (BOX, gym.spaces.Box(0, 1, (1,))),
])  # fmt: skip
def test_a_run_trained_for_something_else_is_refused(observations, actions, run):
    with pytest.raises(UserError, match="trained for other observations or actions"):
        of(f"run:{run}", observations, actions)


def test_a_run_on_fewer_states_is_refused(tmp_path):
    # Both spaces have the shape (): only their number of states tells them apart.
    states = dataclasses.replace(LOG, observations=np.zeros(len(LOG.observations), np.int64),
                                 observation_space=gym.spaces.Discrete(4))  # fmt: skip
    made = Run.create(tmp_path / "run", config_of(LOG), states, "", [])
    made.write_round(1, made.build(), [])
    assert isinstance(of(f"run:{made.path}", gym.spaces.Discrete(4)).policy, Greedy)
    with pytest.raises(UserError, match="trained for other observations"):
        of(f"run:{made.path}", gym.spaces.Discrete(9))


def test_bounds_of_boxes_may_differ(run):
    assert isinstance(of(f"run:{run}", gym.spaces.Box(-9, 9, (2,))).policy, Greedy)


def test_random_needs_bounds_where_actions_are_continuous():
    assert isinstance(of("random", actions=gym.spaces.Box(-1, 1, (2,))).policy, Uniform)
    with pytest.raises(UserError, match="random needs a bounded action space"):
        of("random", actions=gym.spaces.Box(-np.inf, 1, (2,)))


def test_imported_names_what_it_was_for(here):
    with pytest.raises(UserError, match="features py:mine_for_test: expected py:MODULE:CALLABLE"):
        imported("mine_for_test", "features")
    assert imported("mine_for_test:act", "features")(FRAMES).tolist() == [1] * 5
