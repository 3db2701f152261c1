"""How far the search for the best continuous action falls short of a dense grid, on states of a log.

    python docs/experiments/cem_regret.py RUN LOG
    python docs/experiments/cem_regret.py RUN LOG --states 200 --grid 13

For each state the mean over the heads of the first member is maximised: by a grid of so many points in each dimension,
ends included, and by searches. Regret is what a search misses of the best value that anybody found, as a share of
the range of values over the grid in that state. `warm` goes through the last rounds as training does, each search
beginning with the best of the round before.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from fqi.datasets.load import load_log
from fqi.maximise import Cem, mean, search, shifts
from fqi.nest import take
from fqi.run import Run

ROUNDS = 8  # that the warm search goes through
PIECE = 2000  # grid points valued at once


def values(score, actions, states):
    """[B, G] the mean over heads of each action [G, K] in each of so many states."""
    every = actions[None, None, None].expand(1, 1, states, -1, -1)
    parts = [score(every[:, :, :, i : i + PIECE]).mean(1)[0] for i in range(0, len(actions), PIECE)]
    return torch.cat(parts, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("log")
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--grid", type=int, default=1001)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)

    run, log = Run.open(given.run), load_log(given.log)
    q, heads = run.build(), slice(0, run.config.heads)
    K, B = int(np.prod(log.action_space.shape)), given.states
    drawn = np.sort(np.random.default_rng(given.seed).choice(log.steps, B, replace=False))
    frames = take(log.observations, log.frame_of_step[drawn])
    axis = torch.linspace(-1, 1, given.grid)
    grid = torch.tensor(list(itertools.product(axis.tolist(), repeat=K)))

    searches = {
        "1 x 64, cold": Cem(iterations=1),
        "2 x 64, cold (targets at first)": Cem(),
        "4 x 64, cold": Cem(iterations=4),
        "4 x 256, cold (acting)": Cem().to_act(),
        "2 x 16 of 4 elites, cold": Cem(16, 4, 2),
    }
    with torch.no_grad():
        run.load(q, run.rounds[-1])
        score = q.score(frames, heads)
        best = {name: search(score, mean, cem, shifts(cem, given.seed, 0, 0, B, K)) for name, cem in searches.items()}
        for name, cem in (("2 x 64, warm (targets)", Cem()), ("1 x 24 of 4 elites, warm", Cem(24, 4, 1))):
            begin = None
            for number in run.rounds[-ROUNDS:]:
                run.load(q, number)
                score = q.score(frames, heads)
                begin = search(score, mean, cem, shifts(cem, given.seed, number, 0, B, K), begin)
            best[name] = begin
        dense = values(score, grid, B)
        found = {name: score(actions[:, :, :, None])[:, :, :, 0].mean(1)[0] for name, actions in best.items()}
    top = torch.stack([dense.amax(1), *found.values()]).amax(0)
    span = top - dense.amin(1)
    print(f"{B} states, {len(grid)} grid points; mean range of values over the grid {float(span.mean()):.4g}")
    print(f"{'search':34s} regret in % of the range: mean, 95th and 99th percentile, largest")
    for name, worth in {"grid": dense.amax(1), **found}.items():
        regret = 100 * (top - worth) / span
        numbers = [float(regret.mean()), *(float(regret.quantile(p)) for p in (0.95, 0.99, 1))]
        print(f"{name:34s} " + "  ".join(f"{n:7.3f}" for n in numbers))


if __name__ == "__main__":
    main()
