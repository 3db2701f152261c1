"""`fqi compare`: bare, resumed, over several tasks, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fqi.reports.comparison.record import Comparison

TINY = ("bc:updates=20", "dqn:steps=400,warmup=64,every=64,updates=4,looks=2")
FEW = ("--seeds", "2", "--episodes", "3")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Training without worker processes, which take longer to start than to train what is trained here."""
    monkeypatch.setattr("fqi.training._workers", lambda config: 1)


@pytest.fixture
def latest(copies, folder):
    """The copied run and log as `runs/latest` and `logs/latest`."""
    Path("runs").mkdir()
    Path("logs").mkdir()
    Path("run").rename("runs/one")
    Path("runs/latest").symlink_to("one")
    Path("logs/latest").symlink_to("../log.h5")
    return folder


def test_the_newest_run_is_compared_with_what_is_named(fqi, latest):
    found = fqi("compare", *TINY, *FEW, "--json").json
    assert Path(found["report"]).is_file()
    assert Path("comparisons/latest").resolve() == Path(found["comparison"]).resolve()
    comparison = Comparison.open(Path(found["comparison"]))
    assert comparison.record["status"] == "finished"
    assert comparison.missing() == []
    cells = {learner: cell for (_, learner), cell in comparison.cells.items()}
    assert list(cells) == ["fqi", *TINY, "behaviour random", "random", "expert"]
    fitted = cells["fqi"]
    assert (fitted["seeds"], fitted["rows"], fitted["steps"]) == ([0, 1], 300, 0)
    assert (fitted["updates"], fitted["network"]) == (2 * 5 * 5, "2 x 8, 5 heads")  # rounds, updates, heads of the run
    assert [len(own) for own in fitted["returns"]] == [3, 3]
    assert cells[TINY[0]]["network"] == cells[TINY[1]]["network"] == "2 x 8"  # that of the run
    assert cells[TINY[1]]["steps"] == 400
    assert cells["expert"]["returns"] == [[500.0] * 3]
    assert (comparison.path / cells[TINY[1]]["artefacts"]["log of seed 0"]).is_file()


def test_what_is_finished_is_never_repeated(fqi, latest, monkeypatch):
    from fqi.reports.comparison import learners

    def stop(bout):
        raise KeyboardInterrupt

    able = learners._KINDS["dqn"]
    monkeypatch.setitem(learners._KINDS, "dqn", stop)
    stopped = fqi("compare", *TINY, *FEW)
    assert stopped.code == 130
    assert "this goes on: fqi compare --resume comparisons/CartPole-v1-1" in stopped.err
    place = Path("comparisons/CartPole-v1-1")
    comparison = Comparison.open(place)
    assert comparison.record["status"] == "stopped"
    before = {file.name: file.read_bytes() for file in (place / "cells").iterdir()}
    assert len(before) == 2
    monkeypatch.setitem(learners._KINDS, "dqn", able)
    found = fqi("compare", "--resume", place, "--json").json
    assert Comparison.open(place).missing() == []
    for name, content in before.items():
        assert (place / "cells" / name).read_bytes() == content
    again = fqi("compare", "--resume", place, "--json").json  # nothing is left to do but the page
    assert again == found


def test_a_run_goes_on_in_the_round_at_which_it_was_stopped(fqi, latest, monkeypatch):
    from fqi.run import Run

    write, seen = Run.write_round, []

    def once(self, number, q, rows):
        write(self, number, q, rows)
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_round", once)
    assert fqi("compare", "bc:updates=20", *FEW).code == 130
    assert fqi("compare", "--resume", "comparisons/latest").code == 0
    assert seen == [1, 2]


@pytest.mark.slow
def test_several_tasks_collect_a_log_for_each(fqi, folder):
    settings = ("fqi:updates=5,width=8,iterations=2", "bc:updates=10,width=8")
    words = ("--env", "CartPole-v1", "--env", "MountainCar-v0", "--steps", "300", "--iterations", "1", *FEW)
    found = fqi("compare", *settings, *words, "--json").json
    assert [task["name"] for task in found["tasks"]] == ["CartPole-v1", "MountainCar-v0"]
    assert found["tasks"][0]["log"]["behaviours"] == ["random", "scripted,epsilon=0.3"]
    assert [task["log"]["steps"] for task in found["tasks"]] == [300, 300]
    assert found["aggregate"] is not None
    assert sorted(path.name for path in Path("logs").glob("*.h5")) == ["CartPole-v1-1.h5", "MountainCar-v0-1.h5"]


def test_dagger_is_left_out_where_nobody_can_be_asked_but_not_everywhere(fqi, folder):
    Path("two.toml").write_text("""
        seeds = 1
        episodes = 2
        iterations = 1
        learners = ["dagger:iterations=1,steps=5,updates=5,width=8"]
        [[task]]
        env = "CartPole-v1"
        steps = 50
        [[task]]
        env = "FrozenLake-v1"
        steps = 50
    """)
    found = fqi("compare", "--suite", "two.toml")
    assert found.code == 0, found
    assert "is left out on FrozenLake-v1, which has no expert to ask" in found.out
    asked = [task for task, learner in Comparison.open(Path("comparisons/latest")).cells if "dagger" in learner]
    assert asked == ["CartPole-v1"]
    assert "--expert" in fqi("compare", "dagger", "--env", "FrozenLake-v1", "--env", "Taxi-v4").err


def test_a_suite_file_says_it_all(fqi, copies):
    Path("mine.toml").write_text("""
        seeds = 2
        episodes = 2
        iterations = 1
        learners = ["bc:updates=10,width=8", "fqi:updates=5,width=8,workers=1"]
        [[task]]
        log = "log.h5"
        low = 10
        high = 500
    """)
    found = fqi("compare", "--suite", "mine.toml", "--json").json
    assert found["comparison"] == "comparisons/mine-1"
    assert found["tasks"][0]["scale"]["high"] == 500


def test_dqn_is_refused_where_actions_are_continuous(fqi, folder):
    log = fqi("collect", "Pendulum-v1", "--policy", "scripted", "--steps", "400", "--json").json["log"]
    said = fqi("compare", "dqn", "--log", log, *FEW)
    assert said.code == 2
    assert "needs Discrete actions" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sarsa",), "no learner 'sarsa'"),
        (("bc:width=0",), "width must be at least 1"),
        (("bc", "bc"), "named twice"),
        (("--suite", "modern"), "expected classic, or a file"),
        (("--suite", "classic", "--log", "log.h5"), "say the same thing twice"),
        (("--log", "log.h5", "--steps", "5"), "--steps is the size of logs"),
        (("--log", "log.h5", "--env", "A", "--env", "B"), "one log, so give one --env"),
        (("--env", "Nope-v0"), "no environment"),
        (("--env", "Taxi-v4", "dagger"), "Taxi-v4 has none; name one by --expert"),
        (("--log", "log.h5", "--expert", "wizard"), "expected random"),
        (("--log", "log.h5", "--expert", "scripted,epsilon=0.1"), "no epsilon"),
        (("--log", "log.h5", "--out", "run"), "exists already"),
        (("--resume", "run"), "not a comparison"),
        (("--resume", "nowhere"), "no such comparison"),
        (("--resume", "run", "--seeds", "3"), "give nothing beside it"),
        (("--trust",), "--trust belongs to --resume"),
        (("--run", "nowhere"), "no such run"),
        (("fqi:target=sideways", "--log", "log.h5"), "target must be one of"),
        (("fqi:ensemble=1,target=min", "--log", "log.h5"), "ensemble"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_begun(refused, copies, words, said):
    assert said in refused("compare", *words)


def test_a_log_of_one_episode_is_refused_by_the_names_of_learner_and_task(fqi, folder):
    log = fqi("collect", "CartPole-v1", "--episodes", "1", "--json").json["log"]
    said = fqi("compare", "bc", "--log", log, *FEW)
    assert said.code == 2
    assert "bc on CartPole-v1: cloning: one episode alone leaves none to hold out" in said.err
    assert not list(Path("comparisons").glob("*"))


def test_without_run_and_log_the_next_command_is_named(refused):
    assert "fqi collect" in refused("compare")


def test_a_person_can_be_the_expert(fqi, copies, monkeypatch):
    from fqi.baselines import person

    answered = []

    def read(question):
        answered.append(question)
        return str(len(answered) % 2)

    monkeypatch.setattr(
        person.Person.__init__, "__kwdefaults__", person.Person.__init__.__kwdefaults__ | {"read": read}
    )
    settings = "dagger:iterations=1,steps=5,updates=5,width=8,begin=nothing"
    words = ("--env", "FrozenLake-v1", "--steps", "50", "--iterations", "1", "--expert", "person", "--episodes", "2")
    assert "give --seeds 1" in fqi("compare", settings, *words).err
    assert fqi("compare", settings, *words, "--seeds", "1").code == 0
    cells = {learner: cell for (_, learner), cell in Comparison.open(Path("comparisons/latest")).cells.items()}
    assert len(answered) == 5
    assert "expert" not in cells
    assert cells[settings]["queries"] == 5


def test_dagger_can_begin_with_the_log(fqi, copies):
    settings = "dagger:iterations=1,steps=5,updates=5,width=8,begin=log"
    found = fqi("compare", settings, "fqi:updates=5,width=8,iterations=1", "--log", "log.h5", *FEW, "--iterations", "1")
    assert found.code == 0, found
    cells = Comparison.open(Path("comparisons/latest")).cells
    cell = cells["CartPole-v1", settings]
    assert (cell["rows"], cell["queries"], cell["steps"]) == (300, 305, 5)
