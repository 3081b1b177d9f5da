"""Which of many networks to average: the greedy choice with replacement.

Source: Caruana, Niculescu-Mizil, Crew, Ksikes, Ensemble selection from libraries of models (ICML 2004).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxhp.trials import signed


def greedy(said: np.ndarray, scores_with: Callable[[np.ndarray, int], np.ndarray], k: int, mode: str) -> list[int]:
    """Choose networks one after another, each that one whose addition makes the mean of all chosen the best.

    A network may be chosen again, which gives it more weight. Of equal networks that one is added which is in it least
    often, and of these the first; of the ensembles on the way the best one counts, and of equals the largest: where few
    examples choose, as by an accuracy, many are equal, and a mean of more networks varies less.

    Args:
      said: [K, n, ...], what each network says of each example.
      scores_with: `(total, count)`, the sum [n, ...] of what `count` networks say; gives f32[K], the metric of their
        mean with each network added.
      k: how many are chosen at most.
      mode: whether "max" or "min" of the metric is better.

    Returns:
      The networks, in the order in which they were chosen; none where no score is finite.
    """
    total, chosen, reached = np.zeros(said.shape[1:], said.dtype), [], []
    times = np.zeros(len(said), int)
    for count in range(k):
        scores = signed(scores_with(total, count), mode)
        if np.isnan(scores).all():
            break
        best = np.flatnonzero(scores == np.nanmax(scores))
        chosen.append(int(best[np.argmin(times[best])]))
        reached.append(float(scores[chosen[-1]]))
        times[chosen[-1]] += 1
        total = total + said[chosen[-1]]
    return chosen[: len(reached) - int(np.argmax(reached[::-1]))] if reached else []
