"""Fitted Q-evaluation against exact values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fqi.estimates import fitted_q_evaluation
from fqi.training import configure
from tests.fqi.known import chain


def test_a_table_gives_the_exact_value_of_a_policy():
    # States 0, 1, 2; right of 2 pays 1 and ends. Going right always: gamma^2, gamma, 1 from 0, 1, 2.
    log = chain()  # every pair once: episode 2s + a begins in state s
    config = configure(log, flags={"gamma": 0.5})
    right = fitted_q_evaluation(log, config, [lambda f, _: np.ones(len(f), np.int64)], 5, np.arange(6))
    assert right[0].tolist() == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    left = fitted_q_evaluation(log, config, [lambda f, _: np.zeros(len(f), np.int64)], 5, np.arange(6))
    assert left[0].tolist() == [0.0] * 6


def test_only_the_named_episodes_are_fitted():
    log = chain(repeats=2)
    log = dataclasses.replace(log, rewards=np.where(np.arange(12) < 6, log.rewards, 5 * log.rewards))
    config = configure(log, flags={"gamma": 0.5})
    go = [lambda f, _: np.ones(len(f), np.int64)]
    assert fitted_q_evaluation(log, config, go, 4, np.arange(6))[0].max() == 1.0
    assert fitted_q_evaluation(log, config, go, 4, np.arange(6, 12))[0].max() == 5.0
    assert fitted_q_evaluation(log, config, go, 4, np.arange(12))[0].max() == pytest.approx(3.0)
