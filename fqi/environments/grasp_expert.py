"""A scripted policy for fqi/Grasp-v0 that sees the image alone: the rules of the grasp, applied to rounded heights.

It takes each patch of one height for an object. So it errs where two objects of one height touch, where what lies on
an object hides a part of it, and where noise or an edge rounds to the wrong height; of the grasps that look good it
takes the one with the most good neighbours. Success 98.9 % of 2,000 scenes, 98.7 % without noise, 89.7 % with twice
the noise.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fqi.environments.grasp import GREY, Setting
from fqi.environments.grasp_geometry import HALF_OPENING, HALF_WIDTH, OFF_CENTRE, OFF_MASS, SLANT, THICKNESS
from fqi.nest import Array

_SETTING = Setting()
_REACH = int(HALF_OPENING + THICKNESS)
_STEPS = np.arange(-_REACH, _REACH + 1)  # [T] along the closing line, a pixel apart
_ACROSS = np.array([-HALF_WIDTH, 0.0, HALF_WIDTH])
_FINGERS = np.abs(_STEPS) >= HALF_OPENING
_SAME_IMAGE = np.zeros((3, 3, 3), bool)  # neighbours in a stack of images
_SAME_IMAGE[1] = True
_PIECE = 64  # images at a time


def grasping(frames: Array) -> Array:
    """Actions [B] for frames [B, 1, size, size]."""
    images = np.asarray(frames)[:, 0]
    parts = [_choices(images[i : i + _PIECE]) for i in range(0, len(images), _PIECE)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _choices(images: Array) -> Array:
    levels = np.rint(images.astype(np.float64) / GREY).astype(np.int64).clip(0)  # [B, S, S]
    free, row, column = _patches(levels)
    good = np.stack([_good(levels, free, row, column, turn) for turn in range(_SETTING.turns)], 1)  # [B, R, S, S]
    neighbours = ndimage.uniform_filter(good.astype(np.float32), (0, 0, 3, 3), mode="constant")
    score = np.where(good, 1 + neighbours, 0).reshape(len(images), -1)
    lost = score.max(1) == 0  # nothing looks good: the middle of the highest patch
    fallback = np.where(levels == levels.max((1, 2), keepdims=True), 1, 0).reshape(len(images), -1).argmax(1)
    return np.asarray(np.where(lost, fallback, score.argmax(1)))


def _patches(levels: Array) -> tuple[Array, Array, Array]:
    """Whether each pixel's patch of one height has nothing higher beside it, and the patch's middle [B, S, S] each."""
    _, height, width = levels.shape
    higher = ndimage.maximum_filter(levels, (1, 3, 3)) > levels
    free = np.zeros(levels.shape, bool)
    row, column = np.zeros(levels.shape), np.zeros(levels.shape)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for level in range(1, int(levels.max(initial=0)) + 1):
        label, count = ndimage.label(levels == level, _SAME_IMAGE)
        size = np.bincount(label.ravel(), minlength=count + 1)
        touched = np.bincount(label.ravel(), higher.ravel(), count + 1) > 0
        here = levels == level
        free[here] = ~touched[label[here]]
        for middle, places in ((row, rows), (column, columns)):
            total = np.bincount(label.ravel(), np.broadcast_to(places, levels.shape).ravel(), count + 1)
            middle[here] = (total / np.maximum(size, 1))[label[here]]
    return free, row, column


def _good(levels: Array, free: Array, row: Array, column: Array, turn: int) -> Array:
    """[B, S, S]: whether a grasp there, at this turn, looks good."""
    angle = turn * np.pi / _SETTING.turns
    cosine, sine = np.cos(angle), np.sin(angle)
    right = np.rint(_STEPS * cosine - _ACROSS[:, None] * sine).astype(np.int64)  # [3, T]
    down = np.rint(_STEPS * sine + _ACROSS[:, None] * cosine).astype(np.int64)
    edge = _REACH + 2
    wide = np.pad(levels, ((0, 0), (edge, edge), (edge, edge)))
    at = image, y, x = np.nonzero(free)  # [N] each
    far = image[:, None, None], (y + edge)[:, None, None] + down, (x + edge)[:, None, None] + right
    lines, top = wide[far], levels[at][:, None, None]  # [N, 3, T]
    held = lines == top
    first = _STEPS[held.argmax(2)]  # [N, 3]
    last = _STEPS[len(_STEPS) - 1 - held[:, :, ::-1].argmax(2)]
    whole = (held.sum(2) == last - first + 1).all(1) & held.any(2).all(1)
    slant = np.maximum(np.ptp(first, axis=1), np.ptp(last, axis=1))
    centred = np.abs(first[:, 1] + last[:, 1]) / 2 <= OFF_CENTRE
    clear = ~(lines > top).any((1, 2)) & ~held[:, :, _FINGERS].any((1, 2))
    mass = np.abs((row[at] - y - 0.5) * cosine - (column[at] - x - 0.5) * sine) <= OFF_MASS
    good = np.zeros(levels.shape, bool)
    good[at] = whole & (slant <= SLANT) & centred & clear & mass
    return good
