"""What a network says of an example, and what that is worth: `predict` and `measure` of a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxhp.tasks.task import Task, batch_shapes
from jaxhp.tasks.whole_set import found
from jaxhp.values import Error


def check_predict(task: Task, shape: Callable[..., PyTree], variables: PyTree, read: Collection[str]) -> None:
    """Run `predict` and `measure` on shapes alone.

    Args:
      shape: gives shapes of what a function of the task makes: (its name, the function, its arguments' shapes).
      variables: shapes of what `init` makes.
      read: the columns that metrics of the whole set read.

    Raises:
      Error: they do not fit the task.
    """
    if task.predict is None:
        return
    predict, measure, batch = task.predict, task.measure, batch_shapes(task.valid, 7)
    said = shape("predict", lambda v, batch, config, clock: predict(v, batch, config), variables, batch)
    if not hasattr(said, "shape") or said.shape[:1] != (7,) or not jnp.issubdtype(said.dtype, jnp.floating):
        got = f"{said.dtype}{list(said.shape)}" if hasattr(said, "shape") else type(said).__name__
        raise Error(f"Task predict: expected floating point numbers of each example, [B, ...]; with B = 7 got {got}")
    if measure is None:
        return
    columns = shape("measure", lambda said, batch, config, clock: measure(said, batch), said, batch)
    if not isinstance(columns, Mapping):
        raise Error(f"Task measure: expected a dict of name to [B, ...], got {type(columns).__name__}")
    for name in read if task.metric in task.metrics else [task.metric]:
        if name not in columns or columns[name].shape[:1] != (7,):
            known = ", ".join(f"{n} {list(c.shape)}" for n, c in columns.items())
            raise Error(f"Task measure: expected the column {name!r} of evaluate, [B, ...]; with B = 7 got {known}")


def outcomes(task: Task, said: Array, batch: PyTree[Array]) -> jax.Array:
    """Return f32[n], numbers whose mean is the metric of predictions and whose spread is its variance.

    Args:
      said: [n, ...], of one network or a mean of several.
      batch: the examples.
    """
    assert task.measure is not None
    columns: Mapping[str, Any] = task.measure(said, batch)
    if task.metric not in task.metrics:
        return columns[task.metric].astype(jnp.float32)
    weight = jnp.ones(len(said), jnp.float32)
    value, influence = found({task.metric: task.metrics[task.metric]}, columns, weight)[task.metric]
    return value + influence
