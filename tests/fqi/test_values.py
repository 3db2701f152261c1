"""Values of next states by hand, and what holds for every rule."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqi.errors import UserError
from fqi.imports import trust
from fqi.settings import TARGETS, resolve
from fqi.values import VALUE_RULES, Look, Value

# One member, two heads, three frames, two actions. [M, H, B, A]
VALUES = torch.tensor([[[[1.0, 5.0], [4.0, 0.0], [-1.0, -2.0]], [[3.0, 2.0], [0.0, 6.0], [-5.0, -3.0]]]])
# Frame 0: heads (1, 5) and (3, 2); frame 1: (4, 0) and (0, 6); frame 2: (-1, -2) and (-5, -3).
BEFORE = VALUES.flip(-1) * 10  # what the round before said
ALLOWED = torch.tensor([[True, False], [True, True], [False, False]])
SHARES = torch.tensor([[0.25, 0.75]])


def seen(values=VALUES, allowed=None, temperature=1.0, shares=SHARES, chances=None, expectile=0.9):
    before = BEFORE if values is VALUES else values
    chances = torch.full(values.shape[2:], 1 / values.shape[3]) if chances is None else chances
    return Look(values, before, allowed, shares, temperature, chances, expectile)


def value(rule, allowed=None, **changes):
    return VALUE_RULES[rule].of(seen(allowed=allowed, **changes)).tolist()


# By hand: what each rule says of the three frames, for either head, without a mask and with ALLOWED. Frame 2 allows
# nothing under the mask: nothing is known of it, and it is worth 0.
BY_HAND = {
    "max": ([[5, 4, -1], [3, 6, -3]], [[1, 4, 0], [3, 6, 0]]),
    # Means: (2, 3.5), (2, 3), (-3, -2.5).
    "mean": ([[3.5, 3, -2.5]] * 2, [[2, 3, 0]] * 2),
    # Minima: (1, 2), (0, 0), (-5, -3).
    "min": ([[2, 0, -3]] * 2, [[1, 0, 0]] * 2),
    # Head 0 chooses 1, 0, 0 and head 1 0, 1, 1; the minima there.
    "clipped": ([[2, 0, -5], [1, 0, -3]], [[1, 0, 0], [1, 0, 0]]),
    # Head 1 values the choice of head 0, and head 0 that of head 1.
    "double": ([[2, 0, -5], [1, 0, -2]], [[3, 0, 0], [1, 0, 0]]),
    # Ten times the other action's value.
    "double-previous": ([[10, 0, -20], [20, 0, -50]], [[50, 0, 0], [20, 0, 0]]),
    # A quarter of head 0 and three of head 1: (2.5, 2.75), (1, 4.5), (-4, -2.75).
    "mixture": ([[2.75, 4.5, -2.75]] * 2, [[2.5, 4.5, 0]] * 2),
}


def test_expectiles_by_hand():
    # Values 0 and 4, taken with 3/4 and 1/4. The expectile .75 of a value v: .75 * 1/4 (4 - v) = .25 * 3/4 (v - 0): 2.
    values = torch.tensor([[[[0.0, 4.0]]]], dtype=torch.float64)
    chances = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    rule = VALUE_RULES["expectile"].of
    assert rule(seen(values, chances=chances, expectile=0.75)).item() == pytest.approx(2)
    assert rule(seen(values, chances=chances, expectile=0.5)).item() == pytest.approx(1)  # the mean
    assert rule(seen(values, chances=chances, expectile=0.9999)).item() == pytest.approx(4, abs=0.01)
    # What is never taken or forbidden counts for nothing, whatever it holds; where nothing is known V is 0.
    values = torch.tensor([[[[1.0, 9.0], [2.0, math.inf], [5.0, 6.0]]]], dtype=torch.float64)
    chances = torch.tensor([[1.0, 0], [0.5, 0.5], [0, 0]])
    allowed = torch.tensor([[True, True], [True, False], [True, True]])
    assert rule(seen(values, allowed, chances=chances)).tolist() == [[[1, 2, 0]]]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 0.99))
def test_an_expectile_balances_what_lies_above_and_below(seed, tau):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    chances = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    found = VALUE_RULES["expectile"].of(seen(values, chances=chances, expectile=tau))
    over = values - found.unsqueeze(-1)
    above, below = (chances * over.clamp_min(0)).sum(-1), (chances * (-over).clamp_min(0)).sum(-1)
    torch.testing.assert_close(tau * above, (1 - tau) * below)


@pytest.mark.parametrize("rule", BY_HAND)
def test_rules_by_hand(rule):
    free, masked = BY_HAND[rule]
    assert value(rule) == [free]
    assert value(rule, ALLOWED) == [masked]


def test_soft_maxima_by_hand():
    # Values (0, T log 3): probabilities 1/4 and 3/4; the mean of the exponentials is 2.
    values, T = torch.tensor([[[[0.0, 2 * math.log(3)]]]], dtype=torch.float64), 2.0
    look = seen(values, temperature=T)
    assert VALUE_RULES["softmax"].of(look).item() == pytest.approx(1.5 * math.log(3))
    assert VALUE_RULES["mellowmax"].of(look).item() == pytest.approx(2 * math.log(2))
    # Of a single allowed action both say its value, whatever the other holds; of none, 0.
    values = torch.tensor([[[[7.0, math.inf], [1.0, 2.0]]]])
    allowed = torch.tensor([[True, False], [False, False]])
    for rule in ("softmax", "mellowmax"):
        assert VALUE_RULES[rule].of(seen(values, allowed)).tolist() == [[[7, 0]]]


@pytest.mark.parametrize("rule", ["softmax", "mellowmax"])
def test_soft_maxima_become_the_maximum_and_the_mean(rule):
    cold, hot = (torch.tensor(value(rule, temperature=T)) for T in (1e-3, 1e6))
    torch.testing.assert_close(cold, VALUES.amax(-1), atol=1e-3, rtol=0)
    torch.testing.assert_close(hot, VALUES.mean(-1), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("rule", VALUE_RULES)
def test_members_do_not_look_at_each_other(rule):
    two, shares = torch.cat([VALUES, VALUES + 100]), SHARES.repeat(2, 1)
    together = VALUE_RULES[rule].of(seen(two, shares=shares))
    for member in range(2):
        alone = two[member : member + 1]
        assert torch.equal(together[member : member + 1], VALUE_RULES[rule].of(seen(alone.clone())))


@pytest.mark.parametrize("rule", [name for name in VALUE_RULES if name not in ("softmax", "mellowmax", "expectile")])
def test_rules_agree_where_there_is_one_head_and_one_round(rule):
    one = VALUES[:, :1].clone()
    for allowed in (None, ALLOWED):
        found = VALUE_RULES[rule].of(seen(one, allowed, shares=torch.ones(1, 1)))
        assert torch.equal(found, VALUE_RULES["max"].of(seen(one, allowed)))
        assert found.shape == (1, 1, 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_order_of_the_rules(seed, masked):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 4, 20, 5, generator=generator, dtype=torch.float64)
    allowed = torch.rand(20, 5, generator=generator) < 0.7 if masked else None
    shares = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    look = seen(values, allowed, shares=shares / shares.sum(1, keepdim=True))
    of = {name: rule.of(look) for name, rule in VALUE_RULES.items()}
    slack = 1e-12
    assert (of["clipped"] <= of["min"] + slack).all()  # Maxmin chooses by the minimum itself
    assert (of["min"] <= of["mean"] + slack).all()
    assert (of["mean"] <= of["max"].mean(1, keepdim=True) + slack).all()  # Jensen
    assert (of["min"] <= of["mixture"] + slack).all()
    assert (of["mixture"] <= of["max"].amax(1, keepdim=True) + slack).all()
    assert (of["clipped"] <= of["double"] + slack).all()
    assert (of["double"] <= of["max"].roll(-1, 1) + slack).all()
    for rule in ("softmax", "mellowmax", "expectile"):
        assert (of[rule] <= of["max"] + slack).all()


def test_what_rules_make_of_noise():
    # The truth is 0. The maximum of ten standard normal noises is 1.5388 too high on average; of their mean over two
    # heads, which has a variance of a half, 1.5388 / sqrt 2. Choosing by one noise and valuing by another is unbiased.
    noise = torch.randn(1, 2, 100_000, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    of = {name: rule.of(seen(noise)).mean(1)[0] for name, rule in VALUE_RULES.items()}  # [B] each
    assert of["max"].mean().item() == pytest.approx(1.5388, rel=0.01)
    assert of["mean"].mean().item() == pytest.approx(1.5388 / math.sqrt(2), rel=0.01)
    slack = 3 * of["double"].std().item() / math.sqrt(100_000)
    assert slack < 0.01
    assert abs(of["double"].mean().item()) < slack


def test_forbidden_actions_may_hold_anything():
    values = VALUES.clone()
    values[..., 0, 1] = torch.inf  # frame 0, action 1 is forbidden
    for rule in VALUE_RULES.values():
        assert torch.isfinite(rule.of(seen(values, ALLOWED))).all()


# ---- what a rule is given to look at


def heads(*values):
    """[P, 1, A] for one frame."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_the_mean_of_the_last_rounds_is_taken_before_the_rule():
    # Two rounds: heads (1, 5), (3, 2) and before (3, 1), (3, 6): means (2, 3), (3, 4).
    recent = [heads([1, 5], [3, 2]), heads([3, 1], [3, 6]), heads([99, 99], [99, 99])]
    both = Value(VALUE_RULES["max"], average=2)
    assert both.rounds == 2
    assert both(recent, None, 5).tolist() == [[3], [4]]
    assert both(recent[:1], None, 1).tolist() == [[5], [3]]  # as many as there are
    assert Value(VALUE_RULES["min"], average=2)(recent, None, 5).tolist() == [[3], [3]]
    assert Value(VALUE_RULES["max"])(recent, None, 5).tolist() == [[5], [3]]


def test_the_newest_values_where_there_is_no_round_before():
    recent = [heads([1, 5]), heads([7, 2])]
    rule = Value(VALUE_RULES["double-previous"])
    assert rule.rounds == 2
    assert rule(recent, None, 2).tolist() == [[2]]
    assert rule(recent[:1], None, 1).tolist() == [[5]]


def test_mixtures_are_convex_new_each_round_and_a_members_own():
    rule = Value(VALUE_RULES["mixture"], seeds=(3, 4))
    recent = [
        torch.eye(5, dtype=torch.float64)[:, None].repeat(2, 1, 1)
    ]  # head h says 1 of action h: V is the largest share
    drawn = np.stack([rule._shares(number, 5).numpy() for number in range(1, 200)])  # [rounds, M, H]
    assert (drawn >= 0).all()
    np.testing.assert_allclose(drawn.sum(-1), 1)
    assert len(np.unique(drawn.round(12))) == drawn.size
    np.testing.assert_allclose(drawn.mean((0, 1)), 0.2, atol=0.02)
    for number in (1, 2):
        found = rule(recent, None, number)
        np.testing.assert_allclose(found[:, 0], np.repeat(drawn[number - 1].max(1), 5))
        alone = Value(VALUE_RULES["mixture"], seeds=(4,))([recent[0][5:]], None, number)
        assert torch.equal(alone, found[5:])


def test_the_settings_name_every_rule():
    assert tuple(VALUE_RULES) == TARGETS
    config = resolve({"target": "softmax", "temperature": 0.5, "seed": 7, "seeds": 2, "average": 3},
                     discrete_observations=False)  # fmt: skip
    assert Value.of(config) == Value(VALUE_RULES["softmax"], (7, 8), 3, 0.5, 0.9)


# ---- the user's own


@pytest.fixture
def module():
    made = types.ModuleType("values_of_a_user")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def own(name):
    config = resolve({"target": f"py:values_of_a_user:{name}"}, discrete_observations=False)
    assert config.code == {"target": f"py:values_of_a_user:{name}"}
    return config


def test_a_function_of_the_users_is_a_rule_once_it_is_allowed(module):
    module.second_best = lambda look: look.values.sort(-1).values[..., -2]
    with pytest.raises(UserError, match="target py:values_of_a_user:second_best is code that has not been allowed"):
        Value.of(own("second_best"))
    trust("py:values_of_a_user:second_best", "target")
    rule = Value.of(own("second_best"))
    assert rule([heads([1, 5, 3], [3, 2, 0])], None, 1).tolist() == [[3], [2]]


@pytest.mark.parametrize(("function", "message"), [
    (lambda look: 3, "must make a tensor of numbers of shape .1, 2, 1. .* found int"),
    (lambda look: look.values, r"found torch.float64 \[1, 2, 1, 2\]"),
    (lambda look: look.values.argmax(-1), "found torch.int64"),
    (lambda look: look.values.amax(-1) / 0, "must make finite numbers"),
    (lambda look: look.nothing, "raised AttributeError"),
])  # fmt: skip
def test_what_a_function_of_the_users_makes_is_checked(module, function, message):
    module.wrong = function
    trust("py:values_of_a_user:wrong", "target")
    with pytest.raises(UserError, match=message):
        Value.of(own("wrong"))([heads([1, 5], [3, 2])], None, 1)
