"""How a log is measured; light, since the command line is made from it."""

from __future__ import annotations

from dataclasses import dataclass

from fqi.options import option
from fqi.settings import TrainSettings


@dataclass(frozen=True)
class MeasureSettings:
    """What trajectory quality and coverage are compared with."""

    gamma: float = option(
        TrainSettings.gamma, "Discount of the returns that trajectory quality compares.", low=0, high=1
    )
    worst_return: float | None = option(
        None,
        "Mean discounted return of quality 0, a random policy's. [default: that of the log's own random behaviour]",
    )
    best_return: float | None = option(
        None,
        "Mean discounted return of quality 1, an expert's. [default: that of the log's own scripted behaviour]",
    )
    cells: int = option(
        20, "Cells along each dimension, by which continuous states and actions are told apart.", low=2, high=255
    )
