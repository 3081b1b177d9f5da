"""Weights of classes, for labels of which some are rare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from jaxhp.values import Error, is_int


def class_weights(labels: ArrayLike, kind: str | Mapping[int, float] = "balanced") -> np.ndarray:
    """Compute the weight of each class, as scikit-learn's `compute_class_weight` does.

    In a loss: `weights = hp.data.class_weights(train["label"])`, then
    `jnp.mean(jnp.asarray(weights)[batch["label"]] * each)`. The balanced weights of the examples that they are computed
    of have a mean of 1, so that a learning rate keeps its meaning. Compute them of training labels; with folds, those
    of all rows are those of each fold's training rows where the folds are stratified, but for one example a class.

    Args:
      labels: integers or booleans [n], the classes from 0.
      kind: "balanced": n / (classes * examples of the class); or the weights by class, 1 for those left out.

    Returns:
      f32[C], by class.

    Raises:
      Error: the labels are no classes from 0, one has no example, or a weight is none.

    >>> class_weights([0, 0, 0, 1]).tolist()
    [0.6666666865348816, 2.0]
    """
    found = np.asarray(labels)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iub":
        raise Error(f"labels: expected integers or booleans [n], got {found.dtype.name}{list(found.shape)}")
    if found.min() < 0:
        raise Error(f"labels: expected classes from 0, got {found.min()}")
    if found.max() >= len(found):
        raise Error(f"labels: expected classes from 0, each with an example, got {found.max()} among {len(found)}")
    counts = np.bincount(found)
    if not counts.all():
        raise Error(
            f"labels: expected an example of each class from 0 to {len(counts) - 1}, got none of {counts.argmin()}"
        )
    if isinstance(kind, Mapping):
        weights = np.ones(len(counts), np.float32)
        for name, weight in kind.items():
            if not is_int(name, 0) or name >= len(counts):
                raise Error(f"kind: expected classes from 0 to {len(counts) - 1}, got {name!r}")
            if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not 0 <= weight < np.inf:
                raise Error(f"kind: expected a weight of 0 or more for class {name}, got {weight!r}")
            weights[name] = weight
        return weights
    if kind != "balanced":
        raise Error(f"kind: expected 'balanced' or a dict from class to weight, got {kind!r}")
    return (len(found) / (len(counts) * counts)).astype(np.float32)
