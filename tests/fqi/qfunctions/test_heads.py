"""The tensor program: its gradients against autograd, its steps against plain Adam, its batches, and its fits."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch

from fqi.networks.alignment import aligned
from fqi.networks.perceptrons import Dense
from fqi.qfunctions.best import Best
from fqi.qfunctions.contract import Weights
from fqi.qfunctions.drawn import Drawn
from fqi.qfunctions.heads import Heads, Kind
from fqi.qfunctions.inputs import PIECE, Columns
from fqi.qfunctions.rows import Rows
from fqi.qfunctions.settings import MlpSettings
from fqi.qfunctions.state import State
from fqi.qfunctions.workers import Share

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def heads_of(sizes, seeds=(0, 1, 2), **settings):
    settings = dataclasses.replace(MlpSettings(width=sizes[1], depth=len(sizes) - 2), **settings)
    heads = Heads(settings, Dense(tuple(sizes)), State.new(Dense(tuple(sizes)), seeds, CPU))
    heads.initialise()
    return heads


def rows_of(features, actions, held=0):
    """Rows whose frames are the features in order; the last `held` of them are held out."""
    B = len(features)
    padded = features.new_zeros(aligned(B), features.shape[1])
    padded[:B] = features
    order = torch.arange(B)
    return Rows(Columns(padded), order, actions, training=order[: B - held], held=order[B - held :])


def bound(heads, rows):
    heads.bind(rows, rows.packed())
    return heads


def problem(B, D=2, A=3, P=3, seed=0):
    """Features, actions and targets of a smooth function, one for each head."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(B, D, generator=generator) * 2 - 1
    actions = torch.randint(A, (B,), generator=generator)
    value = 5 + 2 * torch.sin(2 * features[:, 0]) * (actions + 1) + features[:, -1]
    return features, actions, torch.stack([value * (p + 1) for p in range(P)])


class Plain:
    """The same perceptrons in double precision, by autograd and the textbook's Adam."""

    def __init__(self, heads):
        self.settings, self.sizes = heads.settings, heads.network.sizes
        self.flat = heads.state.flat.double()
        self.first, self.second, self.steps = torch.zeros_like(self.flat), torch.zeros_like(self.flat), 0

    def loss(self, flat, inputs, actions, wanted):
        x, at = inputs.double(), 0
        for layer, (i, o) in enumerate(itertools.pairwise(self.sizes)):
            x = x @ flat[at : at + i * o].view(o, i).T + flat[at + i * o : at + i * o + o]
            x = x.relu() if layer < len(self.sizes) - 2 else x
            at += i * o + o
        error = x.gather(1, actions)[:, 0] - wanted[:, 0].double()
        if self.settings.loss == "squared":
            return (error**2 / 2).mean()
        delta = self.settings.huber
        return torch.where(error.abs() < delta, error**2 / 2, delta * (error.abs() - delta / 2)).mean()

    def gradient(self, inputs, actions, wanted):
        found = []
        for head, flat in enumerate(self.flat):
            with torch.enable_grad():
                leaf = flat.clone().requires_grad_()
                self.loss(leaf, inputs[head], actions[head], wanted[head]).backward()
            found.append(leaf.grad)
        return torch.stack(found)

    def step(self, inputs, actions, wanted, rate):
        gradient = self.gradient(inputs, actions, wanted)
        gradient *= (self.settings.clip / gradient.norm(dim=1, keepdim=True)).clamp(max=1)
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**self.steps), self.second / (1 - 0.999**self.steps)
        self.flat -= rate * first / (second.sqrt() + 1e-8)


def batch(B, D, A, P, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(P, B, D, generator=generator),
        torch.randint(A, (P, B, 1), generator=generator),
        3 * torch.randn(P, B, 1, generator=generator),  # beyond where Huber turns linear, too
    )


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("B", [1, 3, 15, 16, 17, 64])
def test_gradients_equal_autograds(loss, depth, B):
    heads = heads_of((4, *[7] * depth, 3), loss=loss, huber=0.8, clip=float("inf"))
    heads.state.flat.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(1))
    plain = Plain(heads)
    data = batch(B, 4, 3, 3)
    expected = plain.gradient(*data)
    heads._step(*data, rates=[0.0] * 3)
    parameters = sum(i * o + o for i, o in itertools.pairwise(heads.network.sizes))
    assert (heads.network.gradient[:, parameters:] == 0).all()  # the padding
    torch.testing.assert_close(heads.network.gradient.double(), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_conservative_slope_equals_autograds_in_units_of_value(weighted):
    heads = heads_of((4, 7, 3), loss="squared", clip=float("inf"), conservative=0.7)
    heads.state.flat.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(1))
    heads.state.scale.copy_(torch.tensor([0.5, 1.0, 4.0]))
    heads.state.mean.copy_(torch.tensor([3.0, -1.0, 0.0]))
    inputs, actions, wanted = batch(16, 4, 3, 3)
    factor = torch.rand(3, 16, 1, generator=torch.Generator().manual_seed(2)) + 0.5
    plain, expected = Plain(heads), []
    for head, (scale, mean) in enumerate(zip(heads.state.scale.double(), heads.state.mean.double(), strict=True)):
        with torch.enable_grad():
            leaf = plain.flat[head].clone().requires_grad_()
            hidden = (inputs[head].double() @ leaf[:28].view(7, 4).T + leaf[28:35]).relu()
            Q = (hidden @ leaf[35:56].view(3, 7).T + leaf[56:59]) * scale + mean
            chosen = Q.gather(1, actions[head])[:, 0]
            error = chosen - (wanted[head, :, 0].double() * scale + mean)
            penalty = Q.logsumexp(1) - chosen
            loss = (error**2 / 2 + 0.7 * penalty) * (factor[head, :, 0].double() if weighted else 1)
            (loss.mean() / scale**2).backward()  # the fit sees errors in units of the targets' scale
        expected.append(leaf.grad)
    heads._step(inputs, actions, wanted, [0.0] * 3, factor if weighted else None)
    torch.testing.assert_close(heads.network.gradient.double(), torch.stack(expected), rtol=1e-4, atol=2e-6)


def test_a_conservative_fit_ends_where_theory_says():
    # One state; three of four rows hold action 0 with targets 2, 0, 2 and the fourth action 1 with target 0. Where the
    # slope is zero, mu (Q - y) + alpha (softmax(Q) - mu) = 0 for each action, y being its mean target.
    alpha, count = 0.3, 400
    actions = torch.tensor([0, 0, 0, 1]).repeat(count // 4)
    targets = torch.where(torch.arange(count) % 2 == 0, 2.0, 0.0).repeat(2, 1)
    rows = rows_of(torch.zeros(count, 1), actions)
    heads = bound(heads_of((1, 8, 2), (0, 1), conservative=alpha, updates=1500, batch=64, lr=1e-2), rows)
    heads.fit(targets)
    found = heads.values(torch.zeros(1, 1), PIECE)[:, 0].double()  # [P, A]
    mu, y = torch.tensor([0.75, 0.25]).double(), torch.tensor([4 / 3, 0.0]).double()
    Q = y.clone()
    for _ in range(10_000):
        Q = Q - 0.1 * (mu * (Q - y) + alpha * (Q.softmax(0) - mu))
    assert (Q - y).abs().max() > 0.01  # it does something
    torch.testing.assert_close(found, Q.expand(2, 2), atol=0.05, rtol=0)


@pytest.mark.parametrize("clip", [0.05, 10.0])
def test_steps_equal_plain_clipped_adam(clip):
    heads = heads_of((4, 8, 8, 3), clip=clip)
    plain = Plain(heads)
    for t in range(25):
        data = batch(32, 4, 3, 3, seed=t)
        heads._step(*data, rates=[1e-2 * (1 - t / 25)] * 3)
        plain.step(*data, rate=1e-2 * (1 - t / 25))
    assert heads.state.count.tolist() == [25] * 3
    torch.testing.assert_close(heads.state.flat.double(), plain.flat, rtol=1e-3, atol=1e-4)


def test_rates_fall_within_a_round():
    rates = {name: heads_of((2, 4, 2), schedule=name, lr=0.4, updates=4) for name in ("cosine", "linear", "constant")}
    found = {name: [heads._rates(done)[0] for done in range(4)] for name, heads in rates.items()}
    # Cosine: .2 (1 + cos(pi t / 4)) at t = 0, 1, 2, 3.
    assert found["cosine"] == pytest.approx([0.4, 0.2 + 0.2 * math.sqrt(0.5), 0.2, 0.2 - 0.2 * math.sqrt(0.5)])
    assert found["linear"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert found["constant"] == [0.4] * 4


def test_values_start_at_zero_and_heads_differ():
    heads = heads_of((2, 8, 3))
    assert (heads.values(torch.randn(5, 2), PIECE) == 0).all()
    hidden = heads.network.layers[0][0]
    assert not torch.equal(hidden[0], hidden[1])
    assert hidden.abs().max() <= 1 / math.sqrt(2)


def test_new_scales_keep_the_shape_and_follow_the_mean():
    heads = heads_of((2, 8, 3))
    heads.state.flat.uniform_(-1, 1)
    features = torch.randn(50, 2)
    heads._standardise(torch.randn(3, 40) * 7 + 100)
    before = heads.values(features, PIECE) - heads.state.mean[:, None, None]
    targets = torch.randn(3, 40) * 0.3 - 5
    heads._standardise(targets)
    torch.testing.assert_close(heads.state.mean, targets.mean(1))
    torch.testing.assert_close(heads.state.scale, targets.std(1, correction=0))
    after = heads.values(features, PIECE) - heads.state.mean[:, None, None]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6])
def test_equal_targets_are_learnt_at_once(value):
    features, actions, _ = problem(40)
    heads = bound(heads_of((2, 8, 3), updates=5), rows_of(features, actions))
    heads.fit(torch.full((3, 40), value))
    assert torch.isfinite(heads.state.flat).all()
    torch.testing.assert_close(heads.values(features, PIECE), torch.full((3, 40, 3), value), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "size", "used"),
    [
        # rows, --batch, rows in each batch: whole cache lines where there are as many rows
        (100, 32, 32), (100, 256, 96), (33, 256, 32), (16, 256, 16), (15, 256, 15), (1, 256, 1), (40, 7, 7),
        (40, 40, 32),
    ],
)  # fmt: skip
def test_batches_shuffle_all_rows_and_drop_the_rest(rows, size, used):
    heads = heads_of((1, 4, 2), batch=size, updates=3 * (rows // used) + 1)
    features, actions = torch.arange(rows, dtype=torch.float32)[:, None], torch.arange(rows) % 2
    bound(heads, rows_of(features, actions))
    heads._load_draws()
    targets = torch.stack([features[:, 0] + 1000 * p for p in range(3)])
    found = list(heads._batches(targets[:, :, None]))
    assert len(found) == heads.settings.updates
    for inputs, acted, wanted, factor in found:
        assert factor is None
        assert inputs.shape == (3, used, 1)
        index = inputs[:, :, 0].long()
        assert torch.equal(acted[:, :, 0], index % 2)
        assert torch.equal(wanted[:, :, 0].long(), index + 1000 * torch.arange(3)[:, None])
    each = rows // used  # batches until the rows run out
    for epoch in range(3):
        seen = torch.cat([found[epoch * each + i][0][:, :, 0] for i in range(each)], 1)
        for head in range(3):
            assert len(seen[head].unique()) == each * used  # no row twice
    if rows > 10:
        first = found[0][0][:, :, 0].tolist()
        assert first[0] != first[1]  # every head shuffles for itself
        assert found[each][0][:, :, 0].tolist() != first  # and anew when the rows have run out


def test_blocks_of_batches_leave_no_row_out(monkeypatch):
    monkeypatch.setattr(Columns, "block", lambda self, batch: 3)
    heads = heads_of((1, 4, 2), batch=16, updates=7)
    features = torch.arange(7 * 16 + 5, dtype=torch.float32)[:, None]
    bound(heads, rows_of(features, torch.zeros(len(features), dtype=torch.int64)))
    heads._load_draws()
    found = list(heads._batches(features.repeat(3, 1, 1)))
    assert len(torch.cat([inputs[0, :, 0] for inputs, *_ in found]).unique()) == 7 * 16


def test_rows_drawn_by_weight_come_as_often_as_they_weigh(monkeypatch):
    monkeypatch.setattr(Columns, "block", lambda self, batch: 4)
    heads = heads_of((1, 4, 2), batch=16, updates=401)
    features, actions = torch.arange(5, dtype=torch.float32)[:, None], torch.tensor([0, 1, 0, 1, 0])
    bound(heads, rows_of(features, actions, held=1))
    heads._load_draws()
    # Row 4 is held out. Head 0 draws 1 : 2 : 3 : 4, head 1 nearly row 2 alone, head 2 as head 0.
    draw = torch.tensor([[1.0, 2, 3, 4, 9], [1e-9, 1e-9, 1, 1e-9, 9], [1, 2, 3, 4, 9]])
    slope = torch.tensor([[4.0, 3, 2, 1, 9]] * 3)
    drawn = Drawn.of(Weights(draw, slope), heads.rows.training)
    # Over head 0's draws the slopes average (4 + 6 + 6 + 4) / 10 = 2, over head 1's 2: both are scaled to 1.
    torch.testing.assert_close(drawn.slope, slope[:, :4] / 2)
    targets = features[:4, 0].repeat(3, 1) + 1000 * torch.arange(3)[:, None]
    found = list(heads._batches(targets[:, :, None], drawn))
    assert len(found) == 401
    index = torch.cat([inputs[:, :, 0] for inputs, *_ in found], 1).long()  # [P, draws]
    # A batch has four rows: what a log of so few rows allows.
    assert index.shape == (3, 401 * 4)
    shares = torch.stack([(index[0] == row).float().mean() for row in range(4)])
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.04, rtol=0)
    assert (index[1] == 2).all()
    assert not torch.equal(index[0], index[2])  # every head draws for itself
    for inputs, acted, wanted, factor in found:
        row = inputs[:, :, 0].long()
        assert torch.equal(acted[:, :, 0], row % 2)
        assert torch.equal(wanted[:, :, 0].long(), row + 1000 * torch.arange(3)[:, None])
        torch.testing.assert_close(factor[:, :, 0], drawn.slope.gather(1, row))


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_a_factor_multiplies_a_rows_part_of_the_loss(loss):
    heads = heads_of((4, 7, 3), loss=loss, huber=0.8, clip=float("inf"))
    heads.state.flat.uniform_(-0.7, 0.7, generator=torch.Generator().manual_seed(1))
    inputs, actions, wanted = batch(16, 4, 3, 3)
    heads._step(inputs, actions, wanted, [0.0] * 3, torch.full((3, 16, 1), 3.0))
    three = heads.network.gradient.clone()
    heads._step(inputs, actions, wanted, [0.0] * 3)
    torch.testing.assert_close(three, 3 * heads.network.gradient)
    only = torch.zeros(3, 16, 1)
    only[:, 5] = 16.0
    heads._step(inputs, actions, wanted, [0.0] * 3, only)
    alone = heads.network.gradient.clone()
    heads._step(inputs[:, 5:6], actions[:, 5:6], wanted[:, 5:6], [0.0] * 3)
    torch.testing.assert_close(alone, heads.network.gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_a_fit_learns_a_known_function(loss):
    features, actions, targets = problem(600)
    heads = bound(heads_of((2, 32, 32, 3), loss=loss, updates=400, batch=64, lr=1e-2), rows_of(features, actions, 100))
    assert heads.fit(targets) == 400
    assert (heads.held_out_loss(targets) < 0.02 * targets.var(1)).all()


def test_held_out_rows_are_not_learnt_from():
    features, actions, targets = problem(200)
    spoilt = targets.clone()
    spoilt[:, 150:] = 1e6
    fitted = []
    for wanted in (targets, spoilt):
        heads = bound(heads_of((2, 8, 3), updates=20, batch=32), rows_of(features, actions, 50))
        heads.fit(wanted)
        fitted.append(heads.state.flat)
    assert torch.equal(*fitted)


def test_the_held_out_loss_by_hand():
    features, actions, targets = problem(20)
    heads = bound(heads_of((2, 8, 3)), rows_of(features, actions, 5))
    heads.state.flat.uniform_(-1, 1)
    heads._standardise(targets)
    values = heads.values(features, PIECE)
    for head in range(3):
        errors = [float(values[head, b, actions[b]] - targets[head, b]) for b in range(15, 20)]
        assert float(heads.held_out_loss(targets)[head]) == pytest.approx(sum(e**2 for e in errors) / 5, rel=1e-4)


@pytest.mark.parametrize("lr", [1e-3, 0.5])
def test_patience_keeps_the_best(lr, monkeypatch):
    features, actions, targets = problem(120, P=1)
    heads = heads_of((2, 8, 3), seeds=(0,), patience=2, checks=20, updates=100, batch=16, lr=lr, schedule="constant")
    bound(heads, rows_of(features, actions, 40))
    losses = []
    measure = Heads.held_out_loss

    def noted(self, targets):
        losses.append(float(measure(self, targets)))
        return measure(self, targets)

    monkeypatch.setattr(Heads, "held_out_loss", noted)
    steps = heads.fit(targets)
    assert float(measure(heads, targets)) == min(losses)
    looks = losses[1:]  # the first is before any step
    assert steps == 5 * len(looks)
    if steps < 100:  # it stopped: the last two looks found nothing better, and no two before did not
        best = [min(losses[: i + 1]) for i in range(len(losses))]
        assert best[-1] == best[-3]
        assert all(best[i] < best[i - 2] for i in range(2, len(best) - 1))
    else:
        assert lr < 0.1


def test_the_last_step_is_looked_at_whatever_the_number_of_looks(monkeypatch):
    features, actions, targets = problem(120, P=1)
    heads = heads_of((2, 8, 3), seeds=(0,), patience=99, checks=3, updates=10, batch=16)
    bound(heads, rows_of(features, actions, 40))
    looks = []
    look = Best.look
    monkeypatch.setattr(Best, "look", lambda self: looks.append(heads.state.count.item()) or look(self))
    heads.fit(targets)
    assert looks == [4, 8, 10]


def test_a_cold_start_forgets_and_a_warm_one_does_not():
    features, actions, targets = problem(64)
    results = {}
    for start, first in itertools.product(("cold", "warm"), (1.0, -3.0)):
        heads = bound(heads_of((2, 8, 3), start=start, updates=10, batch=16), rows_of(features, actions))
        heads.fit(targets * first)
        heads.fit(targets)
        results[start, first] = heads.state.flat.clone()
        assert heads.state.count.tolist() == [10 if start == "cold" else 20] * 3
    assert torch.equal(results["cold", 1.0], results["cold", -3.0])
    assert not torch.equal(results["warm", 1.0], results["warm", -3.0])


def test_cold_starts_draw_new_weights_each_time():
    features, actions, targets = problem(64)
    heads = bound(heads_of((2, 8, 3), start="cold", updates=1, lr=1e-9, batch=16), rows_of(features, actions))
    heads.fit(targets)
    first = heads.state.flat.clone()
    heads.fit(targets)
    assert (heads.state.flat - first).abs().max() > 0.1


@pytest.mark.parametrize("B", [1, 3, 9, 15, 16, 17, 100])
@pytest.mark.parametrize("D", [2, 17])
def test_a_heads_bits_do_not_depend_on_its_neighbours(B, D):
    # With 17 inputs and fewer than 16 rows, stacked heads would lie differently in memory and round differently.
    features, actions, targets = problem(B, D)
    rows = rows_of(features, actions)
    results = {}
    for groups in ([slice(0, 3)], [slice(0, 1), slice(1, 3)], [slice(0, 1), slice(1, 2), slice(2, 3)]):
        heads = heads_of((D, 5, 3), updates=12, batch=32)
        kinds = [Kind(heads.architecture, heads.settings)] * len(heads.each)
        share = Share(kinds, heads.state, groups, rows, targets)
        assert share.fit() == [12, 12, 12]
        results[len(groups)] = (heads.state.flat, heads.state.draws, share.values(0, B))
    for other in (2, 3):
        for first, second in zip(results[1], results[other], strict=True):
            assert torch.equal(first, second)


def test_a_part_works_on_the_same_memory():
    heads = heads_of((2, 8, 3))
    part = heads.part(slice(1, 2))
    part.state.mean.fill_(7)
    assert heads.state.mean.tolist() == [0, 7, 0]
    features = torch.randn(9, 2)
    heads.state.flat.uniform_(-1, 1)
    torch.testing.assert_close(part.values(features, PIECE), heads.values(features, PIECE)[1:2])


def test_pieces_do_not_change_values():
    heads = heads_of((2, 8, 3))
    heads.state.flat.uniform_(-1, 1)
    features = torch.randn(100, 2)
    whole = heads.values(features, PIECE)
    torch.testing.assert_close(heads.values(features, 16), whole)
    assert heads.values(features[:0], PIECE).shape == (3, 0, 3)
