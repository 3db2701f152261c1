"""Policies of baselines as one safetensors file: networks, and in its header what they are of."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import safetensors
import safetensors.torch
import torch

from fqi import spaces
from fqi.baselines.contract import Learned
from fqi.baselines.dqn import GreedyMember
from fqi.baselines.likelihood import Continuous, Scale, Softmax
from fqi.encoding import width
from fqi.errors import UserError
from fqi.files import write_bytes
from fqi.networks.convolutions import image_stack
from fqi.networks.population import Population
from fqi.policies import Policy

FORMAT, VERSION = "fqi-policies", 1
_KINDS: dict[type[Any], str] = {Softmax: "softmax", Continuous: "continuous", GreedyMember: "greedy"}


def save_learned(learned: Learned, action_space: gym.Space[Any], path: Path) -> None:
    """Write the policies of all seeds."""
    first, population = learned.policies[0], learned.population
    tensors = {name: tensor.contiguous() for name, tensor in population.checkpoint().items()}
    if isinstance(first, Continuous):
        scales = [policy.scale for policy in learned.policies if isinstance(policy, Continuous)]
        tensors["action_centre"] = torch.from_numpy(np.stack([scale.centre for scale in scales]))
        tensors["action_spread"] = torch.from_numpy(np.stack([scale.spread for scale in scales]))
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": _KINDS[type(first)],
        "act": getattr(first, "act", "greedy"),
        "policies": len(learned.policies),
        "sizes": list(population.sizes),
        "observation_space": spaces.to_json(population.space),
        "action_space": spaces.to_json(action_space),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, safetensors.torch.save(tensors, {"fqi": json.dumps(header)}))


def saved_policies(path: Path) -> tuple[list[Policy], gym.Space[Any], gym.Space[Any]]:
    """The policies in this file, and the spaces of observations and actions that they are for."""
    header, tensors = _read(path)
    try:
        observation_space = spaces.from_json(header["observation_space"])
        action_space = spaces.from_json(header["action_space"])
        sizes, count = [int(size) for size in header["sizes"]], int(header["policies"])
        kind, act = str(header["kind"]), str(header["act"])
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path}: what it says of its policies is damaged: {error}") from None
    weights = tensors.get("weights")
    if weights is None or len(sizes) < 2 or len(set(sizes[1:-1])) > 1 or count != len(weights) or not count:
        raise UserError(f"{path}: expected the weights of {count} networks of the layers {sizes}, found others")
    dense = sizes[1:] if image_stack(observation_space) else [width(observation_space), *sizes[1:]]
    if sum(a * b for a, b in pairwise(dense)) > weights.shape[-1]:  # before memory is taken for them
        raise UserError(f"{path}: layers {sizes} need more weights than the {weights.shape[-1]} that are there")
    population = Population(
        observation_space, sizes[-1], [0] * count, sizes[1] if len(sizes) > 2 else 1, len(sizes) - 2
    )
    scales = {name: tensors.pop(name) for name in ("action_centre", "action_spread") if name in tensors}
    try:
        population.restore(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if kind == "greedy":
        return [GreedyMember(population, i) for i in range(count)], observation_space, action_space
    if kind == "softmax" and act in ("greedy", "sample"):
        return [Softmax(population, i, act) for i in range(count)], observation_space, action_space
    if kind == "continuous" and isinstance(action_space, gym.spaces.Box) and len(scales) == 2:
        K = int(np.prod(action_space.shape))
        if any(t.shape != (count, K) or not bool(torch.isfinite(t).all()) for t in scales.values()):
            raise UserError(f"{path}: the scale of its actions must be finite numbers of shape {(count, K)}")
        centre, spread = scales["action_centre"].numpy(), scales["action_spread"].numpy()
        own = [Scale(centre[i], spread[i]) for i in range(count)]
        policies: list[Policy] = [Continuous(population, i, act, action_space, own[i]) for i in range(count)]
        return policies, observation_space, action_space
    raise UserError(f"{path}: expected policies that are greedy, softmax or continuous, found {kind!r}")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fqi"])
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise ValueError(f"expected {FORMAT} version {VERSION}")
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a file of policies: {error}") from None
