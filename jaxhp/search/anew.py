"""Configs trained anew after a search, with replicates that neither it nor its finals have used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.data.folds import joined
from jaxhp.engine.layout import Layout, arrange
from jaxhp.engine.population import Capacity, Population, compile
from jaxhp.engine.runtime import Device, members_at
from jaxhp.engine.shown import kept_leaves, variables_of
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import State
from jaxhp.tasks.check import check
from jaxhp.tasks.task import Task
from jaxhp.values import Config


class Retraining(NamedTuple):
    """How a config is trained anew after a search."""

    epochs: int
    seed: int
    paired: bool
    used: int  # replicates that the search and its finals have used
    devices: Sequence[Device]


def retraining(search: Any, devices: Sequence[Device]) -> Retraining:
    """Return how a config is trained anew after a `Search`."""
    finals = search.finals.members(search.groups.folds) if search.finals else 0
    return Retraining(search.epochs, search.seed, search.paired, search.members + finals, devices)


def all_data(spec: Spec) -> Task:
    """Return a group's task with all data but the test data to train on."""
    task = spec.task
    assert isinstance(task, Task)
    rest = task.valid if spec.holdout is None else joined(task.valid, spec.holdout)
    return replace(task, train=joined(task.train, rest) if task.stream is None else task.stream.joined(rest))


class Anew(NamedTuple):
    """P rows that were trained anew, with S replicates each, to an epoch."""

    population: Population
    state: State
    configs: Sequence[Config]
    layout: Layout
    epoch: int

    def measured(self, data: PyTree) -> np.ndarray:
        """Return the metric of each example of data, a pytree like `task.valid`: f32[P, S, n]."""
        columns = self.population.spec.columns(self.configs)
        return self.population.outcomes(self.state, columns, self.layout, self.epoch, data)[0]

    def variables(self) -> PyTree[np.ndarray]:
        """Return what `init` made, as it is evaluated, of the first row's first replicate."""
        spec, slot = self.population.spec, self.layout.slots[0, :1]
        leaves = [members_at(leaf, slot)[0] for leaf in jax.tree.leaves(self.state)[: kept_leaves(spec)]]
        return variables_of(spec, self.population.rules, leaves, self.epoch, self.configs[0])


def retrained(
    spec: Spec, how: Retraining, task: Task, stages: Sequence[tuple[Sequence[Config], int]], seeds: int
) -> Anew:
    """Train rows of one static group anew, with replicates that neither the search nor its finals have used.

    Args:
      stages: the config of each of P rows, and the epoch up to which it is trained so; the last ends the training.
      task: what to train: the group's own task, or one like it with other data.
    """
    p = len(stages[0][0])
    capacity = Capacity(tile=1, tiles=p * seeds, trials=p, replicates=seeds, epochs=how.epochs)
    again = Spec(task, check(task, spec.abstract, set(spec.abstract)), spec.static, spec.traced)
    population = compile(again, capacity, seed=how.seed, paired=how.paired, devices=list(how.devices))
    layout = arrange([0] * p, range(how.used, how.used + seeds), tile=1)
    state, begun = population.init(), 0
    for configs, end in stages:
        ids = np.arange(p, dtype=np.int32)
        state, _ = population.step(state, spec.columns(configs), ids, layout, begun, end)
        begun = end
    return Anew(population, state, stages[-1][0], layout, begun)
