"""DAgger: who acts, who is asked and how often, what is kept, and that it learns."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi.baselines.cloning import clone
from fqi.baselines.dagger import dagger
from fqi.baselines.settings import CloneSettings, DaggerSettings
from fqi.datasets.store import read_log, write_log
from fqi.environments.make import make_slots
from fqi.environments.single import SingleSlots
from fqi.errors import UserError
from fqi.policies import Function, Policy
from fqi.scripted import cartpole, pendulum
from tests.datasets.helpers import assert_same, played

CARTPOLE = {"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500}
QUICK = {"iterations": 3, "steps": 40, "updates": 20, "width": 16, "batch": 32}
BALANCE = gym.spaces.Discrete(2)


class Counting(Policy):
    """The scripted expert, unsure by a tenth; counts what it is asked."""

    def __init__(self):
        self.asked = 0

    def probabilities(self, frames):
        self.asked += len(frames)
        return 0.1 + 0.8 * Function(cartpole, BALANCE, "expert").probabilities(frames)

    def actions(self, frames, draws):
        raise AssertionError("the actions are Discrete")


def expert():
    return Function(cartpole, BALANCE, "expert")


def test_it_learns_to_balance_from_nothing():
    settings = DaggerSettings(iterations=3, steps=400, updates=200)
    heard = []
    learned = dagger(
        None, CARTPOLE, expert(), settings, [0, 1], 500, None, listen=lambda share, note: heard.append((share, note))
    )
    assert [row["agreement"] for row in learned.curve[:2]] == [None, None]  # nothing was learned yet
    assert all(row["agreement"] > 0.8 for row in learned.curve[-2:])
    assert heard[-1] == (1.0, "iteration 3")


def test_every_state_is_labelled_by_one_query_whoever_acts():
    for beta in ("first", "linear", "power:0.5", "none"):
        counting = Counting()
        learned = dagger(None, CARTPOLE, counting, DaggerSettings(**QUICK, beta=beta), [3, 4], 500, None)
        assert counting.asked == 2 * 3 * 40
        assert (learned.queries, learned.steps, learned.updates) == (120, 120, 60)
        for log in learned.logs:
            assert log.steps == 120
            assert log.label.tolist() == cartpole(log.observations[log.frame_of_step]).tolist()


@pytest.mark.parametrize(
    ("beta", "shares"),
    [("first", [1, 0, 0]), ("linear", [1, 0.5, 0]), ("power:0.5", [1, 0.5, 0.25]), ("none", [0] * 3)],
)
def test_who_acts_and_how_likely_that_was(beta, shares):
    learned = dagger(None, CARTPOLE, Counting(), DaggerSettings(**QUICK, beta=beta, act="sample"), [3], 500, None)
    assert [row["beta"] for row in learned.curve] == shares
    log = learned.logs[0]
    assert log.behaviours == ("expert", "learner")
    for i, share in enumerate(shares):
        learner_acted = log.behaviour[40 * i : 40 * (i + 1)].mean()
        assert abs(learner_acted - (1 - share)) < (0.25 if 0 < share < 1 else 1e-9)
    first, taken = log.propensity[:40], (log.actions == log.label)[:40]
    if beta == "none":  # a new network holds both actions for equally likely
        assert first.tolist() == [0.5] * 40
    else:  # the expert's probabilities, and it does the less likely thing at times
        np.testing.assert_allclose(first, np.where(taken, 0.9, 0.1))
        assert 0 < taken.mean() < 1


def test_propensities_weigh_expert_and_learner():
    """The learner, which never learns (its rate is tiny), holds both actions for equally likely."""
    settings = DaggerSettings(**QUICK, beta="power:0.5", act="sample", lr=1e-30)
    log = dagger(None, CARTPOLE, expert(), settings, [3], 500, None).logs[0]
    second = slice(40, 80)
    agreed = log.actions[second] == log.label[second]
    assert log.propensity[second].tolist() == np.where(agreed, 0.75, 0.25).tolist()


def test_a_seeds_bits_do_not_depend_on_its_neighbours():
    settings = DaggerSettings(**QUICK, beta="power:0.5", act="sample")
    many = dagger(None, CARTPOLE, Counting(), settings, [5, 6, 7], 30, None)
    for p, seed in enumerate([5, 6, 7]):
        alone = dagger(None, CARTPOLE, Counting(), settings, [seed], 30, None)
        assert torch.equal(alone.population.flat[0], many.population.flat[p])
        assert_same(alone.logs[0], many.logs[p])
        assert [r for r in many.curve if r["seed"] == seed] == alone.curve
    assert (many.logs[0].lengths <= 30).all()


def test_episodes_go_on_from_one_iteration_to_the_next():
    log = dagger(None, CARTPOLE, expert(), DaggerSettings(**QUICK, beta="power:1"), [0], 500, None).logs[0]
    assert log.lengths.tolist() == [120]
    assert log.truncations.tolist() == [False] * 119 + [True]
    assert log.environment == CARTPOLE
    assert log.provenance["dagger"]["seed"] == 0


def test_a_given_log_is_labelled_first_and_kept_in_front():
    log, counting = played("CartPole-v1", 60), Counting()
    settings = DaggerSettings(**QUICK)
    learned = dagger(log, CARTPOLE, counting, settings, [0, 1], 500, None)
    assert counting.asked == log.steps + 2 * 120  # its labels are asked for once, and counted for each seed
    assert learned.queries == log.steps + 120
    assert learned.updates == 4 * 20
    assert learned.curve[0]["agreement"] is not None
    whole = learned.logs[1]
    assert whole.steps == log.steps + 120
    assert whole.actions[: log.steps].tolist() == log.actions.tolist()
    assert whole.behaviours[-2:] == ("expert", "learner")
    assert whole.label.tolist() == cartpole(whole.observations[whole.frame_of_step]).tolist()
    alone = dagger(log, CARTPOLE, Counting(), settings, [1], 500, None)
    assert torch.equal(alone.population.flat[0], learned.population.flat[1])


def test_its_log_comes_back_from_disk_and_its_labels_can_be_cloned(tmp_path):
    log = dagger(None, CARTPOLE, expert(), DaggerSettings(**QUICK), [0], 10, None).logs[0]
    write_log(log, tmp_path / "dagger.h5")
    again = read_log(tmp_path / "dagger.h5", verify=True)
    assert_same(again, log)
    assert again.label.tolist() == log.label.tolist()
    assert clone(again, CloneSettings(updates=100, lr=0.01), [0]).facts[0]["training_accuracy"] > 0.8
    write_log(dataclasses.replace(log, label=None), tmp_path / "plain.h5")
    assert read_log(tmp_path / "plain.h5").label is None


def test_a_judge_sees_the_policies_after_every_iteration():
    seen = []

    def judge(policies):
        seen.append([float(p.probabilities(np.zeros((1, 4), np.float32)).sum()) for p in policies])
        return np.array([[1.0, 3.0], [2.0, 4.0]])

    learned = dagger(None, CARTPOLE, expert(), DaggerSettings(**QUICK), [7, 8], 500, judge)
    assert seen == [[1.0, 1.0]] * 3
    assert [(row["seed"], row["iteration"], row["return"]) for row in learned.curve[:3]] == [
        (7, 1, 2.0),
        (8, 1, 3.0),
        (7, 2, 2.0),
    ]
    assert [row["queries"] for row in learned.curve[::2]] == [40, 80, 120]


def test_a_cold_start_is_another_way():
    warm, cold = (
        dagger(None, CARTPOLE, expert(), DaggerSettings(**QUICK, start=start), [0], 500, None).population.flat
        for start in ("warm", "cold")
    )
    assert not torch.equal(warm, cold)


@pytest.mark.parametrize("head", [None, "gaussian"])
def test_continuous_actions(head):
    world = {"id": "Pendulum-v1", "kwargs": {}, "max_episode_steps": 200}
    space = make_slots(world, 1).action_space
    settings = DaggerSettings(iterations=2, steps=150, updates=150, beta="linear", head=head)
    teacher = Function(pendulum, space, "expert")
    learned = dagger(None, world, teacher, settings, [0, 1], 200, None)
    log = learned.logs[0]
    assert log.propensity is None
    assert log.label.shape == (300, 1)
    np.testing.assert_array_equal(log.label, pendulum(log.observations[log.frame_of_step]))
    np.testing.assert_array_equal(log.actions[:150], log.label[:150])
    assert learned.curve[0]["difference"] is None
    assert learned.curve[2]["difference"] > 0
    alone = dagger(None, world, teacher, settings, [1], 200, None)
    assert torch.equal(alone.population.flat[0], learned.population.flat[1])


def test_actions_need_not_begin_at_zero():
    class Shifted(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,))
        action_space = gym.spaces.Discrete(2, start=3)

        def reset(self, *, seed=None, options=None):
            self.place = np.random.default_rng(seed).uniform(-1, 1, 1).astype(np.float32)
            return self.place, {}

        def step(self, action):
            assert action in (3, 4)
            return self.reset(seed=int(abs(self.place[0]) * 1e6))[0], 0.0, False, False, {}

    slots = SingleSlots(1, Shifted)
    sign = Function(lambda frames: 3 + (frames[:, 0] > 0), slots.action_space, "sign")
    learned = dagger(None, slots, sign, DaggerSettings(**{**QUICK, "updates": 100}, lr=0.01), [0], 7, None)
    assert set(learned.logs[0].actions.tolist()) == {3, 4}
    assert learned.logs[0].lengths.tolist() == [7] * 17 + [1]
    assert learned.curve[-1]["agreement"] > 0.8


@pytest.mark.parametrize("beta", ["half", "power", "power:", "power:2", "power:x", "power:nan", "first:1"])
def test_a_wrong_beta_is_refused(beta):
    with pytest.raises(UserError, match="beta"):
        dagger(None, CARTPOLE, expert(), DaggerSettings(beta=beta), [0], 500, None)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="expected 2 slots, found 1"):
        dagger(None, make_slots(CARTPOLE, 1), expert(), DaggerSettings(), [0, 1], 500, None)
    with pytest.raises(UserError, match=r"the log's observations are .* the environment that the log was collected in"):
        dagger(played("Acrobot-v1", 10), CARTPOLE, expert(), DaggerSettings(), [0], 500, None)
    log = played("CartPole-v1", 10)
    masked = dataclasses.replace(log, action_mask=np.ones((log.steps + log.episodes, 2), np.bool_))
    with pytest.raises(UserError, match="the log says which actions are legal, the environment does not"):
        dagger(masked, CARTPOLE, expert(), DaggerSettings(), [0], 500, None)
    with pytest.raises(UserError, match="one seed"):
        dagger(None, CARTPOLE, expert(), DaggerSettings(), [], 500, None)


class Forbidding(gym.Env):
    """Three actions, of which the first is never legal and the third only where the frame is positive."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.draws = np.random.default_rng(seed)
        return self._frame()

    def _frame(self):
        frame = self.draws.uniform(-1, 1, 1).astype(np.float32)
        self.legal = np.array([False, True, frame[0] > 0])
        return frame, {"action_mask": self.legal}

    def step(self, action):
        if not self.legal[action]:
            raise AssertionError("an illegal action was played")
        frame, info = self._frame()
        return frame, 0.0, False, False, info


def test_what_is_illegal_is_neither_played_nor_learned():
    everything = Function(lambda frames: np.full((len(frames), 3), 1 / 3), Forbidding.action_space, "all")
    settings = DaggerSettings(**QUICK, beta="power:0.5", act="sample")
    learned = dagger(None, SingleSlots(1, Forbidding), everything, settings, [0], 7, None)
    log = learned.logs[0]
    positive = log.observations[:, 0] > 0
    assert log.action_mask.tolist() == [[False, True, bool(up)] for up in positive]
    assert log.label.tolist() == [1] * 120  # the first of the legal ones, all being equally likely
    assert set(log.propensity[:40].tolist()) == {0.5, 1.0}
    weight, bias = learned.population.network.layers[-1]
    assert not weight[0, 0].any()  # no gradient ever reached it
    assert not bias[0, 0, 0]
    again = dagger(log, SingleSlots(1, Forbidding), everything, settings, [0], 7, None)
    assert again.logs[0].action_mask.tolist()[: len(log.action_mask)] == log.action_mask.tolist()
    plain = dataclasses.replace(log, action_mask=None)
    with pytest.raises(UserError, match="the environment says which actions are legal, the log does not"):
        dagger(plain, SingleSlots(1, Forbidding), everything, settings, [0], 7, None)
