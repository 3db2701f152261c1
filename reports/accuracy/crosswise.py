"""How much the maximum flatters itself, by the account of others who learned apart."""

from __future__ import annotations

import numpy as np

from fqi.nest import Array


def crosswise(units: Array, allowed: Array | None) -> Array | None:
    """[U, b] own minus the others' mean value of the action that each of the units [U, b, A] would choose among those
    allowed [b, A] (None: all); None: one unit alone has nobody to ask."""
    count, frames = len(units), np.arange(units.shape[1])
    if count < 2:
        return None
    choice = (units if allowed is None else np.where(allowed, units, -np.inf)).argmax(-1)  # [U, b]
    asked = np.stack([units[:, frames, chosen] for chosen in choice], 1)  # [V, U, b] what V says of the choice of U
    own = asked[np.arange(count), np.arange(count)]
    return np.asarray(own - (asked.sum(0) - own) / (count - 1))
