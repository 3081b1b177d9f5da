"""From one search to the next: trials to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from jaxhp.objectives import Objectives
from jaxhp.space import Space
from jaxhp.store.files import located
from jaxhp.trials import Status, Trial, Trials, signed
from jaxhp.values import Error
from jaxhp.words import short


class Known(Protocol):
    """A result of an earlier search."""

    trials: Trials


Earlier = Iterable[Trial] | Known | str | Path
"""Trials of earlier searches: a list or `Trials`, a result, or the run directory of one."""


class Recalled(NamedTuple):
    """What earlier trials tell a strategy.

    Attributes:
      unit: f32[N, D], their points in the space.
      score: f32[N], higher is better, NaN is diverged; of several objectives or with constraints f32[N, K].
      left_out: how many others there are, by why they do not fit.
      violation: f32[N], see `Objectives.violation`; None: one objective without constraints.
    """

    unit: np.ndarray
    score: np.ndarray
    left_out: Mapping[str, int]
    violation: np.ndarray | None = None

    @property
    def told(self) -> tuple[np.ndarray, ...]:
        """Return what the strategy is told."""
        return (self.unit, self.score) if self.violation is None else (self.unit, self.score, self.violation)

    def __str__(self) -> str:
        """Say how many are told, and why the others are not."""
        told, why = len(self.score), "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{told} of {told + sum(self.left_out.values())} earlier trials fit this search; left out are {why}"


def earlier(given: Earlier, load: Callable[[str | Path], Known]) -> tuple[Trial, ...]:
    """Return the trials that a search is given.

    Args:
      load: reads a run directory.

    Raises:
      FileNotFoundError: it is no run directory.
      Error: it is none of the forms that `Earlier` names.
    """
    if isinstance(given, str | Path):
        given = load(given)
    trials = getattr(given, "trials", given)
    expected = "warm_start: expected trials, such as those of Result.load(dir).trials, a Result or a run directory"
    if not isinstance(trials, Iterable):
        raise Error(f"{expected}, got {short(trials)}")
    trials = tuple(trials)
    for trial in trials:
        if not isinstance(trial, Trial):
            raise Error(f"{expected}, got {short(trial)} in it")
    return trials


def parent(given: Earlier) -> str | None:
    """Return the run directory whose trials a search is given, as far as it is known."""
    directory = given if isinstance(given, str | Path) else getattr(given, "directory", None)
    return None if directory is None else str(located(directory).absolute())


def recalled(
    space: Space,
    trials: Sequence[Trial],
    metric: str,
    mode: str,
    epochs: int,
    epoch: str,
    objectives: Objectives | None = None,
) -> Recalled:
    """Return what trials of an earlier search, whose space may have been another, say about this one.

    Args:
      metric, mode: what this search ranks by. A trial that was ranked by another metric, or the other way round, or
        that does not say, says nothing here.
      epochs: of a full training in this search. A score after more or fewer epochs is another quantity.
      epoch: likewise whether scores are of the last epoch or of the best.
      objectives: of this search, where there are several or constraints; a trial needs a curve of each.

    Raises:
      Error: there are trials, and none of them fits.
    """
    left_out: Counter[str] = Counter()
    points, scores, fit = [], [], []
    needed = () if objectives is None else objectives.measured
    for trial in trials:
        why = _misfit(trial, metric, mode, epochs, epoch)
        if why is None and trial.status is Status.COMPLETE:
            why = next((f"without a curve of {name}" for name in needed if f"valid_{name}" not in trial.curve), None)
        point = None if why else _point(space, trial)
        if point is None:
            left_out[why or "outside of its space"] += 1
        else:
            fit.append(trial)
            points.append(point)
            scores.append(np.nan if trial.status == Status.DIVERGED else trial.score)
    unit = np.asarray(points, np.float32).reshape(len(points), space.dim)
    found = Recalled(unit, signed(np.asarray(scores, np.float32), mode), left_out)
    if objectives is not None:
        known = Trials.of(fit)
        found = found._replace(score=objectives.scores(known), violation=objectives.violation(known))
    if left_out and not points:
        raise Error(f"warm_start: expected trials that fit this search, got {found}")
    return found


def _misfit(trial: Trial, metric: str, mode: str, epochs: int, epoch: str) -> str | None:
    """Say why a trial's score is not one of this search, None where it is."""
    if trial.metric is None or trial.mode is None:
        return "without a metric and a mode"
    if trial.metric != metric:
        return f"ranked by {trial.metric}, not {metric}"
    if trial.mode != mode:
        return f"whose {metric} is ranked by its {trial.mode}, not its {mode}"
    budget = trial.epochs if trial.budget is None else trial.budget
    if budget != epochs:
        return f"of a training of {budget} epochs, not {epochs}"
    if trial.epoch not in (None, epoch):
        return f"scored at their {trial.epoch} epoch, not their {epoch}"
    if trial.parent is not None:
        return "whose weights another trial began"
    if trial.status not in (Status.COMPLETE, Status.DIVERGED):
        return "not trained to their end"
    return None


def _point(space: Space, trial: Trial) -> np.ndarray | None:
    try:
        return space.unit(trial.config)
    except Error:
        return None
