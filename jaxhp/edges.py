"""Where the best lies at the end of a range, so that one should search beyond it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxhp.ranking import higher_is_better, rank
from jaxhp.space import Choice, Space
from jaxhp.types import Status, Trial


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


def best_at_edges(space: Space, trials: Iterable[Trial], mode: str) -> dict[str, int]:
    """Parameters whose best values lie at an edge of their range: name to -1 (lower) or 1 (upper).

    Of the numeric parameters, and among the trials of the best one's static choices; see `edges`.
    `Space.widened` takes it.
    """
    known = rank((t for t in trials if t.status in (Status.COMPLETE, Status.DIVERGED)), mode)
    if not known:
        return {}
    static = space.static(known[0].config)
    group = [t for t in known if space.static(t.config) == static]
    numeric = {n: p for n, p in space.parameters.items() if n in known[0].config and not isinstance(p, Choice)}
    ends = {n: (p.unit(p.low), p.unit(p.high)) for n, p in numeric.items()}  # type: ignore[attr-defined]
    points = [[(numeric[n].unit(t.config[n]) - a) / (b - a) for n, (a, b) in ends.items()] for t in group]
    scores = np.asarray([np.nan if t.status is Status.DIVERGED else t.score for t in group], np.float32)
    found = edges(np.asarray(points).reshape(len(group), len(ends)), higher_is_better(scores, mode))
    return {name: int(side) for name, side in zip(ends, found, strict=True) if side}
