"""Targets, and choices among allowed actions, by hand."""

from __future__ import annotations

import torch

from fqi.targets import bellman_targets, masked_choice, masked_max, worth

ALLOWED = torch.tensor([[True, False], [True, True], [False, False]])


def test_targets_by_hand():
    returns, discounts = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0])
    found = bellman_targets(returns, discounts, torch.tensor([[4.0, 7.0], [-2.0, 1e30]]))
    assert found.tolist() == [[3.0, 2.0], [0.0, 2.0]]


def test_a_forbidden_action_may_hold_anything():
    values = torch.tensor([[float("inf"), 2.0], [1.0, 1e38]])
    allowed = torch.tensor([[False, True], [True, False]])
    assert masked_max(values, allowed).tolist() == [2, 1]
    assert masked_choice(values, allowed).tolist() == [1, 0]


def test_nan_is_not_hidden():
    assert masked_max(torch.tensor([[float("nan"), 2.0]]), None).isnan().all()


def test_a_choice_is_worth_what_others_say_of_it():
    values = torch.tensor([[1.0, 5.0], [3.0, 4.0], [7.0, 8.0]])
    choice = torch.tensor([1, 0, 1])
    assert masked_choice(values, None).tolist() == [1, 1, 1]
    assert worth(values, choice, None).tolist() == [5, 3, 8]
    assert worth(values, choice, ALLOWED).tolist() == [5, 3, 0]  # the last frame allows nothing: nothing is known
