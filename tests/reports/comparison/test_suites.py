"""Suites: the shipped one and files."""

from __future__ import annotations

import pytest

from fqi.errors import UserError
from fqi.reports.comparison.suites import Task, suite


def test_the_classic_suite_brings_half_an_experts_log():
    found = suite("classic")
    assert [task.env for task in found.tasks][:3] == ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
    assert found.tasks[0].behaviours("CartPole-v1") == ("random", "scripted,epsilon=0.3")
    assert found.tasks[0].behaviours("Taxi-v4") == ("random",)


def test_a_file_names_tasks_and_options(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("""
        seeds = 3
        learners = ["bc", "dqn:steps=2000"]
        [[task]]
        env = "CartPole-v1"
        policies = ["random"]
        steps = 100
        [[task]]
        log = "plant.h5"
        low = 0
        high = 10.5
    """)
    found = suite(str(path))
    assert found.options == {"seeds": 3, "learners": ["bc", "dqn:steps=2000"]}
    assert found.tasks == (
        Task(env="CartPole-v1", policies=("random",), steps=100),
        Task(log="plant.h5", low=0.0, high=10.5),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = 3", "at least one .*task"),
        ("[[task]]", "expected env or log"),
        ("[[task]]\nenv = 3", "env must be a text, found 3"),
        ("[[task]]\nenv = 'A'\ncolour = 'red'", "unknown name 'colour'"),
        ("[[task]]\nlog = 'a.h5'\nsteps = 3", "how to collect a log"),
        ("[[task]]\nenv = 'A'\nlow = 3", "low and high"),
        ("[[task]]\nenv = 'A'\nlow = 3\nhigh = 2", "low being the smaller"),
        ("[[task]]\nenv = 'A'\npolicies = [3]", "list of texts"),
        ("[[task]]\nenv = 'A'\nsteps = 0", "steps must be at least 1"),
        ("seeds = true\n[[task]]\nenv = 'A'", "seeds must be a whole number"),
        ("episodes = 0\n[[task]]\nenv = 'A'", "episodes must be at least 1"),
        ("task = 3", "at least one"),
        ("task = [3]", "expected a table"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text, said, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        suite(str(path))
    with pytest.raises(UserError, match="expected classic, or a file"):
        suite("modern")
