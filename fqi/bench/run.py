"""The figures of the bench, one after the other, and what has become worse since they were kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fqi.bench.acting import acting, environments
from fqi.bench.closed import closed_forms, trees
from fqi.bench.figure import Bench, Figure
from fqi.bench.networks import images, population, regression, targets
from fqi.errors import UserError
from fqi.threads import one_thread

BENCHES: dict[str, Bench] = {
    "regression": regression,
    "targets": targets,
    "population": population,
    "images": images,
    "trees": trees,
    "closed": closed_forms,
    "acting": acting,
    "environments": environments,
}
TOLERANCE = 0.25  # of a ratio: what noise may take from it
FORMAT = "fqi-bench"


def bench(names: Sequence[str], seconds: float, listen: Callable[[str], None] | None = None) -> list[Figure]:
    """Every figure of these benches; each thing that is compared takes turns with the others for so many seconds."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise UserError(f"there is no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    found = []
    with torch.no_grad(), one_thread():
        for name in names or BENCHES:
            found += BENCHES[name](seconds)
            if listen:
                listen(name)
    return found


def worse(figures: Sequence[Figure], kept: Mapping[str, Any], tolerance: float, where: str) -> list[str]:
    """A sentence for each ratio that lies below the kept one by more than the tolerance."""
    if kept.get("format") != FORMAT or not isinstance(kept.get("figures"), list):
        raise UserError(f"{where}: expected what `fqi bench --json` prints, found another object")
    try:
        before = {row["name"]: float(row["ratio"]) for row in kept["figures"]}
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{where}: each of its figures must have a name and a ratio") from None
    return [
        f"{f.name}: {f.ratio:.2f} times {f.against}, where {before[f.name]:.2f} was kept"
        for f in figures
        if f.name in before and f.ratio < before[f.name] * (1 - tolerance)
    ]
