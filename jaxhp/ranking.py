"""The order of trials, decided in one place: diverged last, more training first, then score, then trial_id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jaxhp.types import Status, Trial

MODES = ("max", "min")


def higher_is_better(scores: np.ndarray, mode: str) -> np.ndarray:
    """f32[P] scores as strategies see them: higher is better, NaN is diverged (so is an infinite score)."""
    signed = np.asarray(scores, np.float32) * (1 if mode == "max" else -1)
    return np.where(np.isfinite(signed), signed, np.nan).astype(np.float32)


def order(scores: np.ndarray, ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Indices that put f32[P] scores (higher is better) best first: NaN last, ties by id, smaller first.

    >>> order(np.array([0.5, np.nan, 0.9, 0.5])).tolist()
    [2, 0, 3, 1]
    """
    values = np.asarray(scores, np.float32)
    names = np.arange(len(values)) if ids is None else np.asarray(ids)
    diverged = np.isnan(values)
    return np.lexsort((names, np.where(diverged, 0, -values), diverged))


def rank(trials: Iterable[Trial], mode: str) -> list[Trial]:
    """Trials best first. A trial that trained longer stands before one that was given up earlier."""
    sign = 1 if mode == "max" else -1

    def key(trial: Trial) -> tuple[bool, int, float, int]:
        if trial.status is Status.DIVERGED or not np.isfinite(trial.score):
            return (True, 0, 0.0, trial.trial_id)
        return (False, -trial.epochs, -sign * trial.score, trial.trial_id)

    return sorted(trials, key=key)
