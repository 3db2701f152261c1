"""Flat objects heaped on a table, a gripper with two fingers, and whether it lifts what it closes on.

Lengths are in pixels of the image, heights in levels: every object is one level thick and lies on the highest object
that its footprint meets, else on the table (level 0). A scene of K objects is a record of arrays with one column per
scene, so that many scenes are one array program. Nothing here draws a random number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fqi.nest import Array

DISC, BAR, ELL = 0, 1, 2
HALF_OPENING = 6.0  # from the gripper's centre to the inner face of each finger
THICKNESS = 2.0  # of a finger, along the closing line
HALF_WIDTH = 1.5  # of a finger, across the closing line
OFF_CENTRE = 2.5  # the farthest that the held stretch's middle may lie from the gripper's centre
SLANT = 2.0  # the most that a held face may recede across a finger's width
OFF_MASS = 5.0  # the farthest that the centre of mass may lie from the closing line

_PIECE = 32  # scenes at a time: they stay in the processor's cache
_REACH = HALF_OPENING + THICKNESS
_ALONG = np.arange(-_REACH, _REACH + 0.01, 0.5)  # [T] where the closing line is sampled
_ACROSS = np.array([-HALF_WIDTH, 0.0, HALF_WIDTH])  # [3] the lines: both edges of the fingers and their middle
_FINGERS = np.abs(_ALONG) >= HALF_OPENING


@dataclass(frozen=True, eq=False)
class Objects:
    """K objects in each of B scenes; their places are their centres of mass."""

    kind: Array  # [K, B] DISC, BAR or ELL
    x: Array  # [K, B]
    y: Array  # [K, B]
    cosine: Array  # [K, B] of the turn
    sine: Array  # [K, B]
    length: Array  # [K, B] a disc's radius, a bar's half length, the length of an ell's arms from their corner's centre
    width: Array  # [K, B] half the width of a bar or of an ell's arms
    level: Array  # [K, B] height of the top side; the base lies one below
    under: Array  # [K, B] the objects that this one lies on or over, as a sum of powers of 2
    present: Array  # [K, B] 1, or 0 once it is lifted

    def take(self, scenes: Array) -> Objects:
        """Some of the scenes."""
        return Objects(*(row[:, scenes] for row in self.rows()))

    def rows(self) -> list[Array]:
        """Every field, in order."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


def signed_distance(objects: Objects, which: int, x: Array, y: Array) -> Array:
    """How far points [B, N] lie outside one object of each scene; negative inside (a bound there, exact outside)."""
    dtype = x.dtype

    def column(row: Array) -> Array:
        return np.asarray(row[which].astype(dtype)[:, None])  # [B, 1]

    right, down = x - column(objects.x), y - column(objects.y)
    cosine, sine = column(objects.cosine), column(objects.sine)
    p, q = cosine * right + sine * down, cosine * down - sine * right  # in the object's own frame
    length, width = column(objects.length), column(objects.width)
    found: Array = np.empty_like(p)
    for kind, shape in ((DISC, _disc), (BAR, _bar), (ELL, _ell)):
        rows = objects.kind[which] == kind
        if rows.any():
            found[rows] = shape(p[rows], q[rows], length[rows], width[rows])
    return found


def _disc(p: Array, q: Array, radius: Array, _: Array) -> Array:
    return np.asarray(np.sqrt(p * p + q * q) - radius)


def _bar(p: Array, q: Array, length: Array, width: Array) -> Array:
    return _box(p, q, length, width)


def _ell(p: Array, q: Array, length: Array, width: Array) -> Array:
    shift, middle, long = _ell_mass(length, width), (length - width) / 2, (length + width) / 2
    p, q = p + shift, q + shift
    return np.minimum(_box(p - middle, q, long, width), _box(p, q - middle, width, long))


def _ell_mass(length: Array, width: Array) -> Array:
    """Both coordinates of an ell's centre of mass, from the centre of its corner."""
    arm, corner = 2 * width * (length + width), 4 * width * width
    return np.asarray(arm * (length - width) / 2 / (2 * arm - corner))


def _box(p: Array, q: Array, long: Array, short: Array) -> Array:
    beyond_p, beyond_q = np.abs(p) - long, np.abs(q) - short
    inside = np.minimum(np.maximum(beyond_p, beyond_q), 0)
    np.maximum(beyond_p, 0, out=beyond_p)
    np.maximum(beyond_q, 0, out=beyond_q)
    return np.asarray(np.sqrt(beyond_p * beyond_p + beyond_q * beyond_q) + inside)


def pixels(size: int) -> tuple[Array, Array]:
    """x and y [size * size] of the pixels' centres, row by row."""
    y, x = np.divmod(np.arange(size * size), size)
    return (x + 0.5).astype(np.float32), (y + 0.5).astype(np.float32)


def heaped(objects: Objects, size: int) -> Objects:
    """The objects dropped one after the other: their levels and what lies under each."""
    parts = [_heaped(part, size) for part in _pieces(objects)]
    return Objects(*(np.concatenate(rows, axis=1) for rows in zip(*(part.rows() for part in parts), strict=True)))


def _heaped(objects: Objects, size: int) -> Objects:
    count, scenes = objects.x.shape
    x, y = pixels(size)
    covers = [signed_distance(objects, k, x[None], y[None]) < 0 for k in range(count)]  # [B, N] each
    level, under = np.ones((count, scenes)), np.zeros((count, scenes))
    for k in range(count):
        for j in range(k):
            meets = (covers[k] & covers[j]).any(1)
            level[k] = np.where(meets, np.maximum(level[k], level[j] + 1), level[k])
            under[k] += meets * 2.0**j
    return replace(objects, level=level, under=under, present=np.ones((count, scenes)))


def heights(objects: Objects, size: int) -> Array:
    """[B, size * size] float32: what a camera from above sees; a pixel at an edge is a mixture of both sides."""
    scenes = objects.x.shape[1]
    seen = np.zeros((scenes, size * size), np.float32)
    for i, part in enumerate(_pieces(objects)):
        _draw(part, seen[i * _PIECE : (i + 1) * _PIECE], size)
    return seen


def _pieces(objects: Objects) -> list[Objects]:
    """The scenes, some at a time; one empty piece where there are none."""
    starts = range(0, max(1, objects.x.shape[1]), _PIECE)
    return [Objects(*(row[:, i : i + _PIECE] for row in objects.rows())) for i in starts]


def _draw(objects: Objects, seen: Array, size: int) -> None:
    x, y = pixels(size)
    for k in range(len(objects.x)):
        cover = signed_distance(objects, k, x[None], y[None])
        np.subtract(np.float32(0.5), cover, out=cover)
        np.clip(cover, 0, 1, out=cover)
        cover *= objects.present[k].astype(np.float32)[:, None]
        seen += cover * (objects.level[k].astype(np.float32)[:, None] - seen)


def lifted(objects: Objects, x: Array, y: Array, angle: Array) -> Array:
    """[B] int64: the object that a grasp at this place, closing along this angle, lifts in each scene; -1 for none.

    The gripper comes down over the highest object at its centre until its tips are level with that object's base. It
    lifts it if nothing lies on it, the fingers meet nothing on their way down, nothing else as high stands between
    them, and they hold it well: along both edges and the middle of the fingers, by faces that do not slant, near the
    middle of the gripper and near the centre of mass.
    """
    parts = [slice(i * _PIECE, (i + 1) * _PIECE) for i in range(-(-len(x) // _PIECE))]
    found = [_lifted(piece, x[p], y[p], angle[p]) for piece, p in zip(_pieces(objects), parts, strict=False)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _lifted(objects: Objects, x: Array, y: Array, angle: Array) -> Array:
    count, scenes = objects.x.shape
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = _ALONG[None, None, :], _ACROSS[None, :, None]
    px = (x[:, None, None] + along * cosine - across * sine).reshape(scenes, -1)  # [B, 3T]
    py = (y[:, None, None] + along * sine + across * cosine).reshape(scenes, -1)
    inside = np.stack([signed_distance(objects, k, px, py) < 0 for k in range(count)])  # [K, B, 3T]
    inside &= objects.present[:, :, None] > 0
    inside = inside.reshape(count, scenes, len(_ACROSS), len(_ALONG))
    at_centre = inside[:, :, 1, len(_ALONG) // 2]  # [K, B]
    target = np.where(at_centre, objects.level, 0.0).argmax(0)  # [B]
    rows = np.arange(scenes)
    base = objects.level[target, rows] - 1
    free = at_centre.any(0) & ~_borne(objects, target)
    others = inside & (objects.level > base)[:, :, None, None]
    others[target, rows] = False
    held = inside[target, rows]  # [B, 3, T]
    clear = ~others.any((0, 2, 3)) & ~held[:, :, _FINGERS].any((1, 2))
    mass = -(objects.x[target, rows] - x) * np.sin(angle) + (objects.y[target, rows] - y) * np.cos(angle)
    good = free & clear & _held_well(held) & (np.abs(mass) <= OFF_MASS)
    return np.where(good, target, -1)


def _borne(objects: Objects, target: Array) -> Array:
    """[B] whether something that is still there lies on the target."""
    bears = (objects.under.astype(np.int64) >> target) & 1  # [K, B]
    return np.asarray(((bears == 1) & (objects.present > 0)).any(0))


def _held_well(held: Array) -> Array:
    """[B] from where the target lies along the three lines, [B, 3, T] bool."""
    first = _ALONG[held.argmax(2)]  # [B, 3] the target's near face on every line
    last = _ALONG[len(_ALONG) - 1 - held[:, :, ::-1].argmax(2)]
    slanted = np.maximum(np.ptp(first, axis=1), np.ptp(last, axis=1)) > SLANT
    middle = (first[:, 1] + last[:, 1]) / 2
    return np.asarray(np.all(held.any(2), axis=1) & ~slanted & (np.abs(middle) <= OFF_CENTRE))
