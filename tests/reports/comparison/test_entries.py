"""Learners as a user names them."""

from __future__ import annotations

import pytest

from fqi.errors import UserError
from fqi.reports.comparison.entries import Entry, entries, entry, settings_of


def test_a_name_alone_and_one_with_options():
    assert entry("bc") == Entry("bc", "bc", {})
    found = entry("fqi:target=mean,n-step=3,lr=1e-3")
    assert (found.name, found.kind) == ("fqi:target=mean,n-step=3,lr=1e-3", "fqi")
    assert found.given == {"target": "mean", "n_step": 3, "lr": 0.001}
    assert entry("dqn:double=true,steps=2000").given == {"double": True, "steps": 2000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sarsa", "no learner 'sarsa'"),
        ("bc:", "key=value behind the colon"),
        ("bc:width", "expected key=value, found 'width'"),
        ("bc:colour=red", "bc has no option 'colour'"),
        ("bc:width=wide", "width must be int"),
        ("bc:width=0", "width must be at least 1"),
        ("bc:width=8,width=9", "width is given twice"),
        ("fqi:seeds=3", "the same for all learners; say it by --seeds"),
        ("dqn:rung=v1", "say it by dqn-v1"),
        ("dqn:double=yes", "double must be true or false"),
        (".", "expected a run directory or one of"),
    ],
)
def test_what_is_wrong_is_said(text, said):
    with pytest.raises(UserError, match=said):
        entry(text)


def test_a_learner_is_named_once():
    with pytest.raises(UserError, match="'bc' is named twice"):
        entries(["bc", "dqn", "bc"])
    assert [one.name for one in entries(["bc", "bc:best=20"])] == ["bc", "bc:best=20"]


def test_typed_options_go_before_shared_ones_and_a_rung_is_the_kinds():
    shared = {"width": 32, "depth": 1, "gamma": 0.9}
    assert settings_of(entry("bc:width=16"), shared).width == 16
    found = settings_of(entry("dqn-v2"), shared)
    assert (found.rung, found.width, found.depth, found.gamma) == ("v2", 32, 1, 0.9)
    with pytest.raises(UserError, match="double has an effect only with rung v3"):
        settings_of(entry("dqn-v1:double=true"), shared)
