"""A grid world drawn cell by cell: how wrong Q is for each of the four actions, and what the policy does."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import PolyCollection

from fqi.nest import Array
from fqi.reports.drawing import INK, SOFT, Drawn, Sheet
from fqi.reports.words import number

# Gymnasium's toy text: FrozenLake counts left, down, right, up; CliffWalking up, right, down, left.
_SIDES = {"FrozenLake": "ldru", "CliffWalking": "urdl"}
_TRIANGLE = {
    "l": ((0, 0), (0, 1), (0.5, 0.5)), "r": ((1, 0), (1, 1), (0.5, 0.5)),
    "u": ((0, 0), (1, 0), (0.5, 0.5)), "d": ((0, 1), (1, 1), (0.5, 0.5)),
}  # fmt: skip
_ARROW = {"l": (-0.3, 0.0), "r": (0.3, 0.0), "u": (0.0, -0.3), "d": (0.0, 0.3)}


def error_grid(row: dict[str, Any]) -> Drawn | None:
    """One member at one round; None where it is not known which way the actions go."""
    sides = next((s for name, s in _SIDES.items() if row["environment"].startswith(name)), None)
    height, width = row["grid"]
    q, worth, counts = (np.array(row[name]) for name in ("q", "q_worth", "counts"))
    if sides is None or q.shape[1] != len(sides):
        return None
    lasting, error = np.array(row["lasting"]), q - worth
    known = lasting[:, None] & (counts > 0)
    most = float(np.abs(error[known]).max(initial=0.0)) or 1.0
    title = f"Error of Q, cell by cell, at round {row['round']}"
    sheet = Sheet("error_grid", title, "column", "row", _size(height, width))
    _paint(sheet, sides, width, error, known, lasting, most)
    _arrows(sheet, sides, width, np.array(row["choices"]), lasting)
    axes = sheet.axes
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(width) + 0.5)
    axes.set_yticks(np.arange(height) + 0.5)
    sheet.clouds.append({"label": "error", "error": np.where(known, error, np.nan).tolist(), "counts": counts.tolist()})
    worst = np.unravel_index(int(np.argmax(np.where(known, np.abs(error), -1))), error.shape)
    cell, action = int(worst[0]), int(worst[1])
    return sheet.drawn(
        f"Q minus what the greedy policy really earns after each action, for member {row['member']}: orange too high, "
        f"blue too low, full colour at ±{number(most)}. A triangle lies on the side to which its action means to go; "
        "dots mark pairs that the log does not hold, arrows the greedy action.",
        f"Grid of {height} by {width} cells: errors of Q from {number(float(error[known].min(initial=0.0)))} to "
        f"{number(float(error[known].max(initial=0.0)))}; the largest in cell {cell}, action {action}.",
        ticks=False,
    )


def _size(height: int, width: int) -> tuple[float, float]:
    return 4.9, max(2.4, min(5.2, 0.9 + 4.2 * height / width))


def _paint(sheet: Sheet, sides: str, width: int, error: Array, known: Array, lasting: Array, most: float) -> None:
    shapes, colours, dots = [], [], []
    colour = colormaps["PuOr_r"]
    for state, action in np.ndindex(*error.shape):
        if not lasting[state]:
            continue
        corner = np.array([state % width, state // width])
        shape = np.array(_TRIANGLE[sides[action]]) + corner
        shapes.append(shape)
        strength = error[state, action] / most if known[state, action] else 0.0
        colours.append(colour(0.5 + 0.5 * strength))
        if not known[state, action]:
            dots.append(shape.mean(0))
    sheet.axes.add_collection(PolyCollection(shapes, facecolors=colours, edgecolors=SOFT, linewidths=0.4))
    if dots:
        points = np.array(dots)
        sheet.axes.plot(points[:, 0], points[:, 1], ".", color="#222222", markersize=3, label="not in the log")


def _arrows(sheet: Sheet, sides: str, width: int, choices: Array, lasting: Array) -> None:
    for state in np.flatnonzero(lasting):
        dx, dy = _ARROW[sides[int(choices[state])]]
        x, y = state % width + 0.5, state // width + 0.5
        arrow = {"arrowstyle": "-|>", "color": "#222222", "linewidth": 1.1}
        sheet.axes.annotate("", (x + dx, y + dy), (x - dx, y - dy), arrowprops=arrow)
    for state in np.flatnonzero(~lasting):
        x, y = state % width + 0.5, state // width + 0.5
        sheet.axes.plot([x], [y], "s", color=INK, alpha=0.25, markersize=9)
