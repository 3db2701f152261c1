"""Updates a second on a CUDA device, for 1 to 128 members: `python tests/benchmarks/bench_gpu.py`.

Each is told as a multiple of a textbook loop on the same device, and as a share of its largest matrix product.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from fqi.bench.limits import step_operations
from fqi.bench.networks import SIZES
from fqi.bench.problem import bound_mlp, random_rows
from fqi.bench.textbook import textbook_step

MEMBERS, BATCHES, UPDATES, SIDE = (1, 8, 32, 128), (32, 256, 1024), 500, 8192


def seconds(work: Callable[[], object], turns: int = 5) -> float:
    """The median of a few turns, each waited for to its end."""
    work()
    found = []
    for _ in range(turns):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here, so that there is nothing to measure")
    square = torch.randn(SIDE, SIDE, device="cuda")
    peak = 2 * SIDE**3 / seconds(lambda: square @ square)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {peak / 1e12:.1f} TFLOP/s in a product of {SIDE}"
    )
    rows = random_rows(100_000)
    with torch.no_grad():
        for batch in BATCHES:
            step = textbook_step(SIZES, batch, "cuda")
            textbook = seconds(lambda step=step: [step() for _ in range(100)]) / 100  # type: ignore[misc]
            first = 0.0
            for members in MEMBERS:
                q = bound_mlp(rows, members, device="cuda", width=256, batch=batch, updates=UPDATES)
                wanted = torch.from_numpy(rows.returns).float().cuda().expand(members, -1)
                took = seconds(lambda q=q, wanted=wanted: q.fit(wanted)) / UPDATES  # type: ignore[misc]
                first = first or took
                share = members * step_operations(SIZES, batch) / took / peak
                print(
                    f"batch {batch:5} members {members:4}: {members / took:12,.0f} member updates/s, "
                    f"{members * textbook / took:8.1f} times the textbook loop, {share:6.1%} of the product, "
                    f"{took / first:5.2f} times the time of one"
                )


if __name__ == "__main__":
    main()
