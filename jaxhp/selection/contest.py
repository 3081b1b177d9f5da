"""Choosing one trial: the best of many noisy scores is too good, so finalists run again on fresh replicates.

The choice and the number that is reported share no replicate: finalists compete on the first half of their fresh
replicates, and the chosen one's mean is taken on the second half. So the estimate knows nothing of what luck of the
seeds made the choice look good. The luck of validation examples that happen to suit the chosen config is in it still,
unless a holdout was allotted that nothing was chosen by; without one its size is estimated and taken off (see
`optimism.py`). All comparisons are of paired differences: every trial meets the same examples, and replicate r is the
same seed for every trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.selection.intervals import Mean, crossed_mean, probability_best
from jaxhp.selection.optimism import NO_OPTIMISM, Curves, luck, luck_of_epochs, optimism
from jaxhp.selection.verdict import Estimate, Finalist, Finals, Verdict
from jaxhp.trials import Trial

_DROP = 0.01  # a finalist is given up where a difference like its own has at most this probability


class Played(NamedTuple):
    """Per-example outcomes of P finalists with R replicates; a replicate that diverged is NaN."""

    valid: np.ndarray  # f32[P, R, n], NaN also where an example is not in the replicate's fold
    held_out: np.ndarray | None  # f32[P, R, h]
    luck: np.ndarray | None = None  # f32[P, E], what every other example shows more than all, means over replicates
    bias: np.ndarray | None = None  # f32[P, R], how much too high the metric is on average; None: it is a mean


Play = Callable[[Sequence[int], range], Played]
"""Trains finalists (positions in the order given) with the replicates of a range, counted from the first fresh one."""


def contest(
    trials: Sequence[Trial],
    neighbourhood: Mapping[int, float],
    finals: Finals,
    play: Play,
    *,
    mode: str,
    scores: np.ndarray,
    around: np.ndarray | None = None,
    fold: np.ndarray | None = None,
    curves: np.ndarray | None = None,
    examples: bool = True,
) -> Verdict:
    """Runs the finals.

    Args:
      trials: the finalists, best first.
      neighbourhood: see `Finalist`, for each trial id.
      play: see `Play`.
      scores: f[N, B] of all trials of the search, the finalists first, see `jaxhp.selection.budgets`.
      around: i64[P, M], of which rows of `scores` the neighbourhoods are the means; None: of others.
      fold: i32[n], see `crossed_mean`; None without folds.
      curves: f[N, E] of the same trials, as `mode` has them, where the best of their epochs counts.
      examples: whether outcomes are of examples. Those of a loop are n = 1 number a seed, which has no luck but its
        own: then variances are those between seeds, and nothing is corrected for.
    """
    sign = 1.0 if mode == "max" else -1.0
    folds = 1 if fold is None else int(fold.max()) + 1
    rounds, estimating = finals.blocks(folds)
    seen: list[list[np.ndarray]] = [[] for _ in trials]  # [S, n] blocks of each finalist
    held_out: list[list[np.ndarray]] = [[] for _ in trials]  # [R, h]
    lucks: list[dict[int, np.ndarray]] = []  # [E] by finalist, of each block of replicates
    off: list[list[float]] = [[] for _ in trials]  # biases, means over replicates

    def run(who: list[int], replicates: range) -> None:
        played = play(who, replicates)
        for position, valid in zip(who, played.valid, strict=True):
            seen[position].append(by_seed(valid, fold))
        if played.luck is not None:
            lucks.append(dict(zip(who, played.luck, strict=True)))
        if played.bias is not None:
            counting = played.valid if played.held_out is None else played.held_out
            for position, bias, outcomes in zip(who, played.bias, counting, strict=True):
                off[position].append(mean_bias(bias, outcomes))
        if played.held_out is not None:
            for position, outcomes in zip(who, played.held_out, strict=True):
                held_out[position].append(outcomes)

    alive, done = list(range(len(trials))), 0
    means: dict[int, float] = {}
    paired: dict[int, Mean] = {}  # differences from the best, higher is better in either mode
    for count in rounds:
        run(alive, range(done, done + count))
        done += count
        alive = [p for p in alive if np.isfinite(seen[p][-1]).all()]
        if not alive:
            break
        rows = {p: np.concatenate(seen[p]).astype(np.float64) for p in alive}
        means |= {p: float(rows[p].mean()) for p in alive}
        best = max(alive, key=lambda p: (sign * means[p], -p))
        paired |= {p: crossed_mean(sign * (rows[p] - rows[best]), fold) for p in alive}
        alive = [p for p in alive if paired[p].below(0.0) > _DROP]
    candidates = [p for p in alive if paired[p].mean >= -paired[p].stderr]
    candidates.sort(key=lambda p: (-sign * neighbourhood[trials[p].trial_id], -paired[p].mean, p))
    if candidates:
        run(candidates, range(done, done + estimating))
    healthy = [p for p in candidates if np.isfinite(seen[p][-1]).all()]
    chosen = (healthy or candidates or [0])[0]

    estimate = None
    if healthy:
        measured, by_fold = (held_out, None) if held_out[chosen] else (seen, fold)
        others = [np.concatenate(blocks) for p, blocks in enumerate(measured) if p != chosen]
        peers = [rows for rows in others if np.isfinite(rows).all()]
        block, before = measured[chosen][-1], np.concatenate(measured[chosen][:-1])
        found = crossed_mean(block, by_fold, [before], peers)
        taken = NO_OPTIMISM
        if not held_out[chosen] and len(means) > 1:
            seeds = max(1, len(trials[0].replicate_scores) // folds)
            taken = optimism(
                sign * np.asarray(scores, np.float64),
                np.asarray([sign * means.get(p, np.nan) for p in range(len(trials))]),
                np.asarray([sign * neighbourhood[trial.trial_id] for trial in trials]),
                np.zeros((len(trials), 0), int) if around is None else around,
                float(np.median([mean.stderr for mean in paired.values() if mean.stderr > 0] or [0.0])),
                luck(np.stack([seen[p][0] for p in means]), fold, seeds, fresh=done // folds),
                seed=sorted(trial.trial_id for trial in trials),
                curves=None if curves is None else Curves(sign * curves, luck_of_epochs(lucks)),
            )
            found = found.less(sign * taken.mean, taken.variance)
        bias = off[chosen][-1] if off[chosen] else 0.0
        found = found.less(bias, 0.0)
        estimate = Estimate(
            found.mean,
            *found.interval(),
            len(scores),
            estimating,
            block.shape[1] if examples else 0,
            bool(held_out[chosen]),
            sign * taken.mean,
            bias,
        )
    whole = [p for p in means if all(np.isfinite(block).all() for block in seen[p])]
    compared = sorted(whole, key=lambda p: p != chosen) if healthy else []
    p_best = dict(zip(compared, probability_best([sign * np.concatenate(seen[p]) for p in compared]), strict=True))
    nowhere = Mean(float("nan"), float("nan"), 1.0)
    finalists = [
        Finalist(
            trial.trial_id,
            replicates=sum(map(len, seen[p])) * folds,
            mean=means[p] if p in whole else float("nan"),
            difference=paired.get(p, nowhere).mean,
            stderr=paired.get(p, nowhere).stderr,
            neighbourhood=neighbourhood[trial.trial_id],
            candidate=p in candidates,
            p_best=float(p_best.get(p, 0.0)),
        )
        for p, trial in enumerate(trials)
    ]
    return Verdict(trials[chosen].trial_id, estimate, tuple(finalists))


def nearest(unit: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """i64[P, M], for each of P rows its 2 D + 2 nearest others in the unit cube; fewer where there are no more.

    Args:
      unit: f32[N, D], the points of all trials.
      rows: which trials.
    """
    count = min(2 * unit.shape[1] + 2, len(unit) - 1)
    found = np.empty((len(rows), count), int)
    for at, row in enumerate(rows):
        distance = ((unit - unit[row]) ** 2).sum(1)
        distance[row] = np.inf
        found[at] = np.argsort(distance, kind="stable")[:count]
    return found


def neighbourhoods(scores: np.ndarray, around: np.ndarray, rows: Sequence[int], mode: str) -> np.ndarray:
    """f64[P], for each of P rows the mean score of those around it.

    A high one says that the surroundings are good too: the choice of this trial does not hang on its exact values.

    Args:
      scores: f[N], after the same budget; NaN (diverged) counts as the worst finite score.
      around: i64[P, M], see `nearest`; without any a trial stands for itself.
      rows: which trials.
    """
    values = np.asarray(scores, np.float64)
    finite = values[np.isfinite(values)]
    worst = (finite.min() if mode == "max" else finite.max()) if len(finite) else 0.0
    values = np.where(np.isfinite(values), values, worst)
    return values[around].mean(1) if around.shape[1] else values[list(rows)]


def survivors(ranked: Sequence[Trial], top: int) -> list[Trial]:
    """The first `top` trials that did not diverge."""
    return [trial for trial in ranked if np.isfinite(trial.score)][:top]


def mean_bias(bias: np.ndarray, outcomes: np.ndarray) -> float:
    """The mean of biases f32[R] of replicates, each by the examples that its outcomes f32[R, n] are of."""
    return float(np.average(bias, weights=np.isfinite(outcomes).sum(1))) if np.isfinite(outcomes).any() else 0.0


def by_seed(outcomes: np.ndarray, fold: np.ndarray | None) -> np.ndarray:
    """[R, n] outcomes as [S, n]: with K folds, the K networks of a seed together cover every example once."""
    if fold is None:
        return outcomes
    folds = int(fold.max()) + 1
    return np.stack([outcomes[s : s + folds][fold, np.arange(len(fold))] for s in range(0, len(outcomes), folds)])
