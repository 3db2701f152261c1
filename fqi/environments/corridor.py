"""A corridor where the errors of cloning compound: its regret grows as T² eps, that of DAgger as T eps.

A frame says whether the driver is on the lane (0) or off it (1), and shows a context: one of N, drawn anew each step.
On the lane one action of four keeps to it, by a fixed table of the contexts; any other action leaves it. Off the lane
one of two further actions returns to it, by another fixed table; any other leaves the driver where it is. Every step
that begins off the lane costs 1 (reward -1, else 0). An episode begins on the lane and lasts `length` steps, by its
time limit. The optimal return is 0, so the regret of a policy is what it pays.

An expert who recovers at once never leaves the lane, hence its log holds no frame off the lane. Whoever clones it
errs where a context was not in the log, and then must act in frames that the log tells nothing of:

- the actions that return are never right on the lane, so no frame of the expert's log has one. A learner that takes
  the most frequent action where it knows nothing, or whose network has learned to carry over what is right on the
  lane, stays off the lane to the end: after an error at step t it pays T - t, in all some eps T² / 2.
- this is a choice in the corridor's favour as a lesson, not a law: who takes each action with the probability 1/6
  where it knows nothing returns after 6 steps on average and pays T eps times a constant, as DAgger does.
- DAgger is shown the frames off the lane that it itself gets into. One error costs it the steps until a context comes
  up whose way back it knows: T eps / rho with a probability rho of knowing it. That is linear in T as long as 1/rho is
  far below T, which takes labels of frames off the lane, and every one of these is one fewer of frames on the lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from fqi.environments.program import Program, ProgramEnv, ProgramSlots
from fqi.errors import UserError
from fqi.hashing import mixed
from fqi.nest import Array

LENGTH = 100  # steps of an episode unless told otherwise
CONTEXTS = 500
ACTIONS = 6
_MOST = 10**6  # of either
_KEEPING = 4  # actions 0 to 3 can be right on the lane, 4 and 5 off it
_TABLE_SEEDS = (np.uint64(0x5EED0000), np.uint64(0x5EED0001))  # of the contexts' right actions on and off the lane


def right_actions(off: Array, contexts: Array) -> Array:
    """The expert's actions [B] for drivers on or off the lane (bool [B]) in these contexts [B]."""
    contexts = np.asarray(contexts).astype(np.uint64)
    with np.errstate(over="ignore"):
        on_lane, off_lane = (mixed(mixed(contexts) ^ seed) for seed in _TABLE_SEEDS)
    keeping, returning = on_lane % np.uint64(_KEEPING), off_lane % np.uint64(ACTIONS - _KEEPING) + np.uint64(_KEEPING)
    return np.where(off, returning, keeping).astype(np.int64)


def every_frame(contexts: int = CONTEXTS) -> Array:
    """All frames [2N, 2]: on the lane in every context, then off it."""
    return np.stack((np.repeat([0, 1], contexts), np.tile(np.arange(contexts), 2)), axis=1)


def regret(policy: Callable[[Array], Array], length: int = LENGTH, contexts: int = CONTEXTS) -> float:
    """The expected regret of an episode, exactly; the policy maps frames [B, 2] to actions [B] or probabilities [B, A].

    Dynamic programming over the lane alone: as the contexts are drawn independently, the chance to leave and the
    chance to return are means over the contexts, the same at every step.
    """
    leaves, returns = leaving_and_returning(policy, contexts)
    off, paid = 0.0, 0.0  # the probability to be off the lane, and its sum over the steps so far
    for _ in range(checked("length", length)):
        paid += off
        off = off * (1 - returns) + (1 - off) * leaves
    return paid


def leaving_and_returning(policy: Callable[[Array], Array], contexts: int = CONTEXTS) -> tuple[float, float]:
    """The probability to leave the lane in a step on it, and to return to it in a step off it."""
    frames = every_frame(checked("contexts", contexts))
    right = right_actions(frames[:, 0] == 1, frames[:, 1])  # [2N]
    acted = np.asarray(policy(frames))
    if acted.shape == (len(frames), ACTIONS):
        correct = acted[np.arange(len(frames)), right]
    elif acted.shape == (len(frames),):
        correct = (acted == right).astype(np.float64)
    else:
        raise UserError(
            f"a policy of the corridor gives {len(frames)} actions or probabilities of shape {(len(frames), ACTIONS)} "
            f"for {len(frames)} frames (got shape {acted.shape})"
        )
    # 1 - correct, then the mean: a policy without an error gives exactly 0
    return float(np.mean(1 - correct[:contexts])), float(np.mean(correct[contexts:]))


def corridor(length: int = LENGTH, contexts: int = CONTEXTS) -> ProgramEnv:
    """fqi/Corridor-v0: `length` is the time limit in steps (with `gymnasium.make` give it as max_episode_steps too)."""
    checked("length", length)
    return ProgramEnv(_program(contexts))


def corridor_slots(count: int, length: int = LENGTH, contexts: int = CONTEXTS) -> ProgramSlots:
    checked("length", length)
    return ProgramSlots(count, _program(contexts))


def checked(name: str, value: Any) -> int:
    """The length or the number of contexts, refused where it is none."""
    if type(value) is not int or not 1 <= value <= _MOST:
        raise UserError(f"{name} of fqi/Corridor-v0 must be a whole number from 1 to {_MOST} (got {value!r})")
    return value


def _program(contexts: int) -> Program:
    N = np.uint64(checked("contexts", contexts))
    every = every_frame(contexts)
    right = right_actions(every[:, 0] == 1, every[:, 1])  # [2N]

    def drawn(keys: Array, ticks: Array) -> Array:
        with np.errstate(over="ignore"):
            return (mixed(keys.view(np.uint64) + ticks.view(np.uint64)) % N).view(np.int64)

    # States [4, B] int64: off the lane (1) or on it (0), context, the episode's key, steps so far.
    def start(seeds: Array) -> Array:
        with np.errstate(over="ignore"):
            keys = mixed(mixed(seeds.astype(np.uint64))).view(np.int64)
        none = np.zeros_like(keys)
        return np.stack((none, drawn(keys, none), keys, none))

    def step(states: Array, actions: Array) -> tuple[Array, Array, Array]:
        off, context, keys, ticks = states
        correct = right[off * contexts + context] == actions
        after = np.empty_like(states)
        after[0], after[2], after[3] = ~correct, keys, ticks + 1
        after[1] = drawn(keys, after[3])
        return after, -off.astype(np.float64), np.zeros(len(actions), np.bool_)

    return Program(
        observation_space=gym.spaces.MultiDiscrete([2, contexts]),
        action_space=gym.spaces.Discrete(ACTIONS),
        start=start,
        frames=lambda states: np.ascontiguousarray(states[:2].T),
        step=step,
    )
