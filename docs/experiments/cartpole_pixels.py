"""CartPole from images: learned offline from a log of mixed behaviours, judged on starts that nobody has seen.

    python docs/experiments/cartpole_pixels.py [--regressor mlp] [--steps 40000] [--rounds 15] [--seed 0]

The frame holds the image and its difference to the last one (24 x 48 pixels each). Half of the steps are uniformly
random, half a balancing law on what the images show, with half of its actions random.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from fqi.behaviour import Component, Mixture
from fqi.environments.cartpole_pixels import GAIN
from fqi.environments.make import environment_record, make_slots
from fqi.log import Log
from fqi.nest import rows
from fqi.policies import Function, Uniform
from fqi.reports.evaluation import evaluate
from fqi.rollout import episodes
from fqi.training import configure, train

ID = "fqi/CartPolePixels-v0"


def lean(image):
    """How far the pole leans [B], in columns: where it is brightest in its upper rows, less that in the lower."""
    columns = np.arange(image.shape[2])

    def middle(part):
        light = part.sum(1)
        return (light * columns).sum(1) / np.maximum(light.sum(1), 1)

    return middle(image[:, 2:8]) - middle(image[:, 12:18])


def balance(frames):
    """Push under the pole: to where it leans and falls."""
    now = frames[:, 0].astype(np.float64)
    before = now - (frames[:, 1].astype(np.float64) - 128) / GAIN
    return (lean(now) + 12 * (lean(now) - lean(np.clip(before, 0, 255))) > 0).astype(np.int64)


def collected(steps, seed):
    """Episodes of both behaviours, half of the steps each."""
    record = environment_record(ID)
    slots = make_slots(record, 32)
    parts = []
    for number, one in enumerate(("random", "balance")):
        policy = Uniform(slots.action_space) if number == 0 else Function(balance, slots.action_space, "balance")
        actor = Mixture([Component(one, policy, epsilon=0.5 * number)], slots.action_space)
        blocks, taken = [], 0
        for block in episodes(slots, actor, seed * 2 + number, record["max_episode_steps"]):
            blocks.append(block)
            taken += int(block.lengths.sum())
            if taken >= steps // 2:
                break
        print(f"  {one}: {taken} steps, mean length {taken / sum(len(b.lengths) for b in blocks):.1f}", flush=True)
        parts += blocks

    def joined(name):
        return np.concatenate([getattr(block, name) for block in parts])

    return Log(
        observations=joined("observations"), actions=joined("actions"), rewards=joined("rewards"),
        terminations=joined("terminations"), truncations=joined("truncations"), lengths=joined("lengths"),
        observation_space=slots.observation_space, action_space=slots.action_space, environment=record,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--regressor", default="mlp", choices=("mlp", "cnn"))
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ensemble", type=int, default=3)
    parser.add_argument("--conservative", type=float, default=1.0)
    parser.add_argument("--constraint", type=float, default=0.0, help="above 0, a convolutional clone takes minutes")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("cartpole-pixels"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = collected(given.steps, 50 + given.seed)
    print(f"{log.steps} steps in {log.episodes} episodes, {rows(log.observations)} frames", flush=True)
    flags = {
        "regressor": given.regressor, "iterations": given.rounds, "updates": given.updates, "batch": given.batch,
        "lr": given.lr, "ensemble": given.ensemble, "conservative": given.conservative,
        "constraint": given.constraint, "seed": given.seed,
        "workers": 1, "holdout": 0.02,
    }  # fmt: skip
    began = time.monotonic()

    def listen(number, metrics):
        told = metrics[0]
        print(f"  round {number}: mean Q {told['mean_q']:.2f}, {time.monotonic() - began:.0f} s", flush=True)

    path = given.out / f"run-{given.regressor}-{given.seed}-{int(time.time())}"
    run = train(log, configure(log, flags=flags), path, listen=listen)
    chosen = sorted({max(1, given.rounds // 2), given.rounds})
    for row in evaluate(run, chosen, episodes=given.episodes, seed=7):
        returns = np.array(row["returns"])
        half = 1.96 * returns.std(ddof=1) / np.sqrt(len(returns))
        print(
            f"  round {row['round']}: {returns.mean():.1f} ± {half:.1f} over {len(returns)} unseen starts", flush=True
        )


if __name__ == "__main__":
    main()
