"""Training: a log and settings become a run directory, round by round; and going on with one that was stopped."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from fqi.each import slots
from fqi.errors import UserError
from fqi.files import refuse_existing
from fqi.frames import on_disk
from fqi.iteration import Round, fitted_q_iteration
from fqi.log import Log, fingerprint
from fqi.maximise import bounded_box
from fqi.nest import Array, leaf_spaces
from fqi.qfunctions.contract import Fitted, QFunction
from fqi.regressors import REGRESSORS
from fqi.run import Run, build
from fqi.scan import log_values
from fqi.settings import Config, resolve
from fqi.threads import one_thread

Listener = Callable[[int, list[dict[str, Any]]], None]
BINS = 24  # of the histogram of Q, from min_q to max_q
BEYOND = 5  # rounds in a row that values may lie beyond what rewards can earn


class DivergedError(Exception):
    """Values ran away: what was seen and what to try."""


def configure(
    log: Log,
    values: dict[str, Any] | None = None,
    where: str = "settings",
    flags: dict[str, Any] | None = None,
    sweep: dict[str, list[Any]] | None = None,
) -> Config:
    """Resolve settings for this log: nested ones as in a TOML file, flat ones as on the command line, and options in
    which members differ."""
    discrete = all(isinstance(s, gym.spaces.Discrete) for s in leaf_spaces(log.observation_space).values())
    costs = bool((log.rewards < 0).any())
    if isinstance(log.action_space, gym.spaces.Box):
        bounded_box(log.action_space)
    return resolve(
        values or {},
        discrete_observations=discrete,
        costs=costs,
        continuous=isinstance(log.action_space, gym.spaces.Box),
        guided=_guided(log),
        where=where,
        flags=flags,
        sweep=sweep,
    )


def _guided(log: Log) -> bool:
    """Whether somebody acted who was not random, as far as the log says, and whose actions a clone can be taught."""
    random = log.behaviour is not None and all(name.split(",")[0] == "random" for name in log.behaviours)
    return not random and log.action_mask is None and not on_disk(log.observations)


def train(
    log: Log,
    config: Config,
    out: Path,
    *,
    log_reference: str = "",
    command: list[str] | None = None,
    listen: Listener | None = None,
) -> Run:
    """Train K rounds on the log into a new run directory; where the settings or the log do not fit, none is made."""
    refuse_existing(out)
    config = config.changed(device=_device(config))

    def begin(_: Fitted) -> tuple[Run, int]:
        return Run.create(out, config, log, log_reference, command or []), 0

    return _rounds(log, config, begin, listen)


def resume(run: Run, log: Log, *, iterations: int | None = None, listen: Listener | None = None) -> Run:
    """Go on after the last whole round, to the number of rounds asked for; bit for bit as if it had never stopped."""
    config = run.config
    if config.train.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{run.path} was trained on a CUDA device, and torch sees none here; go on where there is one")
    if fingerprint(log) != run.record["log"]["fingerprint"]:
        raise UserError(f"{run.path}: the log has changed since training began: its content has another fingerprint")
    if iterations is not None:
        if iterations < config.train.iterations:
            raise UserError(f"--iterations {iterations} is less than the {config.train.iterations} of {run.path}")
        config = config.changed(iterations=iterations)

    def begin(q: Fitted) -> tuple[Run, int]:
        with run.held():
            last = run.go_back_to_last_whole_round(q)
            if iterations is not None:
                run.lengthen(iterations)
            run.set_status("training")
        return run, last

    return _rounds(log, config, begin, listen)


def _rounds(log: Log, config: Config, begin: Callable[[Fitted], tuple[Run, int]], listen: Listener | None) -> Run:
    """Train to the last round into the run that `begin` gives, with the round after which to go on."""
    _refuse_whole_frames(log, config)
    K, own = config.train.iterations, slots(log, config)
    rows, value = own.rows, own.value
    training = training_rows(len(rows), config, log.lengths)
    watch = _Watch(own.earnable, training, sweep=bool(config.sweep))
    q = build(config, log.observation_space, log.action_space, _device(config), _workers(config))
    try:
        with torch.no_grad(), one_thread():
            q.bind(rows, training)
            run, last = begin(q)
            with run.held(), _ending(run):
                watch.recall(run.metrics)
                clock = time.perf_counter()
                past = _past(run, q, last, value.rounds, log.steps + log.episodes)
                rounds = range(last + 1, K + 1)
                for done in fitted_q_iteration(rows, q, value, rounds, own.bound, past, own.returns, own.weights):
                    now = time.perf_counter()
                    metrics = watch.metrics(done, now - clock)
                    clock = now
                    trouble = watch.trouble(metrics)
                    if trouble:
                        raise DivergedError(trouble)
                    run.write_round(done.number, q, metrics)
                    if listen:
                        listen(done.number, metrics)
    finally:
        q.close()
    return run


def _refuse_whole_frames(log: Log, config: Config) -> None:
    """Frames that stay on disk are never in memory together."""
    if not on_disk(log.observations):
        return
    able = " or ".join(name for name, kind in REGRESSORS.items() if kind.streams)
    if not config.kind.streams:
        raise UserError(
            f"the frames of this log stay on disk, and the {config.train.regressor} regressor holds all of them in "
            f"memory; give regressor {able}, or a larger --memory"
        )
    if not isinstance(log.action_space, gym.spaces.Discrete):
        raise UserError(
            "the frames of this log stay on disk, and with continuous actions all of them are held in memory; give "
            "a larger --memory"
        )
    if config.train.constraint:
        raise UserError(
            "the frames of this log stay on disk, and constraint clones the behaviour from all of them in memory; give "
            "constraint 0, or a larger --memory"
        )


def _past(run: Run, q: Fitted, last: int, rounds: int, frames: int) -> list[torch.Tensor]:
    """What Q said of every frame in the rounds before the last one, the newest first, as far as values look back: read
    from the run's own rounds, so that going on is exact."""
    found: list[torch.Tensor] = []
    if not isinstance(q, QFunction):  # of continuous actions no values are looked back at
        return found
    for number in range(last - 1, max(0, last - rounds), -1):
        run.load(q, number)
        found.append(log_values(q, frames))
    if found:
        run.load(q, last)
    return found


@contextlib.contextmanager
def _ending(run: Run) -> Iterator[None]:
    """Write into the run how its training ended."""
    try:
        yield
    except DivergedError as error:
        run.set_status("diverged", str(error))
        raise
    except BaseException:
        run.set_status("stopped")
        raise
    run.set_status("finished")


def training_rows(count: int, config: Config, lengths: Array | None = None) -> torch.Tensor:
    """[B] bool: the rows that are regressed on, drawn once from the run's seed; the others are held out, whole
    episodes of these lengths [M] where the settings say so."""
    if count == 0:
        raise UserError("the log holds no steps to train on")
    held = int(count * (config.train.holdout or 0.0))
    patience: int = getattr(config.regressor, "patience", 0)
    if held == 0 and patience:
        raise UserError(f"patience looks at held-out rows, but holdout {config.train.holdout} of {count} rows is none")
    if held == 0:
        return torch.ones(count, dtype=torch.bool)
    generator = np.random.default_rng((config.train.seed, 1))
    if config.train.holdout_by == "episodes" and lengths is not None:
        order = generator.permutation(len(lengths))
        out = order[np.cumsum(lengths[order]) <= held] if len(lengths) > 1 else order[:0]
        if not len(out):
            raise UserError(
                f"holdout {config.train.holdout} of {count} rows holds no whole episode; give a larger holdout, or "
                "holdout-by rows"
            )
        kept = np.ones(len(lengths), np.bool_)
        kept[out] = False
        return torch.from_numpy(np.repeat(kept, lengths))
    order = generator.permutation(count)
    training = torch.ones(count, dtype=torch.bool)
    training[torch.from_numpy(order[:held])] = False
    return training


class _Watch:
    """Turns rounds into rows of metrics, and says when values run away."""

    def __init__(self, bounds: list[tuple[float, float]], training: torch.Tensor, sweep: bool = False) -> None:
        self.bounds = bounds  # lowest and highest that can be earned, by each member
        self.training = training
        self.sweep = sweep
        self.beyond = 0  # rounds in a row

    def metrics(self, done: Round, seconds: float) -> list[dict[str, Any]]:
        """A row for each member: means over its heads unless the name says otherwise."""
        seen, training, members = done.seen, self.training.to(done.targets.device), len(self.bounds)
        heads = len(seen.logged) // members
        error = (seen.logged - done.targets).square()  # [P, B]
        slack = seen.logged.new_tensor([_with_slack(*b) for b in self.bounds])
        low, high = slack.repeat_interleave(heads, 0).T.unsqueeze(2)  # [P, 1] each
        beyond = ((seen.logged > high) | (seen.logged < low)).to(error.dtype)
        residual = (seen.logged - done.next_targets).square()
        columns = {  # row by row, for a sum over all rounds otherwise where there are others beside it
            "training_loss": _means(error[:, training]),
            "heldout_loss": _means(error[:, ~training]),
            "mean_q": _means(seen.logged),
            "min_q": seen.logged.amin(1),
            "max_q": seen.logged.amax(1),
            "mean_value": _means(seen.next_values),
            "target_mean": _means(done.targets),
            "target_spread": torch.stack([targets.std(correction=0) for targets in done.targets]),
            "bellman_residual": _means(residual).sqrt(),
            "beyond_bounds": _means(beyond),
        }
        rows = []
        for member in range(members):
            own = slice(member * heads, (member + 1) * heads)
            row: dict[str, Any] = {"round": done.number, "member": member}
            for name, column in columns.items():
                reduce = {"min_q": torch.min, "max_q": torch.max}.get(name, torch.mean)
                row[name] = float(reduce(column[own].double()))
            row["disagreement"] = float(seen.logged[own].std(0, correction=0).mean())
            row["lowest_earnable"], row["highest_earnable"] = self.bounds[member]
            row |= {name: float(np.mean(values[own])) for name, values in done.fit.items()}
            row["q_counts"] = _histogram(seen.logged[own], row["min_q"], row["max_q"])
            if seen.chosen is not None:
                row["greedy_shares"] = (seen.chosen[member] / seen.chosen[member].sum()).tolist()
            row["seconds"] = seconds
            rows.append(row)
        return rows

    def recall(self, metrics: list[dict[str, Any]]) -> None:
        """Take notice of earlier rounds, as kept, so that what comes next is judged as if there had been no break."""
        for _, of_round in itertools.groupby(metrics, key=lambda row: row["round"]):
            self.trouble(list(of_round))

    def trouble(self, metrics: list[dict[str, Any]]) -> str | None:
        """A sentence when a round shows NaN, or values that no policy could earn for several rounds."""
        for row in metrics:
            if not np.isfinite([row["mean_q"], row["max_q"], row["min_q"], row["training_loss"]]).all():
                return (
                    f"round {row['round']}: the Q-values of member {row['member']} are no longer finite numbers; "
                    "try a lower --lr, --loss huber or a smaller --clip"
                )
        far = [row for row in metrics if _far_beyond(row["mean_q"], *self.bounds[row["member"]])]
        self.beyond = self.beyond + 1 if far else 0
        if self.beyond < BEYOND or self.sweep:  # a sweep is there to compare: its report tells which setting ran away
            return None
        row = far[0]
        low, high = self.bounds[row["member"]]
        return (
            f"round {row['round']}: the mean Q of member {row['member']} is {row['mean_q']:.4g}, although the rewards "
            f"seen can earn only {low:.4g} to {high:.4g}, and so it has been for {BEYOND} rounds; "
            "try --target min with a larger --ensemble, a lower --gamma or more data"
        )


def _means(numbers: torch.Tensor) -> torch.Tensor:
    """[P] the mean of each row of numbers [P, B]."""
    return torch.stack([row.mean() for row in numbers])


def _with_slack(low: float, high: float) -> tuple[float, float]:
    """Bounds that rounding does not lie beyond."""
    slack = 1e-3 * max(1.0, *(abs(b) for b in (low, high) if np.isfinite(b)), 0.0)
    return low - slack, high + slack


def _far_beyond(value: float, low: float, high: float) -> bool:
    span = high - low
    if not np.isfinite(span):
        return False
    margin = 0.5 * span if span > 0 else 1.0
    return value > high + margin or value < low - margin


def _histogram(values: torch.Tensor, low: float, high: float) -> list[int]:
    """How many values lie in each of BINS equal parts of what lies between; none where an end is not finite."""
    if not np.isfinite([low, high]).all():
        return []
    place = (values.double() - low).mul_(BINS / max(high - low, 1e-300)).long().clamp_(0, BINS - 1)
    return torch.bincount(place.reshape(-1), minlength=BINS).tolist()


def _device(config: Config) -> str:
    wanted = config.train.device
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError(
            "--device cuda: torch sees no CUDA device here; give --device cpu, or install a CUDA build of torch"
        )
    if wanted == "auto":
        wanted = "cuda" if available and config.kind.workers else "cpu"
    if wanted == "cpu" and getattr(config.regressor, "precision", "") == "tf32":
        raise UserError(
            "--precision tf32 is arithmetic of NVIDIA's GPUs, and this run would train on the CPU; give float32 or bf16"
        )
    return wanted


def _workers(config: Config) -> int:
    if not config.kind.workers:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return config.train.workers or min(cores, config.members * config.heads)
