"""Records of environments, and the sentences that refuse them."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from fqi.environments.make import environment_record, make_single, make_slots
from fqi.errors import UserError


@pytest.mark.parametrize(
    ("id", "full", "limit"),
    [("CartPole-v1", "CartPole-v1", 500), ("CartPole", "CartPole-v1", 500), ("Blackjack-v1", "Blackjack-v1", None)],
)
def test_record(id: str, full: str, limit: int | None) -> None:
    record = environment_record(id)
    assert record == {"id": full, "kwargs": {}, "max_episode_steps": limit}
    assert json.loads(json.dumps(record)) == record


def test_record_keeps_kwargs_by_value() -> None:
    kwargs = {"start": "grid"}
    record = environment_record("fqi/CarOnTheHill-v0", kwargs)
    kwargs["start"] = "bottom"
    assert record["kwargs"] == {"start": "grid"}


@pytest.mark.parametrize("value", [object(), float("nan"), (1, 2), {1: 2}])
def test_record_refuses_what_json_would_lose(value: Any) -> None:
    with pytest.raises(UserError, match="JSON"):
        environment_record("CartPole-v1", {"argument": value})


def test_unknown_id_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'CartPole-v1'"):
        environment_record("CartPol-v1")
    with pytest.raises(UserError, match="my_module:My-v0"):
        environment_record("qqqq/wwww-v3")
    with pytest.raises(UserError, match="no environment ''"):
        environment_record("")


def test_an_id_that_imports_must_be_typed_by_the_user() -> None:
    id = "fqi.environments:fqi/CarOnTheHill-v0"
    for call in (environment_record, lambda id: make_slots({"id": id}, 1), lambda id: make_single({"id": id})):
        with pytest.raises(UserError, match="type yourself"):
            call(id)
    assert environment_record(id, trusted=True)["id"] == id
    make_slots({"id": id}, 1, trusted=True).close()
    with pytest.raises(UserError, match="'no_such_module_here', which is not installed"):
        environment_record("no_such_module_here:A-v0", trusted=True)


@pytest.mark.parametrize(
    ("id", "module", "mend"),
    [
        ("LunarLander-v3", "Box2D", r'pip install swig "gymnasium\[box2d\]"'),
        ("HalfCheetah-v5", "mujoco", r'pip install "gymnasium\[mujoco\]"'),
        ("ALE/Pong-v5", "ale_py", "pip install ale-py"),
        ("PointMaze_UMaze-v3", "gymnasium_robotics", "pip install gymnasium-robotics"),
    ],
)
def test_missing_simulators_name_the_command_that_mends_it(id: str, module: str, mend: str) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(UserError, match=mend) as refusal:
        make_slots({"id": id, "kwargs": {}}, 2)
    assert id in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("record", [{}, {"id": 3}, {"id": "CartPole-v1", "kwargs": [1]}])
def test_malformed_records_are_refused(record: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="named by an id"):
        make_slots(record, 1)


def test_wrong_kwargs_are_refused() -> None:
    with pytest.raises(UserError, match=r"CartPole-v1 could not be made with kwargs \{'wheels': 3\}"):
        make_slots({"id": "CartPole-v1", "kwargs": {"wheels": 3}}, 1)
    with pytest.raises(UserError, match="FrozenLake-v1 could not be made"):
        make_slots({"id": "FrozenLake-v1", "kwargs": {"map_name": "0x0"}}, 1)
    with pytest.raises(UserError, match="start of Car-on-the-Hill must be one of"):
        make_single({"id": "fqi/CarOnTheHill-v0", "kwargs": {"start": "top"}})
    with pytest.raises(UserError, match="Humanoid-v2"):
        make_slots({"id": "Humanoid-v2"}, 1)
    with pytest.raises(UserError, match="at least 1"):
        make_slots({"id": "CartPole-v1"}, 0)
