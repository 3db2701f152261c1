"""Plain pictures of environments of our own that draw none."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from fqi.nest import Array

_SIZE = (320, 160)


def car_on_the_hill(position: float) -> Array:
    """[H, W, 3] the hill, the goal at its right edge, and the car."""
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    xs = np.linspace(-1.05, 1.05, 120)
    points = [_place(x) for x in xs.tolist()]
    draw.line(points, fill="#5f6670", width=2)
    right = _place(1.0)
    draw.line([right, (right[0], right[1] - 26)], fill="#00795c", width=3)
    x, y = _place(float(np.clip(position, -1.05, 1.05)))
    draw.ellipse([x - 6, y - 13, x + 6, y - 1], fill="#c2500a")
    return np.asarray(picture)


def _place(x: float) -> tuple[float, float]:
    height = x * x + x if x < 0 else x / (1 + 5 * x * x) ** 0.5
    return (x + 1.05) / 2.1 * (_SIZE[0] - 1), 118 - 140 * height
