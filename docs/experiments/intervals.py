"""How often the 95 % intervals of a comparison hold the truth.

    python docs/experiments/intervals.py [REPEATS]

Seeds are drawn from distributions whose truth is known; the table gives the share of repeats, in percent, in which the
interval held it. `plain` is the percentile bootstrap of the same resamples, which is what is usually printed.
"""

import math
import sys

import numpy as np
from scipy.special import ndtri

from fqi.reports import aggregates

RESAMPLES = 600
SCORES = {
    "normal": lambda g, size: g.normal(0.0, 1.0, size),
    "skewed (log-normal)": lambda g, size: np.exp(g.normal(0.0, 1.0, size)),
    "ceiling (normal cut at 500, 37 % there)": lambda g, size: np.minimum(500.0, g.normal(480.0, 60.0, size)),
    "near a ceiling (beta 4, 1)": lambda g, size: g.beta(4.0, 1.0, size),
    "two peaks (70 % good, 30 % failed)": lambda g, size: np.where(
        g.random(size) < 0.7, g.normal(450.0, 20.0, size), g.normal(150.0, 40.0, size)
    ),
}
APART = 0.5  # by which the four tasks of the unbounded distributions differ, in their own units


def draw(name, generator, tasks, seeds):
    scores = SCORES[name](generator, (tasks, seeds))
    return scores + (APART * np.arange(tasks)[:, None] if name.startswith(("normal", "skewed")) else 0.0)


def truth(name, statistic, tasks):
    """The statistic of the population itself: four million draws."""
    return float(statistic(list(draw(name, np.random.default_rng(99), tasks, 4_000_000 // tasks))))


def coverage(name, statistic, tasks, seeds, repeats):
    """Shares of repeats in which the interval, and the plain percentile interval, hold the truth."""
    generator = np.random.default_rng(1)
    real = truth(name, statistic, tasks)
    held = plain = 0
    for _ in range(repeats):
        scores = list(draw(name, generator, tasks, seeds))
        chosen = aggregates.resamples([seeds] * tasks, generator, RESAMPLES)
        drawn = aggregates.bootstrap(statistic, scores, chosen)
        low, high = aggregates.widened(statistic(scores), drawn, scores)
        held += bool(low - 1e-9 <= real <= high + 1e-9)
        low, high = np.quantile(drawn, [0.025, 0.975])
        plain += bool(low - 1e-9 <= real <= high + 1e-9)
    return held / repeats, plain / repeats


def improvement_coverage(chances, seeds, repeats):
    """The same of the probability of improvement, for two learners that differ by a shift."""
    generator = np.random.default_rng(2)
    shifts = [math.sqrt(2) * float(ndtri(p)) for p in chances]
    real, held = float(np.mean(chances)), 0
    for _ in range(repeats):
        first = [generator.normal(shift, 1.0, seeds) for shift in shifts]
        second = [generator.normal(0.0, 1.0, seeds) for _ in shifts]
        found = aggregates.improvement(first, second)
        held += found.low <= real <= found.high
    return held / repeats


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for title, statistic in (
        ("interquartile mean", aggregates.interquartile_mean),
        ("mean", aggregates.mean),
    ):
        print(f"\n{title}: covered (plain percentiles), percent, {repeats} repeats\n")
        sizes = [(tasks, seeds) for tasks in (1, 4) for seeds in (2, 3, 5, 10, 30)]
        print("| scores | " + " | ".join(f"{t} × {n}" for t, n in sizes) + " |\n|" + "---|" * (len(sizes) + 1))
        for name in SCORES:
            cells = [coverage(name, statistic, tasks, seeds, repeats) for tasks, seeds in sizes]
            print(f"| {name} | " + " | ".join(f"{100 * a:.1f} ({100 * b:.1f})" for a, b in cells) + " |", flush=True)
    print(f"\nprobability of improvement: covered, percent, {repeats} repeats\n")
    seeds = (2, 3, 4, 5, 10, 30)
    print("| true probability, for each task | " + " | ".join(map(str, seeds)) + " |\n|" + "---|" * (len(seeds) + 1))
    for chances in [(0.5,), (0.76,), (0.92,), (0.98,), (0.5,) * 4, (0.92,) * 4, (0.5, 0.76, 0.92, 0.98)]:
        cells = [improvement_coverage(chances, n, repeats) for n in seeds]
        label = ", ".join(map(str, chances))
        print(f"| {label} | " + " | ".join(f"{100 * c:.1f}" for c in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
