"""The records that pass between strategies, training and reports."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax

Config = dict[str, Any]
"""One point of a space in the user's units: parameter name to scalar."""


class Proposal(NamedTuple):
    """What a strategy asks to be trained next.

    Attributes:
      unit: f32[P, D], points in the unit cube, one row a slot.
      parent: i32[P], for each slot the slot of the previous population whose weights and optimizer state it
        continues, or -1 for a fresh start.
      budget: the epochs to reach, counted from the fresh start.
    """

    unit: jax.Array | np.ndarray  # f32[P, D]
    parent: jax.Array | np.ndarray  # i32[P]
    budget: int


class Rung(NamedTuple):
    """One line of a strategy's schedule: how many trials train up to how many epochs."""

    trials: int
    epochs: int


class Status(enum.StrEnum):
    """What became of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # given up at a rung
    DIVERGED = "diverged"  # a loss or metric went NaN or infinite


@dataclass(frozen=True)
class Trial:
    """One config under search and what was measured of it.

    Attributes:
      trial_id: never changes; assigned in the order of asking.
      config: the parameters in the user's units.
      round: the round in which the trial was first asked for.
      status: see `Status`.
      epochs: epochs trained.
      score: the task's metric on validation data after `epochs` epochs, mean over replicates; NaN if diverged.
      stderr: standard error of `score`: over replicates, or over validation examples if there is only one.
      curve: `"train_<metric>"` and `"valid_<metric>"` to f32[epochs], mean over replicates.
      replicate_scores: f32[R], the score of each replicate.
      diverged_at: the epoch (from 1) in which the trial diverged, 0 if it did not.
      parent: the trial whose weights this one inherited (population based training), else None.
    """

    trial_id: int
    config: Config
    round: int = 0
    status: Status = Status.RUNNING
    epochs: int = 0
    score: float = float("nan")
    stderr: float = float("nan")
    curve: Mapping[str, np.ndarray] = field(default_factory=dict)
    replicate_scores: tuple[float, ...] = ()
    diverged_at: int = 0
    parent: int | None = None


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
