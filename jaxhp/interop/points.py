"""A trial as numbers with a name and an epoch, which is how tools that log trainings take it.

Names are `<metric>/train` and `<metric>/valid` of the curves, and `score` of what a finished trial is ranked by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxhp.trials import Status, Trial

SCORE = "score"


class Point(NamedTuple):
    """One number of a trial."""

    name: str
    epoch: int  # from 1
    value: float  # NaN after a trial diverged


def points(trial: Trial, after: Mapping[str, int] | None = None) -> Iterator[Point]:
    """Give the points of a trial, curve by curve, and its score at its last epoch where it is finished.

    A curve without a number is none that was measured, unless the trial diverged.

    Args:
      after: name to the last epoch whose point is left out; None: all are given.
    """
    after = after or {}
    for column, curve in sorted(trial.curve.items()):
        part, _, metric = column.partition("_")
        name = f"{metric}/{part}"
        if trial.status is Status.DIVERGED or not np.isnan(curve).all():
            since = after.get(name, 0)
            yield from (Point(name, epoch, float(value)) for epoch, value in enumerate(curve[since:], since + 1))
    if math.isfinite(trial.score) and trial.status is not Status.RUNNING and after.get(SCORE, 0) < trial.epochs:
        yield Point(SCORE, trial.epochs, float(trial.score))


def last_epochs(given: Iterator[Point] | list[Point]) -> dict[str, int]:
    """Return the last epoch of each name among points."""
    found: dict[str, int] = {}
    for point in given:
        found[point.name] = max(point.epoch, found.get(point.name, 0))
    return found
