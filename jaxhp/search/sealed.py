"""The sealed test: the chosen config, trained anew on all other data, meets the test data once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import PyTree

from jaxhp.data.dataset import checked
from jaxhp.data.folds import joined
from jaxhp.engine.layout import arrange
from jaxhp.engine.population import Capacity, compile
from jaxhp.engine.runtime import Device
from jaxhp.engine.spec import Spec
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.selection.intervals import crossed_mean
from jaxhp.selection.stretches import Stretch
from jaxhp.store.ledger import Ledger
from jaxhp.tasks.check import check
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error

T = TypeVar("T")


class Retraining(NamedTuple):
    """How a config is trained anew after a search."""

    epochs: int
    seed: int
    paired: bool
    used: int  # replicates that the search and its finals have used
    devices: Sequence[Device]


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
    rest = task.valid if spec.holdout is None else joined(task.valid, spec.holdout)
    train = joined(task.train, rest) if task.stream is None else task.stream.joined(rest)
    stages = [([stretch.config], stretch.upto) for stretch in history]
    measure = retrained(spec, how, replace(task, train=train), stages, seeds)
    if directory is None:
        return _tested(trial_id, measure(checked(task.test.open(), "test"))[0], before + 1)
    with Ledger(directory, write=True) as ledger:
        ledger.event(OPENED, trial_id=trial_id)
        found = _tested(trial_id, measure(checked(task.test.open(), "test"))[0], len(ledger.events(OPENED)))
        record = found._asdict() | {"scores": [_or_none(score) for score in found.scores]}
        ledger.event(TESTED, **{name: _or_none(value) for name, value in record.items()})
        return found


def retrained(
    spec: Spec, how: Retraining, task: Task, stages: Sequence[tuple[Sequence[Config], int]], seeds: int
) -> Callable[[PyTree], np.ndarray]:
    """Train rows of one static group anew, with replicates that neither the search nor its finals have used.

    Args:
      stages: the config of each of P rows, and the epoch up to which it is trained so; the last ends the training.
      task: what to train: the group's own task, or one like it with other data.

    Returns:
      a function from data, a pytree like `task.valid`, to the metric of each example, f32[P, S, n].
    """
    p = len(stages[0][0])
    capacity = Capacity(tile=1, tiles=p * seeds, trials=p, replicates=seeds, epochs=how.epochs)
    again = Spec(task, check(task, spec.abstract, set(spec.abstract)), spec.static, spec.traced)
    population = compile(again, capacity, seed=how.seed, paired=how.paired, devices=list(how.devices))
    layout = arrange([0] * p, range(how.used, how.used + seeds), tile=1)
    state, columns, begun = population.init(), {}, 0
    for configs, end in stages:
        columns = spec.columns(configs)
        state, _ = population.step(state, columns, np.arange(p, dtype=np.int32), layout, begun, end)
        begun = end
    return lambda data: population.outcomes(state, columns, layout, begun, data)[0]


def _tested(trial_id: int, outcomes: np.ndarray, opening: int) -> Tested:
    scores = tuple(outcomes.mean(1, dtype=np.float64).tolist())
    healthy = outcomes[np.isfinite(outcomes).all(1)]
    if not len(healthy):
        return Tested(trial_id, float("nan"), float("nan"), float("nan"), scores, opening)
    found = crossed_mean(healthy)
    return Tested(trial_id, found.mean, *found.interval(), scores, opening)


def _or_none(value: T) -> T | None:
    return None if isinstance(value, float) and not np.isfinite(value) else value
