"""A person who is asked: what they see, what they may type, and that DAgger can learn from them."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from fqi.baselines.dagger import dagger
from fqi.baselines.person import Person, watched
from fqi.baselines.settings import DaggerSettings
from fqi.errors import UserError


def answering(*answers):
    """A keyboard on which these lines are typed, and the questions that were put."""
    left, questions = list(answers), []

    def read(question):
        questions.append(question)
        if not left:
            raise EOFError
        return left.pop(0)

    return read, questions


def test_each_frame_is_asked_until_an_action_is_typed():
    read, questions = answering("8", "up", "1.5", "6", "")
    said = []
    person = Person(gym.spaces.Discrete(3, start=5), read=read, write=said.append)
    found = person.probabilities(np.array([[0.5], [0.25]], np.float32))
    assert found.tolist() == [[0, 1, 0], [0, 1, 0]]  # the empty line repeats the 6
    assert questions == ["1: an action from 5 to 7? "] * 4 + ["2: an action from 5 to 7? "]
    assert said == [
        "[0.5]",
        "expected an action from 5 to 7, found '8'",
        "expected an action from 5 to 7, found 'up'",
        "expected an action from 5 to 7, found '1.5'",
        "[0.25]",
    ]
    with pytest.raises(UserError, match="stopped answering at question 3"):
        person.probabilities(np.zeros((1, 1)))


def test_continuous_actions_are_typed_as_numbers():
    read, _ = answering("", "1", "3 0", "nan 0", "-1 0.5")
    said = []
    person = Person(gym.spaces.Box(-1, 1, (2,)), read=read, write=said.append)
    found = person.actions({"a": np.zeros((1, 1)), "b": np.ones((1, 1))}, np.random.default_rng(0))
    assert found.dtype == np.float32
    assert found.tolist() == [[-1, 0.5]]
    assert said[:3] == ["a [0.]", "b [1.]", "expected 2 numbers from [-1. -1.] to [1. 1.], found 'nothing'"]
    assert len(said) == 6


def test_dagger_learns_from_a_person_who_watches_text():
    record = {"id": "FrozenLake-v1", "kwargs": {"is_slippery": False}, "max_episode_steps": 100}
    slots, view = watched(record)
    read, questions = answering(*["1"] * 6)  # always down: into the lower left corner
    said = []
    person = Person(slots.action_space, render=view, read=read, write=said.append)
    learned = dagger(None, slots, person, DaggerSettings(iterations=2, steps=3, updates=5), [0], 100, None)
    slots.close()
    assert learned.queries == len(questions) == len(said) == 6
    assert learned.logs[0].label.tolist() == [1] * 6
    assert "FFF" in said[0]
    assert said[0] != said[1]  # the place is marked


def test_pixels_go_to_a_picture(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1, 2] = (9, 8, 7)
    read, _ = answering("1")
    picture = tmp_path / "now.png"
    person = Person(gym.spaces.Discrete(2), render=lambda: pixels, picture=picture, read=read)
    person.probabilities(np.zeros((1, 4)))
    with Image.open(picture) as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert [file.name for file in tmp_path.iterdir()] == ["now.png"]


def test_what_rendering_lacks_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)  # as if it were not installed
    slots, view = watched({"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500})
    slots.reset(np.array([0]), np.array([1]))
    with pytest.raises(UserError, match=r"CartPole-v1 cannot be rendered here: .*pip install"):
        view()
    slots.close()


def test_what_cannot_be_shown_or_typed_is_refused():
    with pytest.raises(UserError, match="renders neither"):
        watched({"id": "fqi/CarOnTheHill-v0", "kwargs": {}})
    with pytest.raises(UserError, match="Discrete actions or for numbers"):
        Person(gym.spaces.MultiBinary(2))
    with pytest.raises(UserError, match="Discrete action space"):
        Person(gym.spaces.Box(-1, 1, (1,))).probabilities(np.zeros((1, 1)))
