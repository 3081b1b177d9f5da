"""The sealed test: the chosen config, trained anew on all other data, meets the test data once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxhp.engine import population
from jaxhp.engine.layout import arrange
from jaxhp.engine.population import Capacity
from jaxhp.engine.spec import spec_of
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.search.definition import Definition
from jaxhp.selection.intervals import crossed_mean
from jaxhp.store import Ledger
from jaxhp.tasks.folds import joined
from jaxhp.tasks.task import Task
from jaxhp.trials import Config


def open_test(
    search: Definition, trial_id: int, config: Config, directory: Path | None, before: int, seeds: int
) -> Tested:
    """Trains a config on train and validation data together, then opens the test data.

    The opening is recorded before the data is read, so that one that fails or is cut off counts too.

    Args:
      directory: of the run whose ledger records it, or None for a search that was kept in memory.
      before: openings so far, where there is no directory.
      seeds: fresh replicates to train.

    Raises:
      ValueError: the task has no test data.
    """
    task = search.member(config).task
    if task.test is None:
        raise ValueError("test: expected a task with test data (Task(..., test=...)), got one without")
    held_out = search.holdout(config)
    rest = task.valid if held_out is None else joined(task.valid, held_out)
    train = joined(task.train, rest) if task.stream is None else task.stream.joined(rest)
    measure = retrained(search, replace(task, train=train), [config], seeds)
    if directory is None:
        return _tested(trial_id, measure(task.test.open())[0], before + 1)
    with Ledger(directory, write=True) as ledger:
        ledger.event(OPENED, trial_id=trial_id)
        found = _tested(trial_id, measure(task.test.open())[0], len(ledger.events(OPENED)))
        record = found._asdict() | {"scores": [_or_none(score) for score in found.scores]}
        ledger.event(TESTED, **{name: _or_none(value) for name, value in record.items()})
        return found


def retrained(search: Definition, task: Task, configs: Sequence[Config], seeds: int) -> Callable[[Any], np.ndarray]:
    """Trains configs of one static group anew, with replicates that neither the search nor its finals have used.

    Args:
      task: what to train: the search's own task, or one like it with other data.

    Returns:
      a function from data, a pytree like `task.valid`, to the metric of each example, f32[P, S, n].
    """
    spec = search.member(configs[0])
    p = len(configs)
    capacity = Capacity(tile=1, tiles=p * seeds, trials=p, replicates=seeds, epochs=search.epochs)
    compiled = population.compile(
        spec_of(task, spec.static, spec.traced),
        capacity,
        seed=search.seed,
        paired=search.paired,
        devices=search.devices,
    )
    used = search.width + (search.finals.members(search.folds or 1) if search.finals else 0)
    layout = arrange([0] * p, range(used, used + seeds), tile=1)
    columns = {name: np.asarray([config[name] for config in configs], dtype) for name, dtype in spec.traced.items()}
    state, _ = compiled.step(compiled.init(), columns, np.arange(p, dtype=np.int32), layout, 0, search.epochs)
    return lambda data: compiled.outcomes(state, columns, layout, data)


def _tested(trial_id: int, outcomes: np.ndarray, opening: int) -> Tested:
    scores = tuple(outcomes.mean(1, dtype=np.float64).tolist())
    healthy = outcomes[np.isfinite(outcomes).all(1)]
    if not len(healthy):
        return Tested(trial_id, float("nan"), float("nan"), float("nan"), scores, opening)
    found = crossed_mean(healthy)
    return Tested(trial_id, found.mean, *found.interval(), scores, opening)


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
