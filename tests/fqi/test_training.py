"""Training: whole runs, exact resumes after any kill, the same bits from any number of workers, divergence."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from fqi import run as run_module
from fqi.errors import UserError
from fqi.qfunctions.mlp import Mlp
from fqi.run import Run
from fqi.training import DivergedError, configure, resume, train, training_rows
from fqi.transitions import transitions
from tests.fqi.small import log_of
from tests.fqi.training_kit import assert_same, config_of, files, rows, start_or_go_on, walks

LOG = walks()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped, and copies of its folder from every moment between two writes."""
    folder = tmp_path_factory.mktemp("whole")
    moments, write = [], run_module._write_tensors

    def snapshot(run):
        moments.append(folder / f"moment{len(moments)}")
        shutil.copytree(run, moments[-1])

    def watched(path, tensors):
        run = path.parent.parent if path.parent.name == "rounds" else path.parent
        snapshot(run)
        write(path, tensors)
        snapshot(run)

    run_module._write_tensors = watched
    try:
        run = train(LOG, config_of(LOG, seeds=2), folder / "run")
    finally:
        run_module._write_tensors = write
    return run, moments


def test_a_finished_run_is_complete(whole):
    run, _ = whole
    assert sorted(f.name for f in run.path.iterdir()) == [
        "config.toml", "metrics.jsonl", "resume.safetensors", "rounds", "run.json",
    ]  # fmt: skip
    assert run.rounds == [1, 2, 3, 4]
    assert run.record["status"] == "finished"
    assert [(row["round"], row["member"]) for row in run.metrics] == [(k, m) for k in range(1, 5) for m in range(2)]
    assert run.config.train.device in ("cpu", "cuda")  # resolved: what was chosen is written down
    for row in run.metrics:
        assert all(value is not None for value in row.values())
        assert row["updates"] == 12
        assert row["min_q"] <= row["mean_q"] <= row["max_q"]
        assert row["seconds"] > 0
        # Rewards are 0, or 1 where the episode ends.
        assert (row["lowest_earnable"], row["highest_earnable"]) == (0, 1)


def test_metrics_by_hand(whole):
    run, _ = whole
    q, config = run.build(), run.config
    table, training = transitions(LOG, 0.9), training_rows(LOG.steps, config).numpy()

    def at(number):
        run.load(q, number)
        return q.values(LOG.observations).double().numpy()  # [P, F, A]

    before, now = at(3), at(4)
    for member in range(2):
        own = slice(2 * member, 2 * member + 2)
        row = run.metrics[3 * 2 + member]
        logged = now[own][:, table.frame, table.action]  # [H, B]

        def targets(values):
            return table.returns + table.discount * values.min(0).max(1)[table.next_frame]

        error = (logged - targets(before[own])) ** 2
        expected = {
            "training_loss": error[:, training].mean(),
            "heldout_loss": error[:, ~training].mean(),
            "mean_q": logged.mean(),
            "min_q": logged.min(),
            "max_q": logged.max(),
            "mean_value": now[own].min(0).max(1)[table.next_frame].mean(),
            "target_mean": targets(before[own]).mean(),
            "target_spread": targets(before[own]).std(),
            "bellman_residual": np.sqrt(((logged - targets(now[own])) ** 2).mean(1)).mean(),
            "disagreement": logged.std(0).mean(),
            "beyond_bounds": ((logged > 1.001) | (logged < -0.001)).mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_going_on_from_any_moment_ends_bit_identical(whole, tmp_path):
    run, moments = whole
    assert len(moments) == 4 * 4
    for number, moment in enumerate(moments):
        copy = tmp_path / moment.name
        shutil.copytree(moment, copy)
        again = resume(Run.open(copy), LOG)
        assert_same(run, again)
        assert again.config == run.config, number


def test_half_written_things_are_dropped(whole, tmp_path):
    run, moments = whole
    # The moment after the third round's metrics and before its resume file, cut anywhere in the metrics.
    moment = moments[4 * 2 + 2]
    size = (moment / "metrics.jsonl").stat().st_size
    last = (moment / "metrics.jsonl").read_bytes().rstrip().rfind(b"\n") + 1
    for cut in (last - 200, last - 1, last, last + 1, size - 1):
        copy = tmp_path / str(cut)
        shutil.copytree(moment, copy)
        with (copy / "metrics.jsonl").open("r+b") as file:
            file.truncate(cut)
        (copy / "rounds" / ".00003.safetensors.99.part").write_bytes(b"half")
        (copy / ".resume.safetensors.99.part").write_bytes(b"half")
        assert_same(run, resume(Run.open(copy), LOG))
        assert not list(copy.rglob("*.part"))


def test_a_run_can_be_lengthened_exactly(whole, tmp_path):
    run, _ = whole
    short = train(LOG, config_of(LOG, seeds=2, iterations=2), tmp_path / "short")
    assert_same(run, resume(short, LOG, iterations=4))
    assert short.config.train.iterations == 4
    with pytest.raises(UserError, match="--iterations 3 is less than the 4"):
        resume(short, LOG, iterations=3)


def test_going_on_with_a_finished_run_changes_nothing(whole, tmp_path):
    run, _ = whole
    shutil.copytree(run.path, tmp_path / "copy")
    assert_same(run, resume(Run.open(tmp_path / "copy"), LOG))


def test_another_log_is_refused(whole):
    run, _ = whole
    before = files(run)
    with pytest.raises(UserError, match="the log has changed since training began"):
        resume(run, walks(seed=1))
    assert files(run) == before


@pytest.mark.parametrize("flags", [
    {"start": "cold"}, {"patience": 1, "checks": 4, "holdout": 0.2}, {"n_step": 3}, {"target": "max"}, {"batch": 31},
    {"average": 3}, {"target": "double-previous"}, {"target": "mixture", "seeds": 2},
    {"average": 2, "target": "double"}, {"n_step": 3, "n_step_rule": "cut", "seeds": 2},
    {"n_step": 4, "trace_decay": 0.7}, {"weights": "prioritised", "priority_rounds": 3, "seeds": 2},
    {"conservative": 0.5}, {"weights": "split", "target": "double"},
    {"regressor": "table-free"},
])  # fmt: skip
def test_other_settings_resume_exactly_too(flags, tmp_path):
    if flags == {"regressor": "table-free"}:
        plain = {"regressor": "linear", "features": "raw", "iterations": 4, "gamma": 0.9}
        configs = [configure(LOG, flags=plain | {"iterations": k}) for k in (2, 4)]
    else:
        configs = [config_of(LOG, **flags, iterations=k) for k in (2, 4)]
    whole = train(LOG, configs[1], tmp_path / "whole")
    half = train(LOG, configs[0], tmp_path / "half")
    assert_same(whole, resume(half, LOG, iterations=4))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(whole, tmp_path):
    run, _ = whole
    assert_same(run, train(LOG, config_of(LOG, seeds=2), tmp_path / "again"))
    other = train(LOG, config_of(LOG, seeds=2, seed=1), tmp_path / "other")
    assert rows(other) != rows(run)


def test_training_draws_from_no_global_generator(whole, tmp_path):
    run, _ = whole
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    state = torch.get_rng_state()
    assert_same(run, train(LOG, config_of(LOG, seeds=2), tmp_path / "again"))
    assert torch.equal(torch.get_rng_state(), state)


def numbers(row):
    return {k: v for k, v in row.items() if isinstance(v, int | float)}


def test_a_member_equals_the_run_of_its_seed_alone(tmp_path):
    # The rows held out are drawn from the run's own seed and are the same for all members: without, nothing is shared.
    three = train(LOG, config_of(LOG, seed=3, seeds=3, holdout=0.0), tmp_path / "three")
    together, alone = three.build(), None
    for member in range(3):
        one = train(LOG, config_of(LOG, seed=3 + member, holdout=0.0), tmp_path / str(member))
        alone = one.build()
        for number in three.rounds:
            three.load(together, number)
            one.load(alone, number)
            own = slice(2 * member, 2 * member + 2)
            assert torch.equal(together.state.flat[own], alone.state.flat)
            assert torch.equal(together.state.mean[own], alone.state.mean)
        mine = [row | {"member": 0} for row in rows(three) if row["member"] == member]
        for row, other in zip(mine, rows(one), strict=True):
            assert numbers(row) == pytest.approx(numbers(other), rel=1e-5)
            assert row["greedy_shares"] == other["greedy_shares"]
            assert sum(row["q_counts"]) == 2 * LOG.steps  # both heads, every row


def test_held_out_rows_are_a_share_drawn_from_the_runs_seed():
    config = config_of(LOG, holdout=0.25)
    drawn = training_rows(100, config)
    assert int((~drawn).sum()) == 25
    assert torch.equal(drawn, training_rows(100, config))
    assert not torch.equal(drawn, training_rows(100, config_of(LOG, holdout=0.25, seed=1)))
    assert training_rows(3, config).all()  # a quarter of three rows is none
    assert training_rows(7, config_of(LOG, holdout=0.0)).all()


@pytest.mark.parametrize(
    ("log", "flags", "message"),
    [
        (
            dataclasses.replace(LOG, action_mask=np.ones((LOG.steps + LOG.episodes, 2), np.bool_)),
            {"conservative": 1.0},
            "conservative presses all actions down .* give conservative 0 for this log",
        ),
        (
            LOG,
            {"n_step": 2, "n_step_rule": "importance"},
            "propensities, and this log has none; give propensities estimated, or n-step-rule cut",
        ),
        (
            log_of(([1.0], "terminated")),
            {"patience": 1},
            r"patience looks at held-out rows, but holdout 0\.05 of 1 rows",
        ),
        (LOG.select(np.zeros(0, np.int64)), {}, "the log holds no steps to train on"),
        (
            dataclasses.replace(LOG, action_space=gym.spaces.Box(0, 1, ()), actions=LOG.actions.astype(np.float32)),
            {},
            "the mlp regressor .* needs Discrete actions",
        ),
    ],
)
def test_what_cannot_be_trained_leaves_no_run_behind(log, flags, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(log, config_of(LOG, **flags), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="exists already"):
        train(LOG, config_of(LOG), tmp_path)


def test_one_row_is_enough(tmp_path):
    log = log_of(([1.0], "terminated"))
    run = train(log, config_of(log, updates=300), tmp_path / "run")
    assert run.metrics[-1]["mean_q"] == pytest.approx(1, abs=0.02)
    assert run.metrics[-1]["heldout_loss"] is None


def test_the_listener_hears_every_round_after_it_was_kept(tmp_path):
    heard = []
    path = tmp_path / "run"
    train(LOG, config_of(LOG), path, listen=lambda n, m: heard.append((n, Run(path).rounds[-1], len(m))))
    assert heard == [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1)]


def test_threads_are_given_back(tmp_path):
    before = torch.get_num_threads()
    train(LOG, config_of(LOG, iterations=1), tmp_path / "run")
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()


# ---- divergence


def endless(reward, steps=400):
    """One episode that is cut, with the same reward at every step."""
    return log_of(([reward] * steps, "truncated"))


@pytest.mark.parametrize("reward", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("gamma", [0.99, 1.0])
def test_a_log_without_ends_does_not_pass_for_divergence(reward, gamma, tmp_path):
    # Values climb from one reward to reward / (1 - gamma), and the first rounds are far from there.
    log = endless(reward)
    run = train(log, config_of(log, gamma=gamma, iterations=12, updates=30), tmp_path / "run")
    assert run.record["status"] == "finished"


def explode(monkeypatch, of_round):
    """Let the values of the mlp be `of_round[k]` after round k + 1, for all rows."""
    fit = Mlp.fit

    def fitted(self, targets, weights):
        found = fit(self, targets, weights)
        value = of_round[int(self.state.count.max()) // 12 - 1]  # a round has 12 steps
        self.state.flat.zero_()
        self.state.mean.fill_(value)
        return found

    monkeypatch.setattr(Mlp, "fit", fitted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_stop_training(value, monkeypatch, tmp_path):
    explode(monkeypatch, [0.5, value])
    with pytest.raises(DivergedError, match=r"round 2: .* member 0 are no longer finite numbers; try a lower --lr"):
        train(LOG, config_of(LOG), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.record["status"] == "diverged"
    assert "no longer finite" in run.record["message"]
    assert run.rounds == [1]
    assert [row["round"] for row in run.metrics] == [1]


def test_values_far_beyond_what_rewards_can_earn_stop_training_after_five_rounds(monkeypatch, tmp_path):
    # 0 to 1 can be earned; half as much again, 1.5, is far beyond.
    explode(monkeypatch, [1.6, 1.4, 1.6, 1.6, 1.6, 1.6, 1.6])
    with pytest.raises(DivergedError, match=r"round 7: the mean Q of member 0 is 1\.6, .* only 0 to 1, .* 5 rounds"):
        train(LOG, config_of(LOG, iterations=20), tmp_path / "run")
    assert Run.open(tmp_path / "run").rounds == [1, 2, 3, 4, 5, 6]


def test_a_break_does_not_put_divergence_off(monkeypatch, tmp_path):
    explode(monkeypatch, [1.6] * 20)
    half = train(LOG, config_of(LOG, iterations=3), tmp_path / "half")
    with pytest.raises(DivergedError, match="round 5"):
        resume(half, LOG, iterations=20)
    assert half.record["status"] == "diverged"
    with pytest.raises(DivergedError, match="round 5"):  # and going on finds the same again
        resume(half, LOG)


def test_a_learning_rate_out_of_all_proportion_is_found_out(tmp_path):
    with pytest.raises(DivergedError, match="try"):
        train(LOG, config_of(LOG, iterations=60, lr=1e9), tmp_path / "run")


# ---- processes


def test_the_number_of_workers_does_not_change_a_bit(tmp_path):
    log = walks(6)
    settings = {"seeds": 3, "iterations": 2}
    one = train(log, config_of(log, **settings, workers=1), tmp_path / "one")
    two = train(log, config_of(log, **settings, workers=2), tmp_path / "two")
    assert_same(one, two)


@pytest.mark.slow
def test_nor_does_it_with_weights_and_a_penalty(tmp_path):
    log = walks(6)
    settings = {"seeds": 3, "iterations": 2, "weights": "prioritised", "conservative": 0.5}
    one = train(log, config_of(log, **settings, workers=1), tmp_path / "one")
    two = train(log, config_of(log, **settings, workers=2), tmp_path / "two")
    assert_same(one, two)


def child(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # A shell without job control has what it starts in the background ignore SIGINT, and children inherit that.
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True,
                            start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip


def wait_for_round(path, number, lives):
    patience = time.monotonic() + 60
    while not (path / "rounds" / f"{number:05d}.safetensors").exists():
        assert lives()
        assert time.monotonic() < patience
        time.sleep(0.002)


@pytest.mark.parametrize("more", [{}, {"sweep": {"lr": [1e-3, 1e-2], "clip": [0.5, 10.0]}}], ids=["plain", "sweep"])
@pytest.mark.slow
def test_kills_at_random_moments_leave_nothing_to_see(more, tmp_path, monkeypatch):
    # Each process is forked from one that has imported everything, which takes longer than to train.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fqi.training_kit"])
    whole = train(LOG, config_of(LOG, iterations=110, **more), tmp_path / "whole")
    path, draws = tmp_path / "killed", random.Random(0)
    seen = 0
    for _ in range(3):
        process = context.Process(target=start_or_go_on, args=(path,), kwargs={"iterations": 110, **more})
        process.start()
        wait_for_round(path, seen + draws.randint(2, 30), process.is_alive)
        time.sleep(draws.uniform(0, 0.01))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        killed = Run.open(path)
        assert killed.record["status"] == "training"
        seen = killed.rounds[-1]
        assert len(killed.metrics) >= seen - 1
        for number in killed.rounds:  # every round that is there can be read
            killed.load(killed.build(), number)
    assert seen < 110
    assert_same(whole, resume(Run.open(path), LOG))


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files that kills")
def test_a_kill_in_the_middle_of_a_file_leaves_nothing_that_stays(tmp_path):
    wide = {"iterations": 2, "width": 4096}
    whole = train(LOG, config_of(LOG, **wide), tmp_path / "whole")
    path = tmp_path / "killed"
    process = child(
        "import resource, signal; from pathlib import Path; from tests.fqi.training_kit import start_or_go_on\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"start_or_go_on(Path({str(path)!r}), **{wide})"
    )
    process.communicate()
    assert process.returncode == -signal.SIGXFSZ
    assert Run.open(path).rounds == []
    assert [file.name for file in (path / "rounds").iterdir()]  # the file that was being written
    assert_same(whole, resume(Run.open(path), LOG))


def members_of(group):
    """Processes of this group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_worker_processes_end_with_their_parent(how, tmp_path):
    path = tmp_path / "run"
    # A script without a guard around its main part: workers must not run it again.
    process = child(
        f"from pathlib import Path\nfrom tests.fqi.training_kit import start_or_go_on\n"
        f"start_or_go_on(Path({str(path)!r}), iterations=100_000, workers=2)"
    )
    wait_for_round(path, 2, lambda: process.poll() is None)
    assert len(members_of(process.pid)) >= 3
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: everyone hears it
    else:
        process.kill()
    _, said = process.communicate(timeout=20)
    patience = time.monotonic() + 10
    while members_of(process.pid) and time.monotonic() < patience:
        time.sleep(0.02)
    assert members_of(process.pid) == []
    assert process.returncode == -how
    assert said.count("Traceback") == (how == signal.SIGINT)  # the parent's own KeyboardInterrupt
    assert Run.open(path).rounds


def test_whole_episodes_are_held_out_where_the_settings_say_so():
    config = config_of(LOG, holdout=0.4, holdout_by="episodes")
    kept = training_rows(LOG.steps, config, LOG.lengths).numpy()
    of_episode = np.add.reduceat(kept, LOG.starts)
    assert set(of_episode / LOG.lengths) == {0.0, 1.0}
    assert 0 < 1 - kept.mean() <= 0.4
    with pytest.raises(UserError, match="holds no whole episode"):
        training_rows(LOG.steps, config_of(LOG, holdout=1.5 / LOG.steps, holdout_by="episodes"), LOG.lengths)
    with pytest.raises(UserError, match="holdout-by episodes has an effect only with"):
        config_of(LOG, holdout=0.0, holdout_by="episodes")


def test_whether_somebody_acted_who_was_not_random_is_read_from_the_log():
    def constraint(log):
        return configure(log).train.constraint

    nobody = np.zeros(LOG.steps, np.int64)
    legal = np.ones((LOG.steps + LOG.episodes, 2), np.bool_)
    assert constraint(LOG) == 0.5  # which does not say who acted
    assert constraint(dataclasses.replace(LOG, behaviour=nobody, behaviours=("random,weight=2",))) == 0
    assert constraint(dataclasses.replace(LOG, behaviour=nobody, behaviours=("random", "scripted:car"))) == 0.5
    assert constraint(dataclasses.replace(LOG, action_mask=legal)) == 0
