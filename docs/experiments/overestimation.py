"""Overestimation: the laws of the maximum of noise, the rules that escape them, and both inside the fold.

    python docs/experiments/overestimation.py
    python docs/experiments/overestimation.py polynomials    # this part alone, in seconds

Every true value is 0, so that whatever a rule says is its bias. First the rules alone, on values that are nothing but
independent noise: the maximum of m standard normal noises against its law. Then fitted Q-iteration on a log whose
rewards are nothing but noise. Last the example of van Hasselt et al. (2016): ten actions that are all worth f(s), each
fitted by a polynomial that does not see two of the states -6, -5, …, 6.
"""

import math
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from fqi.log import Log
from fqi.settings import TARGETS
from fqi.training import configure, train
from fqi.values import VALUE_RULES, Look

NORMAL = {2: 0.5642, 4: 1.0294, 8: 1.4236, 10: 1.5388, 18: 1.8200, 1024: 3.2482}  # E max of m standard normal noises
FRAMES = 400_000


def biases(noise, heads):
    """[frames] what each rule says of values [H, frames, m] that are noise, the mean over heads."""
    values = noise[None]
    shares = torch.full((1, heads), 1 / heads, dtype=values.dtype)
    before = noise.flip(0)[None]  # noise as independent as another round's data would make it
    chances = torch.full(noise.shape[1:], 1 / noise.shape[2], dtype=values.dtype)  # all actions are as common
    look = Look(values, before, None, shares, 1.0, chances, 0.9)
    return {name: rule.of(look)[0].mean(0) for name, rule in VALUE_RULES.items()}


def interval(values):
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    return mean, 1.96 * error


def laws(draws):
    """Rows of (noise, m, rule, mean, half width of the 95 % interval, law or None)."""
    rows = []
    for m, law in NORMAL.items():
        frames = min(FRAMES, 40_000_000 // (m * 2))
        noise = torch.randn(2, frames, m, generator=draws, dtype=torch.float64)
        for name, found in biases(noise, 2).items():
            rows.append(("normal", m, name, *interval(found), law if name == "max" else None))
    for m in (2, 10):
        noise = torch.rand(2, FRAMES, m, generator=draws, dtype=torch.float64) * 2 - 1
        for name, found in biases(noise, 2).items():
            rows.append(("uniform", m, name, *interval(found), (m - 1) / (m + 1) if name == "max" else None))
    return rows


def noisy(states=300, each=40, m=10):
    """Episodes of two steps: from each of the first `states` the only action taken pays nothing and leads to a state of
    its own, where ten actions, 40 times each, pay standard normal noise and end the episode."""
    generator = np.random.default_rng(0)
    start = np.repeat(np.arange(states), each * m)
    order = generator.permutation(len(start))  # of the episodes, which heads share out
    start, second = start[order], np.tile(np.arange(m), states * each)[order]
    E = len(start)
    frames = np.stack([start, start + states, np.full(E, 2 * states)], 1).reshape(-1, 1)
    return Log(
        observations=frames.astype(np.float32),
        actions=np.stack([np.zeros(E, np.int64), second], 1).reshape(-1),
        rewards=np.stack([np.zeros(E), generator.normal(size=E)], 1).reshape(-1),
        terminations=np.tile([False, True], E),
        truncations=np.zeros(2 * E, np.bool_),
        lengths=np.full(E, 2),
        observation_space=gym.spaces.Box(-np.inf, np.inf, (1,)),
        action_space=gym.spaces.Discrete(m),
    )


def fold(states=300):
    """By rule and by whether heads see rows of their own: what Q says of the first states after three rounds, where the
    truth is 0. A tree that is fully grown holds the mean of every pair."""
    log = noisy(states)
    starts = np.arange(states, dtype=np.float32)[:, None]
    for weights in ("uniform", "split"):
        for target in TARGETS:
            flags = {
                "regressor": "trees", "trees": 1, "ensemble": 2, "gamma": 1.0, "iterations": 3, "target": target,
                "weights": weights, "bound": "none",
            }  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                run = train(log, configure(log, flags=flags), Path(folder) / "run")
                q = run.build()
                run.load(q, 3)
            mean, half = interval(q.values(starts)[:, :, 0].mean(0))
            print(f"{weights:8} {target:16} {mean:+.4f} ± {half:.4f}", flush=True)


def bell(s):
    return 2 * np.exp(-(s**2))


def polynomials(draws=200):
    """What each rule says of s in [-6, 6] beyond f(s), on average, where the second head's actions miss other states
    than the first's, dealt out anew in each draw."""
    grid, states = np.linspace(-6, 6, 1201), np.arange(-6, 7)
    generator = np.random.default_rng(0)
    for name, f, degree in (("sin s", np.sin, 6), ("2 exp(-s^2)", bell, 6), ("2 exp(-s^2)", bell, 9)):
        fitted = []
        for missed in range(1, 11):
            seen = np.delete(states, [missed, missed + 1])
            fitted.append(np.polyval(np.polyfit(seen, f(seen), degree), grid))
        q = torch.from_numpy(np.stack(fitted, 1))  # [B, A]
        found = {rule: [] for rule in ("max", "mean", "min", "clipped", "double")}
        for _ in range(draws):
            heads = torch.stack([q, q[:, torch.from_numpy(generator.permutation(10))]])  # [H, B, A]
            look = Look(heads[None], heads[None], None, torch.full((1, 2), 0.5), 1.0)
            for rule, off in found.items():
                off.append(float(VALUE_RULES[rule].of(look)[0, 0].mean()) - f(grid).mean())
        said = ", ".join(f"{rule} {np.mean(b):+.3f} ± {1.96 * np.std(b) / draws**0.5:.3f}" for rule, b in found.items())
        print(f"{name}, degree {degree}: {said}", flush=True)


def main():
    if sys.argv[1:] == ["polynomials"]:
        polynomials()
        return
    for kind, m, name, mean, half, law in laws(torch.Generator().manual_seed(0)):
        note = "" if law is None else f"   law {law:.4f}, off by {mean / law - 1:+.2%}"
        print(f"{kind:8} m = {m:5} {name:16} {mean:+.4f} ± {half:.4f}{note}")
    fold()
    polynomials()


main()
