"""What every regressor promises, tested on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch

from fqi.errors import UserError
from fqi.imports import trust
from fqi.iteration import fitted_q_iteration
from fqi.log import Log
from fqi.qfunctions.cnn import Cnn
from fqi.qfunctions.contract import QFunction
from fqi.qfunctions.linear import LinearQ
from fqi.qfunctions.mlp import Mlp
from fqi.qfunctions.multimodal import Multimodal
from fqi.qfunctions.own import Own
from fqi.qfunctions.settings import (
    CnnSettings,
    LinearSettings,
    MlpSettings,
    MultimodalSettings,
    OwnSettings,
    TableSettings,
    TreesSettings,
    UnetSettings,
)
from fqi.qfunctions.table import TableQ
from fqi.qfunctions.trees import TreesQ
from fqi.qfunctions.unet import Unet
from fqi.spaces import stacked
from fqi.transitions import Transitions, transitions
from fqi.values import VALUE_RULES, Value

CPU = torch.device("cpu")
BOX = gym.spaces.Dict({"place": gym.spaces.Box(-4, 4, (2,), np.float32), "mode": gym.spaces.Discrete(3, start=1)})
GRID = gym.spaces.MultiDiscrete([4, 3])
OWN = "py:tests.fqi.qfunctions.test_contract:user_network"
IMAGE = gym.spaces.Box(0, 255, (6, 5), np.uint8)


@dataclass(frozen=True)
class Case:
    """One regressor with one choice of settings."""

    kind: Callable[..., QFunction]
    settings: Any
    table: bool = False  # whether it needs finitely many states
    random: bool = True  # whether seeds change it; if not, several heads are refused
    image: bool = False  # whether it needs images
    actions: int = 3
    stack: int = 1  # frames that it is shown at once

    def make(self, seeds: Sequence[int] = (3,), actions: gym.Space[Any] | None = None) -> QFunction:
        shown = stacked(self.space, self.stack)
        return self.kind(self.settings, shown, actions or gym.spaces.Discrete(self.actions, start=5), seeds, CPU)

    @property
    def space(self) -> gym.Space[Any]:
        return GRID if self.table else IMAGE if self.image else BOX

    def log(self, taken: Sequence[int] = (5, 6, 7)) -> Log:
        return small_log(self.space, taken, self.actions)

    def rows(self, log: Log) -> Transitions:
        return transitions(log, 0.9, stack=self.stack)

    @property
    def seeds(self) -> tuple[int, ...]:
        return (3, 4) if self.random else (3,)


def user_network(space: gym.Space[Any], outputs: int) -> torch.nn.Module:
    """A module whose outputs are not linear in its last layer."""
    hidden = torch.nn.Linear(5 if space.shape is None else int(np.prod(space.shape)), 8)  # 2 numbers, 3 categories
    return torch.nn.Sequential(
        torch.nn.Flatten(), hidden, torch.nn.Tanh(), torch.nn.Linear(8, outputs), torch.nn.Tanh()
    )


trust(OWN, "network")

MAPS: dict[str, Any] = {"channels": 4, "levels": 1, "updates": 10, "batch": 16, "lr": 0.01}

# Every regressor belongs here: its class and small settings. The rest of the file then holds it to the contract.
CASES = {
    "table": Case(TableQ, TableSettings(), table=True, random=False),
    "linear-raw": Case(LinearQ, LinearSettings(features="raw"), random=False),
    "linear-polynomial": Case(LinearQ, LinearSettings(features="polynomial:2"), random=False),
    "linear-fourier": Case(LinearQ, LinearSettings(features="fourier:1"), random=False),
    "linear-radial": Case(LinearQ, LinearSettings(features="radial:8:1")),
    "linear-tiles": Case(LinearQ, LinearSettings(features="tiles:3:2")),
    "trees": Case(TreesQ, TreesSettings(trees=4, leaf=2, jobs=1)),
    "trees-pair": Case(TreesQ, TreesSettings(trees=4, per="pair", max_features=0.5, jobs=2)),
    "trees-frozen": Case(TreesQ, TreesSettings(trees=4, freeze_structure_after=1, jobs=1)),
    "trees-directions": Case(TreesQ, TreesSettings(trees=4, directions=3, regrow_every=2, jobs=1)),
    "trees-regrown": Case(TreesQ, TreesSettings(trees=4, regrow_every=2, jobs=1)),
    "trees-frozen-pair": Case(TreesQ, TreesSettings(trees=4, freeze_structure_after=2, per="pair", jobs=1)),
    "mlp": Case(Mlp, MlpSettings(width=8, updates=20, batch=16)),
    "mlp-cold": Case(Mlp, MlpSettings(width=8, depth=1, updates=20, batch=16, start="cold", loss="squared")),
    "mlp-quantile": Case(Mlp, MlpSettings(width=8, depth=1, updates=20, batch=16, loss="quantile", quantiles=4)),
    "mlp-stack": Case(Mlp, MlpSettings(width=8, updates=20, batch=16), stack=3),
    "table-stack": Case(TableQ, TableSettings(), table=True, random=False, stack=2),
    "trees-stack": Case(TreesQ, TreesSettings(trees=4, jobs=1), stack=2),
    "cnn": Case(Cnn, CnnSettings(dense=8, updates=5, batch=8), image=True),
    "cnn-stack": Case(Cnn, CnnSettings(dense=8, updates=5, batch=8, loss="huber", conservative=1), image=True, stack=3),
    "cnn-shift": Case(Cnn, CnnSettings(dense=8, updates=5, batch=8, shift=1, dueling=True), image=True),
    "mlp-inputs": Case(Mlp, MlpSettings(width=8, updates=10, batch=16, encoding="inputs")),
    "mlp-networks": Case(Mlp, MlpSettings(width=8, updates=10, batch=16, encoding="networks")),
    "mlp-dueling": Case(Mlp, MlpSettings(width=8, updates=10, batch=16, dueling=True)),
    "mlp-norm": Case(Mlp, MlpSettings(width=8, updates=10, batch=16, layer_norm=True, dueling=True)),
    "mlp-embedding": Case(Mlp, MlpSettings(width=8, updates=10, batch=16, embedding=3), stack=2),
    "multimodal": Case(Multimodal, MultimodalSettings(width=8, encoder=4, embedding=2, updates=10, batch=16)),
    "unet": Case(Unet, UnetSettings(**MAPS), image=True, actions=30),
    "unet-turned": Case(Unet, UnetSettings(**MAPS, rotations=2, turn=0.5), image=True, actions=60),
    "own": Case(Own, OwnSettings(network=OWN, updates=10, batch=16)),
    "own-image": Case(Own, OwnSettings(network=OWN, updates=10, batch=16, start="cold"), image=True),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def small_log(space: gym.Space[Any], taken: Sequence[int], actions: int) -> Log:
    """Twelve episodes of two to nine steps, of which every other one terminates."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 10, size=12)
    steps, frames = int(lengths.sum()), int(lengths.sum()) + 12
    observations: Any = generator.integers(GRID.nvec, size=(frames, 2))
    if space is BOX:
        place = generator.normal(size=(frames, 2)).clip(-4, 4).astype(np.float32)
        observations = {"place": place, "mode": generator.integers(1, 4, size=frames)}
        observations = {key: observations[key] for key in BOX.spaces}
    if space is IMAGE:
        observations = generator.integers(0, 256, size=(frames, *IMAGE.shape), dtype=np.uint8)
    rewards = generator.normal(size=steps)
    if space is IMAGE:  # what a pixel's surroundings tell can be learned sooner than what they do not
        rewards = observations[np.arange(steps) + np.repeat(np.arange(12), lengths), 0, 1] / 64 - 2
    last = np.cumsum(lengths) - 1
    terminations, truncations = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    terminations[last[::2]], truncations[last[1::2]] = True, True
    return Log(
        observations=observations,
        actions=generator.choice(taken, size=steps),
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        lengths=lengths,
        observation_space=space,
        action_space=gym.spaces.Discrete(actions, start=5),
    )


def everything(rows: Transitions) -> torch.Tensor:
    return torch.ones(len(rows), dtype=torch.bool)


def run(q: QFunction, rows: Transitions, rounds: range, training: torch.Tensor | None = None) -> QFunction:
    q.bind(rows, everything(rows) if training is None else training)
    for _ in fitted_q_iteration(rows, q, Value(VALUE_RULES["mean"]), rounds):
        pass
    return q


def all_values(q: QFunction, rows: Transitions) -> torch.Tensor:
    return q.values(rows.observations())


def test_values_are_finite_and_of_the_shape_they_promise(case: Case) -> None:
    log = case.log()
    q = run(case.make(case.seeds), case.rows(log), range(1, 4))
    frames = log.steps + log.episodes
    assert (q.heads, q.actions) == (len(case.seeds), case.actions)
    for values, count in ((all_values(q, case.rows(log)), frames), (q.log_values(2, 9), 7), (q.log_values(4, 4), 0)):
        assert values.shape == (q.heads, count, case.actions)
        assert values.dtype.is_floating_point
        assert torch.isfinite(values).all()
    assert all_values(q, case.rows(log)).abs().max() > 0


def test_nothing_is_known_before_the_first_fit(case: Case) -> None:
    log = case.log()
    q = case.make()
    q.bind(case.rows(log), torch.ones(log.steps, dtype=torch.bool))
    assert (q.log_values(0, log.steps) == 0).all()


def test_a_fit_says_something_of_each_head(case: Case) -> None:
    rows = case.rows(case.log())
    q = case.make(case.seeds)
    q.bind(rows, everything(rows))
    said = q.fit(torch.zeros(q.heads, len(rows), dtype=q.log_values(0, 1).dtype))
    assert all(len(numbers) == q.heads for numbers in said.values())


def test_the_fit_moves_towards_the_targets(case: Case) -> None:
    log = case.log()
    rows = case.rows(log)
    q = case.make()
    q.bind(rows, everything(rows))
    targets = torch.from_numpy(rows.returns).to(q.log_values(0, 1).dtype)[None]
    q.fit(targets)
    fitted = all_values(q, case.rows(log))[0][torch.from_numpy(rows.frame), torch.from_numpy(rows.action)]
    assert (fitted - targets[0]).square().mean() < (targets - targets.mean()).square().mean()


def test_heads_differ_or_are_refused(case: Case) -> None:
    log = case.log()
    if not case.random:
        with pytest.raises(UserError, match="found 2 heads"):
            case.make((3, 4))
        return
    values = all_values(run(case.make((3, 4)), case.rows(log), range(1, 3)), case.rows(log))
    assert not torch.equal(values[0], values[1])


def test_a_head_does_not_depend_on_those_beside_it(case: Case) -> None:
    if not case.random:
        return
    log = case.log()
    rows = case.rows(log)
    targets = torch.from_numpy(rows.returns)[None]
    made = []
    for seeds in ((3, 4), (4,)):
        q = case.make(seeds)
        q.bind(rows, everything(rows))
        q.fit(targets.to(q.log_values(0, 1).dtype).repeat(len(seeds), 1))
        made.append(all_values(q, case.rows(log))[-1])
    torch.testing.assert_close(*made)


def test_some_heads_can_be_asked_alone(case: Case) -> None:
    log = case.log()
    q = case.make(case.seeds)
    for _ in range(2):  # before the first fit and after it
        assert torch.equal(q.values(case.rows(log).observations(), slice(0, 1)), all_values(q, case.rows(log))[:1])
        run(q, case.rows(log), range(1, 3))


def test_frames_of_the_log_are_valued_as_any_others(case: Case) -> None:
    log = case.log()
    q = run(case.make(case.seeds), case.rows(log), range(1, 4))
    torch.testing.assert_close(q.log_values(3, 20), q.values(case.rows(log).observations(slice(3, 20))))


def test_a_checkpoint_gives_the_same_bits_without_the_log(case: Case) -> None:
    log = case.log()
    q = run(case.make(case.seeds), case.rows(log), range(1, 4))
    read = safetensors.torch.load(safetensors.torch.save(q.checkpoint()))
    again = case.make(case.seeds)
    again.restore(read)
    assert torch.equal(all_values(q, case.rows(log)), all_values(again, case.rows(log)))
    shown = case.rows(log).observations()
    support, same = q.support(shown), again.support(shown)
    assert (support is None and same is None) or torch.equal(support, same)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bits(case: Case) -> None:
    log = case.log()
    first, second = (
        all_values(run(case.make(case.seeds), case.rows(log), range(1, 4)), case.rows(log)) for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resuming_equals_going_on(case: Case, stop: int) -> None:
    log = case.log()
    rows = case.rows(log)
    whole = run(case.make(case.seeds), rows, range(1, 5))
    half = run(case.make(case.seeds), rows, range(1, stop + 1))
    resumed = case.make(case.seeds)
    resumed.restore(half.checkpoint())
    resumed.restore_resume_state(safetensors.torch.load(safetensors.torch.save(half.resume_state())))
    run(resumed, rows, range(stop + 1, 5))
    assert torch.equal(all_values(whole, case.rows(log)), all_values(resumed, case.rows(log)))


def test_held_out_rows_do_not_influence_the_fit(case: Case) -> None:
    log = case.log()
    held = log.episode_of_step >= 8
    other = replace(
        log,
        observations=_changed(log, log.start_frames[8]),
        rewards=np.where(held, 100.0, log.rewards),
        actions=np.where(held, 5, log.actions),
    )
    probe = case.rows(log).observations(slice(0, 20))
    first, second = (
        run(case.make(case.seeds), case.rows(some), range(1, 4), torch.from_numpy(~held)).values(probe)
        for some in (log, other)
    )
    assert torch.equal(first, second)


def _changed(log: Log, start: int) -> Any:
    """The log's observations with other frames from `start` on."""
    if log.observation_space is GRID:
        return np.concatenate([log.observations[:start], np.zeros_like(log.observations[start:])])  # type: ignore[index]
    if log.observation_space is IMAGE:
        return np.concatenate([log.observations[:start], 255 - log.observations[start:]])  # type: ignore[index,operator]
    place = np.array(log.observations["place"])
    place[start:] = 3.5
    return {**log.observations, "place": place}  # type: ignore[dict-item]


def test_support_of_the_log_is_that_of_its_frames(case: Case) -> None:
    log = case.log((5, 7))  # the second action is never taken
    q = run(case.make(case.seeds), case.rows(log), range(1, 3))
    of_log, of_frames = q.log_support(3, 20), q.support(case.rows(log).observations(slice(3, 20)))
    assert (of_log is None) == (of_frames is None)
    if of_log is not None and of_frames is not None:
        assert of_log.shape == (17, case.actions)
        assert of_log.dtype == torch.bool
        assert torch.equal(of_log, of_frames)
        assert not of_log[:, 1].any()


def test_actions_that_are_not_discrete_are_refused(case: Case) -> None:
    with pytest.raises(UserError, match="needs Discrete actions, found Box"):
        case.make(actions=gym.spaces.Box(-1, 1, (2,)))


def test_a_checkpoint_of_another_kind_is_refused(case: Case) -> None:
    log = case.log()
    q = run(case.make(case.seeds), case.rows(log), range(1, 3))
    good = q.checkpoint()
    fresh = case.make(case.seeds)
    for name, tensor in good.items():
        _refused(fresh, {k: v for k, v in good.items() if k != name})
        _refused(fresh, {**good, name: tensor.to(torch.complex64)})
        _refused(fresh, {**good, name: tensor[None]})
        if tensor.dtype.is_floating_point and tensor.numel():
            _refused(fresh, {**good, name: torch.full_like(tensor, torch.nan)})
    _refused(fresh, {**good, "more": torch.zeros(1)})
    _refused(fresh, {})
    fresh.restore(good)
    assert torch.equal(all_values(q, case.rows(log)), all_values(fresh, case.rows(log)))


def _refused(q: QFunction, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UserError):
        q.restore(tensors)
