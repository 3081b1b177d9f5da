"""Choosing one trial: the best of many noisy scores is too good, so finalists run again on fresh replicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxhp.types import Trial


@dataclass(frozen=True)
class Finals:
    """How finalists are compared.

    Attributes:
      top: how many of the best trials run again.
      replicates: fresh replicates of each.
    """

    top: int = 8
    replicates: int = 16

    def __post_init__(self):
        for name, least in (("top", 1), ("replicates", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"Finals {name}: expected an integer of at least {least}, got {value!r}")


class Estimate(NamedTuple):
    """The chosen trial's metric on fresh replicates, which the choice among all trials has not seen."""

    mean: float
    low: float  # 95% interval
    high: float
    n_tried: int


def choose(finalists: dict[int, np.ndarray], mode: str) -> int:
    """The trial_id of the finalist with the best mean; ties go to the smaller id."""
    sign = 1 if mode == "max" else -1
    means = {trial: sign * float(np.mean(scores, dtype=np.float64)) for trial, scores in finalists.items()}
    return min(means, key=lambda trial: (np.isnan(means[trial]), -means[trial], trial))


def estimate(scores: np.ndarray, n_tried: int) -> Estimate:
    """Mean and normal 95% interval of f32[R] scores."""
    values = np.asarray(scores, np.float64)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half), n_tried)


def default_finals(trials: int, epochs_total: int, epochs: int) -> Finals | None:
    """Finals that cost at most a fifth of the search, or none where that leaves fewer than 2 x 4 members."""
    members = int(0.2 * epochs_total / epochs)
    top = min(8, trials, members // 4)
    return Finals(top, min(16, members // top)) if top >= 2 else None


def survivors(ranked: list[Trial], top: int) -> list[Trial]:
    """The first `top` trials that did not diverge."""
    return [trial for trial in ranked if np.isfinite(trial.score)][:top]
