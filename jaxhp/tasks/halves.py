"""The metric of every other validation example, which tells how much luck there is in the choice of an epoch."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxhp.tasks.task import Task
from jaxhp.tasks.whole_set import Columns, Half


def name_of_half(metric: str) -> str:
    """Return the name of the metric of every other example."""
    return f"{metric}_half"


def with_half(task: Task) -> Task:
    """Return a task that also measures its metric on every other validation example."""
    metric = task.metric

    def mean(columns: Columns, weight: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(weight > 0, columns[metric], 0) * weight) / jnp.sum(weight)

    whole = task.metrics[metric].fn if metric in task.metrics else mean
    return replace(task, metrics={**task.metrics, name_of_half(metric): Half(whole)})
