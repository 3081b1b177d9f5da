"""Metrics of predicted classes: all but accuracy are quotients of counts, which no mean over examples is."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxhp.tasks.metrics.weighted import mean, of, ratio, root, total
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Error, is_int


def accuracy(prediction: str = "prediction", label: str = "label") -> Metric:
    """Make the share of examples whose class is predicted, 0 to 1: `sklearn.metrics.accuracy_score`."""
    return of(_accuracy, (prediction, (1, 2)), (label, (1,)))


def precision(prediction: str = "prediction", label: str = "label") -> Metric:
    """Make the precision of class 1, TP / (TP + FP), 0 to 1: `sklearn.metrics.precision_score`.

    It is 0 where class 1 is never predicted.
    """
    return of(_precision, (prediction, (1, 2)), (label, (1,)))


def recall(prediction: str = "prediction", label: str = "label") -> Metric:
    """Make the recall of class 1, TP / (TP + FN), 0 to 1: `sklearn.metrics.recall_score`.

    It is 0 where there is no example of class 1.
    """
    return of(_recall, (prediction, (1, 2)), (label, (1,)))


def f1(prediction: str = "prediction", label: str = "label") -> Metric:
    """Make the F1 score of class 1, 2 TP / (2 TP + FP + FN), 0 to 1: `sklearn.metrics.f1_score`.

    It is 0 where class 1 is neither predicted nor there.
    """
    return of(_f1, (prediction, (1, 2)), (label, (1,)))


def macro_f1(prediction: str = "prediction", label: str = "label", *, classes: int | None = None) -> Metric:
    """Make the mean of all classes' F1 scores, 0 to 1: `sklearn.metrics.f1_score(average="macro")`.

    A class that is neither predicted nor there does not count. A class beyond `classes` makes it NaN.

    Args:
      prediction, label: names of columns, see `jaxhp.metrics`.
      classes: how many there are; not needed where predictions are scores [n, C] or booleans.

    Raises:
      Error: `classes` is no number from 2, or is needed, or is another than C.
    """
    return of(_macro_f1, (prediction, (1, 2)), (label, (1,)), classes=_checked(classes))


def weighted_f1(prediction: str = "prediction", label: str = "label", *, classes: int | None = None) -> Metric:
    """Make the mean of all classes' F1 scores, by how many examples are of each: `f1_score(average="weighted")`.

    It is 0 to 1. A class beyond `classes` makes it NaN. Arguments and errors are those of `macro_f1`.
    """
    return of(_weighted_f1, (prediction, (1, 2)), (label, (1,)), classes=_checked(classes))


def balanced_accuracy(prediction: str = "prediction", label: str = "label", *, classes: int | None = None) -> Metric:
    """Make the mean of all classes' recalls, 0 to 1: `sklearn.metrics.balanced_accuracy_score`.

    A class of which there is no example does not count. A class beyond `classes` makes it NaN. Arguments and errors are
    those of `macro_f1`.
    """
    return of(_balanced_accuracy, (prediction, (1, 2)), (label, (1,)), classes=_checked(classes))


def matthews_corrcoef(prediction: str = "prediction", label: str = "label", *, classes: int | None = None) -> Metric:
    """Make Matthews' correlation of predicted and true classes, -1 to 1: `sklearn.metrics.matthews_corrcoef`.

    It is 0 where all examples are, or are predicted, of one class. A class beyond `classes` makes it NaN. Arguments and
    errors are those of `macro_f1`.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004).
    """
    return of(_matthews_corrcoef, (prediction, (1, 2)), (label, (1,)), classes=_checked(classes))


def cohen_kappa(prediction: str = "prediction", label: str = "label", *, classes: int | None = None) -> Metric:
    """Make Cohen's kappa, the agreement beyond that of chance, -1 to 1: `sklearn.metrics.cohen_kappa_score`.

    It is NaN where all examples are of one class and predicted so. A class beyond `classes` makes it NaN. Arguments and
    errors are those of `macro_f1`.

    Source: Cohen, A coefficient of agreement for nominal scales (1960).
    """
    return of(_cohen_kappa, (prediction, (1, 2)), (label, (1,)), classes=_checked(classes))


def top_k_accuracy(k: int = 2, score: str = "score", label: str = "label") -> Metric:
    """Make the share of examples whose class is among the k of highest score: `sklearn.metrics.top_k_accuracy_score`.

    It is 0 to 1. Of equal scores the later class is the higher one, as there.

    Args:
      k: how many.
      score: name of a column [n, C].
      label: name of a column [n].

    Raises:
      Error: k is no positive integer.
    """
    if not is_int(k, 1):
        raise Error(f"top_k_accuracy k: expected a positive integer, got {k!r}")
    return of(_top_k_accuracy, (score, (2,)), (label, (1,)), k=int(k))


def _accuracy(prediction: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    return mean((_class(prediction) == label).astype(jnp.float32), weight)


def _precision(prediction: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    of_one = _of_one(prediction, label, weight)
    return ratio(of_one.hits, of_one.said, 0.0)


def _recall(prediction: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    of_one = _of_one(prediction, label, weight)
    return ratio(of_one.hits, of_one.true, 0.0)


def _f1(prediction: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    return _of_one(prediction, label, weight).f1


def _macro_f1(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    of_each = _of_each(prediction, label, weight, classes)
    return ratio(of_each.f1.sum(), jnp.sum(of_each.said + of_each.true > 0), jnp.nan)


def _weighted_f1(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    of_each = _of_each(prediction, label, weight, classes)
    return ratio(jnp.sum(of_each.f1 * of_each.true), jnp.sum(of_each.true), jnp.nan)


def _balanced_accuracy(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    of_each = _of_each(prediction, label, weight, classes)
    return ratio(ratio(of_each.hits, of_each.true, 0.0).sum(), jnp.sum(of_each.true > 0), jnp.nan)


def _matthews_corrcoef(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    of_each = _of_each(prediction, label, weight, classes)
    spread = jnp.sum(of_each.said * of_each.unsaid) * jnp.sum(of_each.true * of_each.untrue)
    return ratio(of_each.shared.sum(), root(spread), 0.0)


def _cohen_kappa(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> jax.Array:
    of_each = _of_each(prediction, label, weight, classes)
    return ratio(of_each.shared.sum(), jnp.sum(of_each.said * of_each.untrue), jnp.nan)


def _top_k_accuracy(score: jax.Array, label: jax.Array, weight: jax.Array, k: int) -> jax.Array:
    kinds = jnp.arange(score.shape[1])
    mine = kinds == label[:, None]
    of_label = jnp.sum(jnp.where(mine, score, 0.0), 1, keepdims=True)
    higher = (score > of_label) | ((score == of_label) & (kinds > label[:, None]))
    return mean((mine.any(1) & (higher.sum(1) < k)).astype(jnp.float32), weight)


class _Counts(NamedTuple):
    """Shares of all examples, for a class or for each."""

    hits: jax.Array  # of this class, and predicted so
    false: jax.Array  # predicted so, of another
    missed: jax.Array  # of this class, predicted another
    rest: jax.Array

    @property
    def said(self) -> jax.Array:
        return self.hits + self.false

    @property
    def true(self) -> jax.Array:
        return self.hits + self.missed

    @property
    def unsaid(self) -> jax.Array:
        return self.missed + self.rest

    @property
    def untrue(self) -> jax.Array:
        return self.false + self.rest

    @property
    def f1(self) -> jax.Array:
        return ratio(2 * self.hits, self.said + self.true, 0.0)

    @property
    def shared(self) -> jax.Array:
        """The covariance of predicted and true, without the cancellation of hits - said * true."""
        return self.hits * self.rest - self.false * self.missed


def _of_one(prediction: jax.Array, label: jax.Array, weight: jax.Array) -> _Counts:
    return _counted(_class(prediction) == 1, label == 1, weight)


def _of_each(prediction: jax.Array, label: jax.Array, weight: jax.Array, classes: int | None) -> _Counts:
    """Counts every class; NaN where an example that counts is, or is predicted, of none of them."""
    of_columns = prediction.shape[1] if prediction.ndim == 2 else 2 if prediction.dtype == bool else None
    count = of_columns if classes is None else classes
    if count is None:
        raise Error(f"classes: expected their number where predictions are {prediction.dtype}[n], got None")
    if of_columns not in (None, count):
        raise Error(f"classes: expected {of_columns}, as predictions have, got {classes}")
    said, true = (kind[:, None] == jnp.arange(count) for kind in (_class(prediction), label))
    known = jnp.all((said.any(1) & true.any(1)) | (weight == 0))
    return _counted(said, true, jnp.where(known, weight, jnp.nan))


def _counted(said: jax.Array, true: jax.Array, weight: jax.Array) -> _Counts:
    weight = (weight / total(weight)).reshape(-1, *[1] * (said.ndim - 1))
    return _Counts(*(total(weight * cell) for cell in (said & true, said & ~true, ~said & true, ~said & ~true)))


def _class(prediction: jax.Array) -> jax.Array:
    return prediction.argmax(1) if prediction.ndim == 2 else prediction


def _checked(classes: int | None) -> int | None:
    if classes is not None and not is_int(classes, 2):
        raise Error(f"classes: expected a number from 2 or None, got {classes!r}")
    return None if classes is None else int(classes)
