"""Grasping with continuous poses: moves by hand, what is seen, and how often the scripted policies succeed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fqi.environments.grasp_poses import MOVES, REACH, _lifts, careless, grasp_poses_slots
from fqi.environments.make import environment_record, make_single
from fqi.nest import Array
from fqi.scripted import EXPERTS, expert_for


def played(policy: Callable[[Array], Array], scenes: int, seed: int = 0) -> tuple[float, float]:
    """The share of scenes in which a policy succeeds, and the mean number of its actions."""
    slots, going = grasp_poses_slots(scenes), np.arange(scenes)
    frames = slots.reset(going, going + seed)
    won, actions = np.zeros(scenes, np.bool_), 0
    for _ in range(MOVES):
        actions += len(going)
        frames, rewards, ends, _, success = slots.step(going, policy(frames))
        assert success is not None
        np.testing.assert_array_equal(rewards, success)  # success alone pays
        assert not rewards[~ends].any()
        won[going] = success
        frames, going = frames[~ends], going[~ends]
        if not len(going):
            break
    return float(won.mean()), actions / scenes


def moved(frame: Array, along: float, across: float, turn: float) -> Array:
    slots = grasp_poses_slots(1)
    only = np.zeros(1, np.int64)
    before = slots.reset(only, only)[0]
    np.testing.assert_array_equal(before, frame)
    return slots.step(only, np.array([[along, across, turn, -1.0]], np.float32))[0][0]


def test_what_is_seen_moves_with_the_gripper() -> None:
    only = np.zeros(1, np.int64)
    frame = grasp_poses_slots(1).reset(only, only)[0]
    assert frame.shape == (9,)
    np.testing.assert_allclose(np.hypot(frame[2], frame[3]), 1, atol=1e-6)
    assert frame[4:7].sum() == 1
    # Half the reach along the closing line brings everything nearer by as much, in that direction alone.
    np.testing.assert_allclose(moved(frame, 0.5, 0, 0)[:2], frame[:2] - np.array([REACH / 2, 0]), atol=1e-5)
    np.testing.assert_allclose(moved(frame, 0, -1, 0)[:2], frame[:2] + np.array([0, REACH]), atol=1e-5)
    # Half the largest turn, an eighth of a half circle: the object seems turned back by it.
    turned, eighth = moved(frame, 0, 0, 0.5), np.pi / 8
    seen = complex(*frame[2:4]) * np.exp(-1j * eighth)
    np.testing.assert_allclose(turned[2:4], [seen.real, seen.imag], atol=1e-5)
    place = complex(*frame[:2]) * np.exp(-1j * eighth)
    np.testing.assert_allclose(turned[:2], [place.real, place.imag], atol=1e-5)
    np.testing.assert_array_equal(turned[4:], frame[4:])


def test_more_than_the_box_is_no_more_than_its_edge() -> None:
    only = np.zeros(1, np.int64)
    frame = grasp_poses_slots(1).reset(only, only)[0]
    np.testing.assert_array_equal(moved(frame, 9, -9, 9), moved(frame, 1, -1, 1))


def test_every_scene_can_be_solved() -> None:
    success, actions = played(EXPERTS["grasp-poses"].act, 2000)
    assert success == 1
    assert 2 < actions < 3  # most begin out of reach


def test_the_careless_policy_succeeds_in_three_of_ten_scenes() -> None:
    success, _ = played(careless, 2000)
    assert 0.27 < success < 0.33


def test_random_actions_hardly_ever_succeed() -> None:
    rng = np.random.default_rng(0)
    success, _ = played(lambda frames: rng.uniform(-1, 1, (len(frames), 4)).astype(np.float32), 2000)
    assert 0 < success < 0.04


def test_the_careless_policy_hangs_on_the_frame_alone() -> None:
    frames = grasp_poses_slots(20).reset(np.arange(20), np.arange(20))
    act = careless
    np.testing.assert_array_equal(act(frames)[7:8], act(frames[7:8]))


def test_turning_an_object_about_its_grasp_changes_nothing() -> None:
    """The skilled policy's own grasp stays one after the whole scene is turned and moved: success is geometry."""
    rng = np.random.default_rng(1)
    slots = grasp_poses_slots(200)
    slots.reset(np.arange(200), np.arange(200))
    states = slots._states.copy()
    # Bring every gripper where the skilled policy closes, or anywhere near.
    states[6:8] = states[1:3] + rng.normal(0, 1.5, (2, 200))
    angle, shift = rng.uniform(0, 2 * np.pi, 200), rng.uniform(-5, 5, (2, 200))
    other = states.copy()
    for x, y in ((1, 2), (6, 7)):
        other[x] = np.cos(angle) * states[x] - np.sin(angle) * states[y] + shift[0]
        other[y] = np.sin(angle) * states[x] + np.cos(angle) * states[y] + shift[1]
    other[3] += angle
    other[8] += angle
    found = _lifts(states)
    assert 0.1 < found.mean() < 0.9
    np.testing.assert_array_equal(found, _lifts(other))


def test_it_is_registered_with_its_time_limit_and_expert() -> None:
    assert environment_record("fqi/GraspPoses-v0")["max_episode_steps"] == MOVES
    assert expert_for("fqi/GraspPoses-v0") is EXPERTS["grasp-poses"]
    env = make_single({"id": "fqi/GraspPoses-v0"})
    frame, _ = env.reset(seed=3)
    assert env.observation_space.contains(frame)
    _, reward, terminated, _, info = env.step(np.array([0, 0, 0, 1], np.float32))
    assert (reward, terminated, info) == (0.0, True, {"is_success": False})
