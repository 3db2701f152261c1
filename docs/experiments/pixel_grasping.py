"""Grasping with one action for each pixel: Q-maps learned from uniformly random grasps, judged on unseen scenes.

    python docs/experiments/pixel_grasping.py [--grasps 40000] [--rounds 12] [--updates 300] [--scene small]

An episode is one grasp, so that every round regresses the same rewards: rounds are looks at one long regression.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from fqi.datasets.collect import Request, collect
from fqi.datasets.store import read_log
from fqi.reports.evaluation import evaluate
from fqi.training import configure, train

SCENES = {
    "small": {"size": 16, "objects": 1, "turns": 2},
    "middle": {"size": 20, "objects": 2, "turns": 4},
    "full": {},
}


def interval(share, count):
    """Wilson's, 95 %."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--grasps", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weights", default="uniform")
    parser.add_argument("--scene", choices=SCENES, default="small")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("pixel-grasping"))
    given = parser.parse_args()
    kwargs = SCENES[given.scene]
    path = given.out / f"{given.scene}-{given.grasps}.h5"
    if not path.exists():
        options = {"env_kwargs": kwargs, "envs": 500, "seed": 100 + given.seed}
        collect(Request.new("fqi/Grasp-v0", options, None, given.grasps), path)
    log = read_log(path)
    print(f"{given.scene}: {log.steps} random grasps, {log.rewards.mean():.2%} of them succeed", flush=True)
    flags = {
        "regressor": "unet", "rotations": kwargs.get("turns", 4), "channels": given.channels, "levels": given.levels,
        "updates": given.updates, "batch": given.batch, "lr": given.lr, "iterations": given.rounds, "workers": 1,
        "weights": given.weights, "seed": given.seed, "holdout": 0.02,
    }  # fmt: skip
    began = time.monotonic()

    def listen(number, metrics):
        loss = np.mean([row["heldout_loss"] for row in metrics])
        print(f"  round {number}: held-out loss {loss:.4f}, {time.monotonic() - began:.0f} s", flush=True)

    run = train(log, configure(log, flags=flags), given.out / f"run-{given.scene}-{int(time.time())}", listen=listen)
    chosen = sorted({max(1, given.rounds // 4), max(1, given.rounds // 2), given.rounds})
    for row in evaluate(run, chosen, episodes=given.episodes, seed=7):
        share = float(np.mean(row["returns"]))
        low, high = interval(share, given.episodes)
        print(f"  round {row['round']}: {share:.1%} of {given.episodes} unseen scenes ({low:.1%} to {high:.1%})")
        print(json.dumps({"round": row["round"], "success": share, "predicted": float(np.mean(row["predicted"]))}))


if __name__ == "__main__":
    main()
