"""Where the best lies at the end of a range, so that one should search beyond it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxhp.space import Space
from jaxhp.strategies.edges import edges
from jaxhp.trials import Status, Trial, rank, signed


def best_at_edges(space: Space, trials: Iterable[Trial], mode: str) -> dict[str, int]:
    """Find the parameters whose best values lie at an edge of their range.

    Of those whose values have an order, and among the trials of the best one's static choices; see `edges`. A trial
    that inherited another's weights is left out: its config alone did not make its score.

    Args:
      mode: "max" or "min", which scores are better.

    Returns:
      Name to -1 (lower) or 1 (upper), for `Space.widened`; empty where no trial is finished.
    """
    alone = (t for t in trials if t.status in (Status.COMPLETE, Status.DIVERGED) and t.parent is None)
    known = rank(alone, mode)
    if not known:
        return {}
    static = space.static(known[0].config)
    group = [t for t in known if space.static(t.config) == static]
    having = {n: p for n, p in space.parameters.items() if n in known[0].config}
    ends = {n: found for n, p in having.items() if (found := p.ends()) is not None}
    points = [[(having[n].unit(t.config[n]) - a) / (b - a) for n, (a, b) in ends.items()] for t in group]
    scores = np.asarray([np.nan if t.status is Status.DIVERGED else t.score for t in group], np.float32)
    found = edges(np.asarray(points).reshape(len(group), len(ends)), signed(scores, mode))
    return {name: int(side) for name, side in zip(ends, found, strict=True) if side}
