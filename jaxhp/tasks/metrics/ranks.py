"""Metrics of the order of examples: the area under the ROC curve, average precision, Spearman's correlation.

What counts of an example is the weight of those before it and of its equals. Sorting two arrays together is slow on
CPUs: the keys alone are sorted, as unsigned integers, and every example looks up where the first of its equals stands.
For an area only positive examples are sorted, with the others behind them as one and the same key, which is quick where
they are few.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.tasks.metrics.regression import correlation
from jaxhp.tasks.metrics.weighted import of, ratio, total
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Error

_AVERAGES = ("macro", "weighted")
_LAST = np.uint32(0xFFFFFFFF)  # behind every key but that of a NaN


def roc_auc(score: str = "score", label: str = "label", *, average: str = "macro") -> Metric:
    """Make the area under the ROC curve: `sklearn.metrics.roc_auc_score`, with scores [n, C] its `multi_class="ovr"`.

    It is the probability that an example of the positive class has a higher score than one of the other, equal scores
    count half: 0 to 1, by chance 0.5. With C classes each is taken against all others. It is NaN where a class has no
    example or no counterpart, and where a score is NaN.

    Source: Hanley and McNeil, The meaning and use of the area under a ROC curve (1982); variance by influences: DeLong
    et al., Comparing the areas under two or more correlated ROC curves (1988).

    Args:
      score, label: names of columns, see `jaxhp.metrics`.
      average: `"macro"`, all classes count alike, or `"weighted"`, by how many examples are of each: a class without
        examples does not count.

    Raises:
      Error: another average.
    """
    return of(_roc_auc, (score, (1, 2)), (label, (1,)), average=_checked(average))


def average_precision(score: str = "score", label: str = "label", *, average: str = "macro") -> Metric:
    """Make the mean precision at the positive examples' scores: `sklearn.metrics.average_precision_score`.

    It is the sum over thresholds of (recall - recall before) * precision: 0 to 1, by chance the share of positives.
    With scores [n, C] each class is taken against all others. It is 0 for a class without examples, and NaN where a
    score is NaN. Arguments and errors are those of `roc_auc`.
    """
    return of(_average_precision, (score, (1, 2)), (label, (1,)), average=_checked(average))


def spearman(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make Spearman's rank correlation, -1 to 1: `scipy.stats.spearmanr`; equals have their mean rank.

    It is NaN where all predictions or all targets are equal, and where one is NaN. An example of weight 2 is two equal
    examples.
    """
    return of(_spearman, (prediction, (1,)), (target, (1,)))


def _roc_auc(score: jax.Array, label: jax.Array, weight: jax.Array, average: str) -> jax.Array:
    return _against_others(_area, score, label, weight, average)


def _average_precision(score: jax.Array, label: jax.Array, weight: jax.Array, average: str) -> jax.Array:
    return _against_others(_precise, score, label, weight, average)


def _against_others(
    binary: Callable[..., jax.Array], score: jax.Array, label: jax.Array, weight: jax.Array, average: str
) -> jax.Array:
    if score.ndim == 1:
        return binary(score, label == 1, weight)
    mine = label[:, None] == jnp.arange(score.shape[1])
    found = jax.lax.map(lambda of_class: binary(*of_class, weight), (score.T, mine.T))
    share = total(weight[:, None] * mine) if average == "weighted" else jnp.ones(score.shape[1])
    return ratio(jnp.sum(share * jnp.where(share > 0, found, 0.0)), jnp.sum(share), jnp.nan)


def _area(score: jax.Array, positive: jax.Array, weight: jax.Array) -> jax.Array:
    mine, others = jnp.where(positive, weight, 0.0), jnp.where(positive, 0.0, weight)
    keys = _keys(score)
    ordered = jax.lax.sort(jnp.where(positive, keys, _LAST), is_stable=False)
    place = jnp.searchsorted(ordered, keys)  # how many positive ones are smaller
    here = jnp.zeros_like(mine).at[place].add(mine, mode="promise_in_bounds")
    smaller = jnp.cumsum(here) - here
    either = jnp.stack([smaller, smaller + 0.5 * here], 1).reshape(-1)  # no positive one is equal, or one is
    below = either.at[2 * place + (ordered[place] == keys)].get(mode="promise_in_bounds")
    share = ratio(total(mine) - below, total(mine), jnp.nan)
    return _unless_nan(ratio(total(others * share), total(others), jnp.nan), score)


def _precise(score: jax.Array, positive: jax.Array, weight: jax.Array) -> jax.Array:
    mine, place = jnp.where(positive, weight, 0.0), _places(-score.astype(jnp.float32))
    hits, all_ = (_up_to(place, amount)[place] for amount in (mine, weight))
    return _unless_nan(ratio(total(mine * ratio(hits, all_, 0.0)), total(mine), 0.0), score)


def _spearman(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    share = weight / total(weight)
    a, b = (_middle(_places(values), share) for values in (prediction, target))
    return _unless_nan(_unless_nan(correlation(a, b, weight), prediction), target)


def _keys(values: jax.Array) -> jax.Array:
    """u32[n], in the order of the values and equal where they are."""
    values = values.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0.0, values), jnp.uint32)  # -0 equals 0
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _places(values: jax.Array) -> jax.Array:
    """i32[n]: how many others are smaller; equals share a place."""
    keys = _keys(values)
    return jnp.searchsorted(jax.lax.sort(keys, is_stable=False), keys)


def _up_to(place: jax.Array, amount: jax.Array) -> jax.Array:
    """Sums the amounts at every place and before it."""
    return jnp.cumsum(jnp.zeros_like(amount).at[place].add(amount, mode="promise_in_bounds"))


def _middle(place: jax.Array, amount: jax.Array) -> jax.Array:
    """The sum of amounts at smaller values, and half of those at equal ones."""
    here = _up_to(place, amount)
    before = jnp.concatenate([jnp.zeros(1, here.dtype), here[:-1]])
    return (0.5 * (before + here))[place]


def _unless_nan(found: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(values).any(), jnp.nan, found)


def _checked(average: str) -> str:
    if average not in _AVERAGES:
        raise Error(f"average: expected 'macro' or 'weighted', got {average!r}")
    return average
