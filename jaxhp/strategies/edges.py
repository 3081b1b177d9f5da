"""Where the best of points in the unit cube lie at an edge of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32


def edges(unit: Float[np.ndarray, "N D"], score: Float[np.ndarray, "N"]) -> Int32[np.ndarray, "D"]:
    """Find the axes at whose ends the best of N points lie.

    "At the edge" means that the best point is within 5% of it, and the best tenth's mean within 20%: one lucky
    point does not ask for another range.

    Args:
      unit: f[N, D], points in the unit cube.
      score: f[N], higher is better, NaN is diverged.

    Returns:
      i32[D], -1 or 1 where the best lie at the lower or upper edge, else 0.

    >>> edges(np.array([[0.0, 0.5], [0.9, 0.5], [0.8, 0.1]]), np.array([0.9, 0.1, np.nan])).tolist()
    [-1, 0]
    """
    healthy = np.flatnonzero(~np.isnan(score))
    if not len(healthy):
        return np.zeros(unit.shape[1], np.int32)
    order = healthy[np.argsort(-score[healthy], kind="stable")]
    best, mean = unit[order[0]], unit[order[: max(1, len(order) // 10)]].mean(axis=0)
    low, high = (best <= 0.05) & (mean <= 0.2), (best >= 0.95) & (mean >= 0.8)
    return high.astype(np.int32) - low.astype(np.int32)
