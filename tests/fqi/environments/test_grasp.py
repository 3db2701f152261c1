"""Grasping by pixel: the rules on scenes worked by hand, the heap, the image, the oracle and the scripted policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fqi.environments.grasp import GREY, Setting, good_grasps, program, scenes
from fqi.environments.grasp_expert import grasping
from fqi.environments.grasp_geometry import BAR, DISC, ELL, Objects, heaped, heights, lifted, signed_distance
from fqi.environments.make import environment_record, make_slots
from fqi.errors import UserError
from fqi.nest import Array

SIZE = 24


def heap(*objects: tuple[int, float, float, float, float, float]) -> Objects:
    """One scene of (kind, x, y, angle, length, width), dropped in this order."""
    kind, x, y, angle, length, width = np.array(objects, np.float64).T[..., None]
    flat = np.zeros_like(x)
    return heaped(Objects(kind, x, y, np.cos(angle), np.sin(angle), length, width, flat, flat, flat), SIZE)


def tried(scene: Objects, x: float, y: float, degrees: float = 0.0) -> int:
    return int(lifted(scene, np.array([x]), np.array([y]), np.array([np.deg2rad(degrees)]))[0])


def test_distances_by_hand() -> None:
    scene = heap((DISC, 0, 0, 0, 3, 0), (BAR, 0, 0, np.pi / 2, 5, 2), (ELL, 0, 0, 0, 8, 2))
    points = np.array([[0.0, 5.0, 4.0]]), np.array([[0.0, 0.0, 8.0]])
    np.testing.assert_allclose(signed_distance(scene, 0, *points)[0], [-3, 2, np.sqrt(80) - 3], atol=1e-6)
    # The bar is turned upright: half as wide as 2 along x, as long as 5 along y.
    np.testing.assert_allclose(signed_distance(scene, 1, *points)[0], [-2, 3, np.hypot(2, 3)], atol=1e-6)
    # Each arm is 4 x 10 from its end to the corner's far side, both share 4 x 4: their common centre is
    # 40 * 3 / 64 = 1.875 from the corner's centre, which so lies at (-1.875, -1.875): 2 from the sides of both arms.
    np.testing.assert_allclose(signed_distance(scene, 2, np.array([[-1.875]]), np.array([[-1.875]])), [[-2]], atol=1e-6)


def test_an_upright_bar() -> None:
    """Half length 6.5 along y, half width 2: held across its width, by pixels near its middle."""
    scene = heap((BAR, 12, 12, np.pi / 2, 6.5, 2))
    assert tried(scene, 12, 12) == 0
    assert tried(scene, 12, 12, 180) == 0
    assert tried(scene, 12, 12, 90) == -1  # along its length it is longer than the gripper is open
    assert tried(scene, 12, 12, 30) == 0  # its faces recede by 3 tan 30° = 1.7 across a finger
    assert tried(scene, 12, 12, 45) == -1  # by 3
    assert tried(scene, 13.9, 12) == 0  # 1.9 off its axis
    assert tried(scene, 14.5, 12) == -1  # beside it: there is nothing at the centre
    assert tried(scene, 12, 16) == 0  # 4 from its centre of mass
    assert tried(scene, 12, 17.4) == -1  # 5.4


def test_neighbours_get_in_the_way_of_the_fingers_alone() -> None:
    bar = (BAR, 10.0, 12.0, np.pi / 2, 6.0, 2.0)
    assert tried(heap(bar, (DISC, 20.5, 12, 0, 3, 0)), 10, 12) == -1  # from 17.5, where a finger reaches from 16 to 18
    assert tried(heap(bar, (DISC, 21.5, 12, 0, 3, 0)), 10, 12) == 0
    assert tried(heap(bar, (DISC, 14.5, 12, 0, 2, 0)), 10, 12) == -1  # between the fingers, beside the bar


def test_what_bears_something_is_not_lifted_and_what_lies_on_it_is() -> None:
    scene = heap((BAR, 12, 12, np.pi / 2, 7, 2), (DISC, 12, 18, 0, 3, 0))
    assert scene.level[:, 0].tolist() == [1, 2]
    assert scene.under[:, 0].tolist() == [0, 1]
    assert tried(scene, 12, 9) == -1
    assert tried(scene, 12, 18) == 1
    scene.present[1] = 0
    assert tried(scene, 12, 9) == 0


def test_the_fingers_stop_at_the_targets_base() -> None:
    """A small disc on a broad one: the fingers land on the lower one, which is no obstacle."""
    scene = heap((DISC, 12, 12, 0, 9, 0), (DISC, 12, 12, 0, 3, 0))
    assert tried(scene, 12, 12) == 1
    assert tried(heap((DISC, 12, 12, 0, 9, 0), (DISC, 12, 12, 0, 3, 0), (DISC, 19, 12, 0, 2, 0)), 12, 12) == -1


def test_heights() -> None:
    image = heights(heap((BAR, 12, 12, 0, 6, 2), (DISC, 18, 12, 0, 3, 0)), SIZE)[0].reshape(SIZE, SIZE)
    assert image[12, 8] == 1  # row y, column x
    assert image[12, 18] == 2
    assert image[8, 12] == 0
    assert 0 < heights(heap((BAR, 12, 12.25, 0, 6, 2)), SIZE)[0].reshape(SIZE, SIZE)[14, 12] < 1  # an edge


def played(setting: Setting, states: Array, actions: Array) -> tuple[Array, Array, Array, Array]:
    """The states after a step, rewards, terminations and success."""
    world = program(setting)
    assert world.success is not None
    states, rewards, terminations = world.step(states, actions)
    return states, rewards, terminations, world.success(states)


def test_the_oracle_knows_every_good_action() -> None:
    setting, seeds = Setting(), np.arange(3)
    found = scenes(seeds, setting)
    every = np.arange(setting.actions)
    starts = program(setting).start(seeds)
    for scene in range(3):
        rewards = played(setting, np.repeat(starts[:, [scene]], setting.actions, axis=1), every)[1]
        np.testing.assert_array_equal(np.flatnonzero(rewards), np.sort(good_grasps(found, scene, setting)))
        assert rewards.any()


def test_one_grasp_ends_the_episode_and_several_clear_the_table() -> None:
    once, often = Setting(), Setting(attempts=20)
    states = program(often).start(np.arange(12))
    good = np.array([good_grasps(scenes(np.arange(12), often), i, often)[0] for i in range(12)])
    _, rewards, terminations, success = played(once, states, good)
    assert rewards.all()
    assert terminations.all()
    assert success.all()
    after, rewards, terminations, success = played(often, states, good)
    assert rewards.all()
    assert not terminations.any()
    assert not success.any()
    lifted_count = after[9 * 4 : 10 * 4].sum(0)
    np.testing.assert_array_equal(lifted_count, 3)  # of four objects
    missed = played(once, states, np.zeros(12, np.int64))
    assert not missed[1].any()
    assert missed[2].all()


def test_a_cleared_table_terminates_as_a_success() -> None:
    setting = Setting(attempts=20, objects=1)
    states = program(setting).start(np.arange(8))
    good = np.array([good_grasps(scenes(np.arange(8), setting), i, setting)[0] for i in range(8)])
    after, rewards, terminations, success = played(setting, states, good)
    assert rewards.all()
    assert terminations.all()
    assert success.all()
    assert program(Setting(attempts=20, objects=1, noise=0.0)).frames(after).max() == 0  # nothing is left to see
    assert environment_record("fqi/Grasp-v0", {"attempts": 20})["max_episode_steps"] == 20
    assert environment_record("fqi/Grasp-v0")["max_episode_steps"] == 1


def test_noise_has_its_size_and_is_new_in_every_frame() -> None:
    setting = Setting(attempts=5, noise=0.5)
    world, clean = program(setting), program(Setting(attempts=5, noise=0.0))
    states = world.start(np.arange(100))
    after = world.step(states, np.zeros(100, np.int64))[0]  # a grasp in the corner: the scene stays
    truth = clean.frames(states).astype(np.float64)
    covered = (truth >= 2 * GREY) & (truth <= 5 * GREY)  # where no grey level is cut off
    errors = [(world.frames(s).astype(np.float64) - truth)[covered] / GREY for s in (states, after)]
    for error in errors:
        assert error.std() == pytest.approx(0.5, rel=0.03)
        assert error.mean() == pytest.approx(0, abs=0.015)
    assert abs(np.corrcoef(errors)[0, 1]) < 0.03


def test_success_of_random_grasps_and_of_the_scripted_policy() -> None:
    setting, rng = Setting(), np.random.default_rng(0)
    states = program(setting).start(np.arange(4000) + 10**6)
    random = played(setting, states, rng.integers(setting.actions, size=4000))[1].mean()
    assert 0.024 < random < 0.042
    some = states[:, :100]
    assert played(setting, some, grasping(program(setting).frames(some)))[1].mean() > 0.95


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"size": 10}, "size of fqi/Grasp-v0 must be a whole number from 16 to 96"),
        ({"objects": 2.0}, "objects"),
        ({"attempts": True}, "attempts"),
        ({"noise": -1}, "noise of fqi/Grasp-v0 must be a number from 0 to 10"),
    ],
)
def test_refusals(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_slots({"id": "fqi/Grasp-v0", "kwargs": kwargs}, 1)
