"""Metrics of a whole set of examples, to be given to `Task(metrics={...})`; each is the one of scikit-learn's name.

Arguments name columns of the task's `evaluate`: `score` is f32[n], higher for the positive class, or f32[n, C];
`label` and `prediction` are integers or booleans [n].
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxhp.tasks.whole_set import Metric


def f1(prediction: str = "prediction", label: str = "label") -> Metric:
    """Make the F1 score of class 1: 2 TP / (2 TP + FP + FN); 0 where there is no positive, predicted or true."""

    def fn(columns, weight):
        said, true = columns[prediction] == 1, columns[label] == 1
        hits = jnp.sum(weight * (said & true))
        total = jnp.sum(weight * said) + jnp.sum(weight * true)
        return jnp.where(total > 0, 2 * hits / jnp.where(total > 0, total, 1.0), 0.0)

    return Metric(fn)
