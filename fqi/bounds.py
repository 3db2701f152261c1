"""What any policy could earn at best and at worst, from the rewards seen."""

from __future__ import annotations

import numpy as np

from fqi.log import Log


def earnable(log: Log, gamma: float) -> tuple[float, float]:
    """Lowest and highest discounted return of one step or more: a stream of the worst or best reward that did not end
    an episode, as short or long as is most extreme, or a reward that did. After k rounds a value is a return of k
    steps, so that the first rounds lie within, too."""
    ends, goes_on = log.rewards[log.terminations].astype(np.float64), log.rewards[~log.terminations].astype(np.float64)
    low = [float(ends.min())] if len(ends) else []
    high = [float(ends.max())] if len(ends) else []
    if len(goes_on):
        low += _streams(float(goes_on.min()), gamma)
        high += _streams(float(goes_on.max()), gamma)
    return min(low, default=0.0), max(high, default=0.0)


def _streams(reward: float, gamma: float) -> list[float]:
    """The return of the reward once, and for ever."""
    if gamma < 1:
        return [reward, reward / (1 - gamma)]
    return [reward, 0.0 if reward == 0 else float(np.copysign(np.inf, reward))]
