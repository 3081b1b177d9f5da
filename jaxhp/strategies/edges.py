"""Where the best of points in the unit cube lie at an edge of it."""

from __future__ import annotations

import numpy as np


def edges(unit: np.ndarray, score: np.ndarray) -> np.ndarray:
    """i32[D]: -1 or 1 where the best of f32[N, D] points lies at the lower or upper edge of its range, else 0.

    "At the edge" means that the best point is within 5% of it, and the best tenth's mean within 20%: one lucky
    point does not ask for another range.

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
