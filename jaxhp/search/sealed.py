"""The sealed test: the chosen config, trained anew on all other data, meets the test data once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxhp.data.dataset import checked
from jaxhp.engine.spec import Spec
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.search.anew import Retraining, all_data, retrained
from jaxhp.selection.intervals import crossed_mean
from jaxhp.selection.stretches import Stretch
from jaxhp.store.ledger import Ledger
from jaxhp.tasks.loop import Loop
from jaxhp.values import Config, Error

T = TypeVar("T")


def open_test(
    spec_of: Callable[[Config], Spec],
    how: Retraining,
    trial_id: int,
    history: Sequence[Stretch],
    directory: Path | None,
    before: int,
    seeds: int,
) -> Tested:
    """Train a trial on train and validation data together, as it was trained, then open the test data.

    The opening is recorded before the data is read, so that one that fails or is cut off counts too.

    Args:
      spec_of: the static group of a config.
      history: how the trial was trained.
      directory: of the run whose ledger records it, or None for a search that was kept in memory.
      before: openings so far, where there is no directory.
      seeds: fresh replicates to train.

    Raises:
      Error: the task has no test data, or is a loop.
    """
    spec = spec_of(history[-1].config)
    task = spec.task
    if isinstance(task, Loop):
        raise Error("test: a Loop has no test data; its finals, on fresh seeds, are what the estimate rests on")
    if task.test is None:
        raise Error("test: expected a task with test data (Task(..., test=...)), got one without")
    stages = [([stretch.config], stretch.upto) for stretch in history]
    measure = retrained(spec, how, all_data(spec), stages, seeds).measured
    if directory is None:
        return _tested(trial_id, measure(checked(task.test.open(), "test"))[0], before + 1)
    with Ledger(directory, write=True) as ledger:
        ledger.event(OPENED, trial_id=trial_id)
        found = _tested(trial_id, measure(checked(task.test.open(), "test"))[0], len(ledger.events(OPENED)))
        record = found._asdict() | {"scores": [_or_none(score) for score in found.scores]}
        ledger.event(TESTED, **{name: _or_none(value) for name, value in record.items()})
        return found


def _tested(trial_id: int, outcomes: np.ndarray, opening: int) -> Tested:
    scores = tuple(outcomes.mean(1, dtype=np.float64).tolist())
    healthy = outcomes[np.isfinite(outcomes).all(1)]
    if not len(healthy):
        return Tested(trial_id, float("nan"), float("nan"), float("nan"), scores, opening)
    found = crossed_mean(healthy)
    return Tested(trial_id, found.mean, *found.interval(), scores, opening)


def _or_none(value: T) -> T | None:
    return None if isinstance(value, float) and not np.isfinite(value) else value
