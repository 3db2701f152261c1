"""Valid logs of every kind, small, for tests that must hold for any of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from hypothesis import strategies as st

from fqi.log import Log
from fqi.nest import Array, Nest

FLOATS = (np.float32, np.float64)
_NAMES = st.sampled_from(["a", "b", "camera", "state", "z9", "Über"])


@st.composite
def boxes(draw: st.DrawFn) -> gym.spaces.Box:
    """A Box of any number dtype with up to three dimensions."""
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    dtype: Any = draw(st.sampled_from([*FLOATS, np.uint8, np.int32]))
    if np.dtype(dtype).kind == "f" and draw(st.booleans()):
        return gym.spaces.Box(-np.inf, np.inf, shape, dtype)
    low, high = (0, 255) if dtype is np.uint8 else (-3, 5)
    return gym.spaces.Box(low, high, shape, dtype)


def discretes() -> st.SearchStrategy[gym.spaces.Discrete]:
    """A Discrete space that need not begin at 0."""
    return st.builds(lambda n, start: gym.spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-2, 2))


def multis() -> st.SearchStrategy[gym.Space[Any]]:
    """MultiDiscrete and MultiBinary spaces."""
    sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    many = st.builds(lambda n: gym.spaces.MultiDiscrete(n), sizes)
    return many | st.builds(lambda n: gym.spaces.MultiBinary(n), st.integers(1, 4))


def leaf_spaces() -> st.SearchStrategy[gym.Space[Any]]:
    """A space whose values are single arrays."""
    return boxes() | discretes() | multis()


def observation_spaces() -> st.SearchStrategy[gym.Space[Any]]:
    """Arrays, and Dicts and Tuples of them, one in another."""

    def nested(inner: st.SearchStrategy[gym.Space[Any]]) -> st.SearchStrategy[gym.Space[Any]]:
        pairs = st.lists(st.tuples(_NAMES, inner), min_size=1, max_size=3, unique_by=lambda pair: pair[0])
        in_order = st.builds(lambda p: gym.spaces.Dict(p), pairs)
        return in_order | st.builds(lambda s: gym.spaces.Tuple(s), st.lists(inner, min_size=1, max_size=3))

    return st.recursive(leaf_spaces(), nested, max_leaves=4)


def sample(space: gym.Space[Any], rows: int, generator: np.random.Generator) -> Nest:
    """Rows of values of the space."""
    if isinstance(space, gym.spaces.Dict):
        return {key: sample(sub, rows, generator) for key, sub in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return {str(i): sample(sub, rows, generator) for i, sub in enumerate(space.spaces)}
    shape, dtype = (rows, *(space.shape or ())), np.dtype(space.dtype)
    if isinstance(space, gym.spaces.Discrete):
        return generator.integers(int(space.start), int(space.start + space.n), shape).astype(dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return (space.start + np.floor(generator.random(shape) * space.nvec)).astype(dtype)
    if isinstance(space, gym.spaces.MultiBinary):
        return generator.integers(0, 2, shape).astype(dtype)
    assert isinstance(space, gym.spaces.Box)
    if dtype.kind != "f":
        return generator.integers(space.low, space.high, shape, dtype, endpoint=True)
    values = generator.uniform(-3, 5, shape) if np.isfinite(space.low).all() else generator.normal(size=shape) * 1e3
    return np.asarray(values).astype(dtype).clip(space.low, space.high)


@st.composite
def logs(
    draw: st.DrawFn,
    observations: st.SearchStrategy[gym.Space[Any]] | None = None,
    actions: st.SearchStrategy[gym.Space[Any]] | None = None,
) -> Log:
    """Any valid log: nests, dtypes and optional columns of every kind, with up to six short episodes."""
    observation_space = draw(observation_spaces() if observations is None else observations)
    action_space = draw(leaf_spaces() if actions is None else actions)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = np.array(draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)), np.int64)
    steps, episodes = int(lengths.sum()), len(lengths)
    last = np.zeros(steps, np.bool_)
    last[np.cumsum(lengths) - 1] = True
    terminated = generator.random(steps) < 0.5
    both = generator.random(steps) < 0.2
    taken = sample(action_space, steps, generator)
    assert isinstance(taken, np.ndarray)
    density = isinstance(action_space, gym.spaces.Box)
    behaviours = tuple(draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True)))
    with_behaviour = draw(st.booleans())
    return Log(
        observations=sample(observation_space, steps + episodes, generator),
        actions=taken,
        rewards=generator.normal(size=steps).astype(draw(st.sampled_from(FLOATS))),
        terminations=last & terminated,
        truncations=last & (~terminated | both),
        lengths=lengths,
        observation_space=observation_space,
        action_space=action_space,
        propensity=generator.uniform(0.1, 2 if density else 1, steps) if draw(st.booleans()) else None,
        behaviour=generator.integers(0, len(behaviours), steps).astype(np.int32) if with_behaviour else None,
        behaviours=behaviours if with_behaviour else (),
        label=_labels(action_space, taken, generator) if draw(st.booleans()) else None,
        action_mask=_mask(action_space, taken, lengths, generator) if draw(st.booleans()) else None,
        origin=generator.integers(0, 1000, (episodes, 2)) if draw(st.booleans()) else None,
        seeds=generator.integers(0, 2**62, episodes) if draw(st.booleans()) else None,
        environment=draw(st.sampled_from([None, {"id": "CartPole-v1", "kwargs": {}, "max_episode_steps": 500}])),
        provenance=draw(st.sampled_from([{}, {"by": "Zoë", "share": 0.1, "list": [1, None, {"x": True}]}])),
    )


def _labels(space: gym.Space[Any], actions: Array, generator: np.random.Generator) -> Array:
    """Actions in another order than taken, except Discrete ones: a mask may forbid all others."""
    return actions.copy() if isinstance(space, gym.spaces.Discrete) else generator.permutation(actions)


def _mask(space: gym.Space[Any], actions: Array, lengths: Array, generator: np.random.Generator) -> Array | None:
    if not isinstance(space, gym.spaces.Discrete):
        return None
    steps = int(lengths.sum())
    mask = generator.random((steps + len(lengths), int(space.n))) < 0.5
    mask[np.arange(steps) + np.repeat(np.arange(len(lengths)), lengths), actions - int(space.start)] = True
    return np.asarray(mask)
