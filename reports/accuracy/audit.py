"""What the log alone says of the values: no environment is asked.

The members were trained apart, so that where one chooses the action that its own noise makes look best, the others
value that choice without this noise. The mean of own minus others' value of one's choice, the gap, estimates how much
the maximum adds in one backup. Members that share a log share its noise, which no gap among them shows: only heads on
episodes of their own (`--weights split`) are independent of that, too. With one member its heads take their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fqi.bounds import earnable
from fqi.log import Log
from fqi.nest import Array, Nest
from fqi.policies import Greedy
from fqi.qfunctions.contract import QFunction, enumerating
from fqi.reports.accuracy.crosswise import crosswise
from fqi.reports.accuracy.sample import Neighbours, drawn_steps, frames_at
from fqi.reports.evaluation import predictions
from fqi.run import Run
from fqi.scan import both
from fqi.transitions import transitions

SLACK = 1e-3  # share of the size of the bounds by which values may lie beyond them, for rounding


def measure_audit(run: Run, log: Log, number: int, near: Neighbours, *, frames: int, seed: int) -> list[dict[str, Any]]:
    """A row for each member, over frames drawn from the log."""
    config, q = run.config, enumerating(run.build())
    gamma, members, heads = config.train.gamma, config.train.seeds, config.heads
    steps = drawn_steps(log, frames, seed)
    seen = frames_at(log, steps)
    legal = None if log.action_mask is None else log.action_mask[log.frame_of_step[steps]]
    low, high = earnable(log, gamma)
    discount = float(transitions(log, gamma, 1).discount.mean())
    try:
        run.load(q, number)
        own = q.values(seen).double()  # [P, b, A]
        means = own.reshape(members, heads, *own.shape[1:]).mean(1)  # [M, b, A]
        units, kind = (means, "members") if members > 1 else (own, "heads")
        gaps = crosswise(units.cpu().numpy(), _allowed(q, seen, legal))
        greedy = [Greedy(q, slice(m * heads, (m + 1) * heads)).among(seen, legal).argmax(1) for m in range(members)]
        values = predictions(run, q, seen, number, legal)  # [M, b]
    finally:
        q.close()
    rows = []
    for m in range(members):
        own_gaps = None if gaps is None else (gaps[m] if kind == "members" else gaps.mean(0))
        supported = near.supported(seen, greedy[m])
        others = [greedy[o] for o in range(members) if o != m]
        slack = SLACK * max(1.0, *(abs(b) for b in (low, high) if np.isfinite(b)), 0.0)
        rows.append({
            "round": number, "member": m, "seed": seed, "frames": len(steps), "units": kind,
            "independent": config.train.weights == "split" and kind == "heads",
            "gaps": None if own_gaps is None else own_gaps.tolist(),
            "discount": discount,
            "supported": None if supported is None else supported.tolist(),
            "differs": None if not others else float(np.mean([(greedy[m] != o).mean() for o in others])),
            "value": float(values[m].mean()),
            "spread": None if members == 1 else float(values.std(0, ddof=1).mean()),
            "beyond": float(((values[m] > high + slack) | (values[m] < low - slack)).mean()),
            "lowest_earnable": low, "highest_earnable": high,
            "quantiles": np.quantile(values[m], (0.05, 0.25, 0.5, 0.75, 0.95)).tolist(),
        })  # fmt: skip
    return rows


def _allowed(q: QFunction, frames: Nest, legal: Array | None) -> Array | None:
    found = both(q.support(frames), None if legal is None else torch.from_numpy(legal))
    return None if found is None else found.cpu().numpy()
