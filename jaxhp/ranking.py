"""The order of trials, decided in one place: diverged last, more training first, then score, then trial_id."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxhp.types import Status, Trial

MODES = ("max", "min")


def higher_is_better(scores: np.ndarray, mode: str) -> np.ndarray:
    """f32[P] scores as strategies see them: higher is better, NaN is diverged (so is an infinite score)."""
    signed = np.asarray(scores, np.float32) * (1 if mode == "max" else -1)
    return np.where(np.isfinite(signed), signed, np.nan).astype(np.float32)


def standing(scores: np.ndarray, epochs: np.ndarray, ids: np.ndarray, mode: str) -> np.ndarray:
    """Indices that put P trials best first; a score is NaN or infinite where one diverged or is not measured yet.

    A trial that trained longer stands before one that was given up earlier.

    >>> standing(np.array([0.5, np.nan, 0.9, 0.2]), np.array([2, 2, 1, 2]), np.arange(4), "max").tolist()
    [0, 3, 2, 1]
    """
    signed = higher_is_better(scores, mode)
    diverged = np.isnan(signed)
    trained = np.where(diverged, 0, epochs)
    return np.lexsort((ids, np.where(diverged, 0, -signed), -trained, diverged))


def rank(trials: Iterable[Trial], mode: str) -> list[Trial]:
    """Trials best first, as `standing`."""
    known = list(trials)
    if not known:
        return []
    scores = np.array([np.nan if t.status is Status.DIVERGED else t.score for t in known], np.float32)
    places = standing(scores, np.array([t.epochs for t in known]), np.array([t.trial_id for t in known]), mode)
    return [known[place] for place in places]
