"""What bfloat16 products cost in quality: CartPole from random steps, float32 beside bf16, the same seeds and starts.

python docs/experiments/precision.py --seeds 5 --rounds 20,30,40
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fqi.datasets.collect import Request, collect
from fqi.reports.evaluation import evaluate
from fqi.training import configure, train


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", default="20,30,40", help="rounds to judge, separated by commas")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=20)
    arguments = parser.parse_args()
    rounds = [int(n) for n in arguments.rounds.split(",")]
    with TemporaryDirectory() as folder:
        log = collect(Request.new("CartPole-v1", {"seed": 0}, arguments.steps, None), Path(folder) / "random.h5")
        for precision in ("float32", "bf16"):
            flags = {"iterations": rounds[-1], "seeds": arguments.seeds, "precision": precision, "workers": 1}
            clock = time.perf_counter()
            run = train(log, configure(log, flags=flags), Path(folder) / precision)
            seconds = time.perf_counter() - clock
            rows = evaluate(run, rounds, episodes=arguments.episodes, seed=0)
            for number in rounds:
                own = [float(np.mean(row["returns"])) for row in rows if row["round"] == number]
                each = ", ".join(f"{earned:.0f}" for earned in own)
                loss = [row["heldout_loss"] for row in run.metrics if row["round"] == number]
                print(
                    f"{precision:8} round {number}: mean {np.mean(own):.1f} of members {each}; held-out squared error "
                    f"{np.mean(loss):.5f} ({', '.join(f'{one:.5f}' for one in loss)})",
                    flush=True,
                )
            print(f"{precision:8} {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
