"""What is seen of a training while it runs: small curves in the terminal, TensorBoard events, returns on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fqi.errors import UserError

Rows = list[dict[str, Any]]
Listener = Callable[[int, Rows], None]
_BARS = "▁▂▃▄▅▆▇█"
_WIDE = 12  # characters of a curve
EPISODES = 10  # played at each look


def sparkline(values: Sequence[float]) -> str:
    """The last values as a curve of small bars; what is no finite number is a gap."""
    shown = list(values)[-_WIDE:]
    finite = [v for v in shown if v == v and abs(v) != float("inf")]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        " " if v not in finite else _BARS[round((v - low) / span * (len(_BARS) - 1)) if span else 0] for v in shown
    )


class Live:
    """Loss, value and return over the rounds so far, as a line of a progress bar."""

    def __init__(self) -> None:
        self.curves: dict[str, list[float]] = {"mean Q": [], "loss": [], "return": []}

    def add(self, metrics: Rows, returns: Sequence[float] = ()) -> str:
        """Take in a round; the line that shows it."""
        self.curves["mean Q"].append(_mean([row["mean_q"] for row in metrics]))
        self.curves["loss"].append(_mean([row["training_loss"] for row in metrics]))
        if returns:
            self.curves["return"].append(_mean(returns))
        return "  ".join(
            f"{name} {values[-1]:.4g} {sparkline(values)}".rstrip() for name, values in self.curves.items() if values
        )


@contextlib.contextmanager
def tensorboard(path: Path, wanted: bool) -> Iterator[Listener]:
    """Writes every number of a round's metrics as an event of RUN/tensorboard."""
    if not wanted:
        yield lambda number, rows: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError('--tensorboard needs TensorBoard: pip install "fqi[tensorboard]"') from None
    writers: dict[int, Any] = {}

    def listen(number: int, rows: Rows) -> None:
        for row in rows:
            member = row.get("member", 0)
            if member not in writers:  # not before the run's folder is there
                writers[member] = SummaryWriter(str(path / "tensorboard" / f"member-{member}"))
            for name, value in row.items():
                if name not in ("round", "member") and isinstance(value, int | float):
                    writers[member].add_scalar(name, value, number)
            writers[member].flush()

    try:
        yield listen
    finally:
        for writer in writers.values():
            writer.close()


def look(path: Path, number: int) -> list[float]:
    """Play a few episodes of every member at this round; their returns. The rows are kept in the run as evaluations."""
    from fqi.reports.evaluation import evaluate
    from fqi.run import Run

    rows = evaluate(Run(path), [number], episodes=EPISODES)
    return [value for row in rows for value in row["returns"]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
