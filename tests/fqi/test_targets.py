"""Values of next states by hand."""

from __future__ import annotations

import torch

from fqi.targets import VALUE_RULES, bellman_targets, masked_max, maximum, mean, minimum

# One member, two heads, three frames, two actions. [M, H, B, A]
VALUES = torch.tensor([[[[1.0, 5.0], [4.0, 0.0], [-1.0, -2.0]], [[3.0, 2.0], [0.0, 6.0], [-5.0, -3.0]]]])
# Frame 0: heads (1, 5) and (3, 2); frame 1: (4, 0) and (0, 6); frame 2: (-1, -2) and (-5, -3).
ALLOWED = torch.tensor([[True, False], [True, True], [False, False]])


def test_targets_by_hand():
    returns, discounts = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0])
    found = bellman_targets(returns, discounts, torch.tensor([[4.0, 7.0], [-2.0, 1e30]]))
    assert found.tolist() == [[3.0, 2.0], [0.0, 2.0]]


def test_maximum_is_each_heads_own():
    assert maximum(VALUES, None).tolist() == [[[5, 4, -1], [3, 6, -3]]]
    # Frame 2 allows nothing: nothing is known of it.
    assert maximum(VALUES, ALLOWED).tolist() == [[[1, 4, 0], [3, 6, 0]]]


def test_mean_is_taken_before_the_maximum():
    # Means: (2, 3.5), (2, 3), (-3, -2.5).
    assert mean(VALUES, None).tolist() == [[[3.5, 3, -2.5], [3.5, 3, -2.5]]]
    assert mean(VALUES, ALLOWED).tolist() == [[[2, 3, 0], [2, 3, 0]]]


def test_minimum_is_taken_before_the_maximum():
    # Minima: (1, 2), (0, 0), (-5, -3).
    assert minimum(VALUES, None).tolist() == [[[2, 0, -3], [2, 0, -3]]]
    assert minimum(VALUES, ALLOWED).tolist() == [[[1, 0, 0], [1, 0, 0]]]


def test_members_do_not_look_at_each_other():
    two = torch.cat([VALUES, VALUES + 100])
    for rule in VALUE_RULES.values():
        assert torch.equal(rule(two, None)[0], rule(VALUES, None)[0])
        assert torch.equal(rule(two, None)[1], rule(VALUES + 100, None)[0])


def test_rules_agree_where_there_is_one_head():
    one = VALUES[:, :1]
    for allowed in (None, ALLOWED):
        found = [rule(one, allowed) for rule in VALUE_RULES.values()]
        assert all(torch.equal(found[0], other) for other in found)
        assert found[0].shape == (1, 1, 3)


def test_the_order_of_the_rules():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, 50, 5, generator=generator)
    low, middle, high = (VALUE_RULES[name](values, None) for name in ("min", "mean", "max"))
    assert (low <= middle).all()
    assert (middle <= high.mean(1, keepdim=True) + 1e-6).all()  # Jensen


def test_a_forbidden_action_may_hold_anything():
    values = torch.tensor([[float("inf"), 2.0], [1.0, 1e38]])
    assert masked_max(values, torch.tensor([[False, True], [True, False]])).tolist() == [2, 1]


def test_nan_is_not_hidden():
    assert masked_max(torch.tensor([[float("nan"), 2.0]]), None).isnan().all()
